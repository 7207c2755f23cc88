"""The machine's side of a grant: a file that is renewed, and stores that read it again.

`FEDSPAN_GRANT` names the file. The supervisor of a machine writes it when the control plane has
spoken: a grant, or ``null`` where the machine's own access to the objects is to be used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import RootModel

from fedspan.domain.grants import Grant
from fedspan.errors import StoreUnavailable

GRANT: Final = "FEDSPAN_GRANT"
"""Environment: the file with this machine's access to the objects."""


class Held(RootModel[Grant | None]):
    """What that file holds."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The access in `file`, as it is now; None is the same as a ``null`` there."""

    file: Path | None

    def now(self) -> Grant | None:
        """None: the machine's own access is to be used. Raises `StoreUnavailable` when nothing was
        granted yet."""
        if self.file is None:
            return None
        try:
            return Held.model_validate_json(self.file.read_bytes()).root
        except FileNotFoundError:
            raise StoreUnavailable("objects: access to them has not been granted yet") from None

    def s3(self) -> dict[str, Any]:
        """obstore's options for a bucket. It asks again for what ends within five minutes."""
        grant = self.now()
        if grant is None:
            return {}
        region = _first(grant, "AWS_REGION", "AWS_DEFAULT_REGION")
        endpoint = _first(grant, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        return self._options(_s3_credential, region=region, endpoint=endpoint)

    def gcs(self) -> dict[str, Any]:
        """The same for a bucket of Google's."""
        grant = self.now()
        if grant is None:
            return {}
        return self._options(_gcs_credential, base_url=_first(grant, "GOOGLE_BASE_URL"))

    def _options(
        self, credential: Callable[[Grant], dict[str, Any]], **there: str
    ) -> dict[str, Any]:
        def present() -> dict[str, Any]:
            grant = self.now()
            if grant is None:
                raise StoreUnavailable("objects: what was granted is gone")
            return credential(grant)

        told = {name: value for name, value in there.items() if value}
        return {"credential_provider": present, **told}


def granted() -> Granted:
    """What the environment names."""
    path = os.environ.get(GRANT)
    return Granted(Path(path) if path else None)


def _first(grant: Grant, *names: str) -> str:
    found = (grant.variables[name].get_secret_value() for name in names if name in grant.variables)
    return next(found, "")


def _s3_credential(grant: Grant) -> dict[str, Any]:
    return {
        "access_key_id": _first(grant, "AWS_ACCESS_KEY_ID"),
        "secret_access_key": _first(grant, "AWS_SECRET_ACCESS_KEY"),
        "token": _first(grant, "AWS_SESSION_TOKEN"),
        "expires_at": grant.expires,
    }


def _gcs_credential(grant: Grant) -> dict[str, Any]:
    return {"token": _first(grant, "GOOGLE_OAUTH_ACCESS_TOKEN"), "expires_at": grant.expires}
