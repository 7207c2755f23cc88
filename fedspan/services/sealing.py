"""From a secret to what is kept of it, and back."""

from __future__ import annotations

from pydantic import ValidationError

from fedspan.app import App
from fedspan.domain.credentials import (
    Examination,
    Kept,
    OpenStackSecret,
    Registration,
    Sealed,
    Secret,
    revealed,
)
from fedspan.errors import Corrupt
from fedspan.keys.base import MasterKey
from fedspan.keys.envelope import open_sealed, seal


def secret_of(name: str, sealed: Sealed, keys: MasterKey) -> Secret:
    """What is kept sealed of the credential `name`. Raises `Corrupt`, and what `MasterKey.unwrap`
    does."""
    if sealed.name != name:
        raise Corrupt(f"credential {name}: the secret of {sealed.name} is in its place")
    try:
        secret = Kept.model_validate_json(open_sealed(sealed, keys)).secret
    except ValidationError as exc:  # says nothing of what it holds
        raise Corrupt(f"credential {sealed.name}: what is sealed is no secret: {exc}") from None
    return secret


def sealed_of(app: App, told: Registration, examination: Examination) -> Sealed:
    """With a new master key only while nothing is sealed: with rows that it cannot open, the one
    there was is missing, which the key says."""
    if not app.sealed.ids():
        app.keys.prepare()
    kept = revealed(Kept(secret=_settled(told.secret, examination)))
    return seal(kept, app.keys, told.name, told.secret.provider)


def _settled(secret: Secret, examination: Examination) -> Secret:
    """Machines are listed in all regions of a credential, and one that its organisation closed
    would fail the whole list."""
    if isinstance(secret, OpenStackSecret) or not examination.regions:
        return secret
    return secret.model_copy(update={"regions": examination.regions})
