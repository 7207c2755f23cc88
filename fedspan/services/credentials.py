"""Credentials of clouds: registered once real calls have proved them, kept sealed, never shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import structlog
from pydantic import ValidationError

from fedspan.app import App
from fedspan.domain.credentials import (
    Cloud,
    Credential,
    Examination,
    Kept,
    Registration,
    Sealed,
    Secret,
    revealed,
)
from fedspan.domain.texts import listed
from fedspan.errors import Conflict, Corrupt, CredentialRejected, Denied, InvalidRequest
from fedspan.keys.base import MasterKey
from fedspan.keys.envelope import open_sealed, seal

ONE_EACH: Final = frozenset({Cloud.AWS, Cloud.GCP})
RESERVED: Final = frozenset({"aws", "gcp", "azure", "local"})
STAYS: Final = frozenset({"regions", "region", "image", "network", "ca"})
"""Of a secret: where and from what machines are made."""
log = structlog.get_logger()


def register(app: App, told: Registration, *, dry_run: bool = False) -> Credential:
    """Ask the cloud who it is and what it may do, and keep it sealed. With `dry_run` nothing is
    kept, and what it lacks is only told.

    Raises:
        InvalidRequest: its name is not one for its cloud, or what `Clouds.examine` says.
        Conflict: there is one of that name.
        Denied: it lacks permissions; names them. Nothing is kept.
        CredentialRejected, and all else `Clouds.examine` and `MasterKey.wrap` raise
    """
    _check_name(told)
    if app.credentials.find(told.name) is not None:
        raise _there_already(told.name)
    examination = _examined(app, told, dry_run)
    made = Credential(
        name=told.name,
        provider=told.secret.provider,
        registered=app.now(),
        examination=examination,
    )
    if dry_run:
        return made
    sealed = _sealed(app, told)
    try:
        app.store.write(
            [
                app.credentials.put(made, made.name, expected=0),
                app.sealed.put(sealed, made.name, expected=0),
            ]
        )
    except Conflict:
        raise _there_already(told.name) from None
    log.info("CredentialRegistered", name=made.name, provider=made.provider.value)
    return made


def list_credentials(app: App) -> Sequence[Credential]:
    return [one for _, one in app.credentials.all()]


def show(app: App, name: str) -> Credential:
    """Raises `NotFound`."""
    return app.credentials.get(name).value


def check(app: App, name: str) -> Credential:
    """Examine what is kept once more, and remember what the cloud said.

    Raises:
        NotFound, Conflict: changed by others meanwhile.
        CredentialRejected: it proves nothing any more; what was known of it stays.
        Corrupt, and all else `Clouds.examine` and `MasterKey.unwrap` raise
    """
    found = app.credentials.get(name)
    secret = secret_of(name, app.sealed.get(name).value, app.keys)
    examination = _asked(app, name, secret)
    after = found.value.model_copy(update={"examination": examination})
    app.store.write([app.credentials.put(after, name, expected=found.version)])
    log.info(
        "CredentialChecked",
        name=name,
        provider=after.provider.value,
        missing=examination.missing,
    )
    return after


def rotate(app: App, told: Registration, *, dry_run: bool = False) -> Credential:
    """Put a new secret in the old one's place once it has proved itself; until then the old one
    stays. What says where and from what machines are made (`STAYS`) stays where it is not told.

    Raises:
        NotFound
        Conflict: it is of another cloud, account or project; it lacks regions where jobs run; or
            others changed it meanwhile.
        Denied, CredentialRejected, and all else `register` raises
    """
    found, sealed = app.credentials.get(told.name), app.sealed.find(told.name)
    before = found.value
    if told.secret.provider is not before.provider:
        raise Conflict(
            f"credential {told.name} is one of {before.provider}, the new one of "
            f"{told.secret.provider}; register it under another name"
        )
    if sealed is not None:
        told = _with_what_stays(app, told, sealed.value)
    examination = _examined(app, told, dry_run)
    _check_same(app, before, examination)
    after = before.model_copy(update={"examination": examination, "rotated": app.now()})
    if dry_run:
        return after
    new = _sealed(app, told)
    app.store.write(
        [
            app.credentials.put(after, told.name, expected=found.version),
            app.sealed.put(new, told.name, expected=sealed.version if sealed else 0),
        ]
    )
    log.info("CredentialRotated", name=after.name, provider=after.provider.value)
    return after


def delete(app: App, name: str) -> None:
    """Raises `NotFound`, and `Conflict` while a site or a job that has not ended needs it."""
    provider = app.credentials.get(name).value.provider
    sites = [site.name for _, site in app.sites.all() if site.credential == name]
    jobs = list(_jobs_with(app, name))
    if jobs:
        raise Conflict(f"credential {name} is needed by job {listed(jobs)}; cancel it first")
    if sites:
        raise Conflict(f"credential {name} is used by site {listed(sites)}; delete it first")
    app.store.write([app.credentials.delete(name), app.sealed.delete(name)])
    log.info("CredentialDeleted", name=name, provider=provider.value)


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


def _check_name(told: Registration) -> None:
    name, cloud = told.name, told.secret.provider
    if cloud in ONE_EACH and name != cloud.value:
        raise InvalidRequest(
            f"name: a credential of {cloud} is named {cloud}, got {name}: there is one, and the "
            "book of prices knows the cloud by that name"
        )
    if cloud not in ONE_EACH and name in RESERVED:
        raise InvalidRequest(f"name: {name} names something else; call it as you call its place")


def _examined(app: App, told: Registration, dry_run: bool) -> Examination:
    """Raises `Denied` when it lacks what is needed, unless with `dry_run`."""
    examination = _asked(app, told.name, told.secret)
    if examination.missing and not dry_run:
        raise Denied(
            f"credential {told.name}, {examination.identity.subject}, may not: "
            f"{', '.join(examination.missing)}; nothing was kept. "
            f"`fedspan credential policy {told.secret.provider}` shows what it must be allowed"
        )
    return examination


def _asked(app: App, name: str, secret: Secret) -> Examination:
    try:
        return app.clouds.examine(secret)
    except CredentialRejected as exc:
        raise CredentialRejected(f"credential {name} proves nothing: {exc}") from exc


def _check_same(app: App, before: Credential, after: Examination) -> None:
    """Machines of the old secret must be seen, and ended, with the new one."""
    name, known = before.name, before.examination
    if after.identity.account != known.identity.account:
        raise Conflict(
            f"credential {name} is of account {known.identity.account}, the new one of "
            f"{after.identity.account}; delete the old one, then register the new"
        )
    lost = sorted(set(known.regions) - set(after.regions))
    jobs = list(_jobs_with(app, name)) if lost else []
    if jobs:
        raise Conflict(
            f"credential {name} is needed by job {listed(jobs)}, and the new one lacks "
            f"{listed(lost)}; wait for its end, or cancel it"
        )


def _with_what_stays(app: App, told: Registration, before: Sealed) -> Registration:
    new = told.secret
    try:
        old = secret_of(told.name, before, app.keys)
    except Corrupt:
        return told  # nothing of it can be known; to rotate is how to be rid of it
    stays = {
        field: value
        for field, value in old.model_dump(include=set(STAYS)).items()
        if not getattr(new, field)
    }
    return told.model_copy(update={"secret": new.model_copy(update=stays)})


def _sealed(app: App, told: Registration) -> Sealed:
    kept = revealed(Kept(secret=told.secret))
    return seal(kept, app.keys, told.name, told.secret.provider)


def _jobs_with(app: App, name: str) -> Iterator[str]:
    """Jobs that have not ended, whose machines are, or will be, those of the credential."""
    sites = {site.name for _, site in app.sites.all() if site.credential == name}
    for id in app.open_jobs.ids():
        found = app.jobs.find(id)
        if found is None or found.value.ended:
            continue
        job = found.value
        here = job.aggregator is not None and job.aggregator.offer.provider == name
        if here or sites & set(job.spec.participants):
            yield id


def _there_already(name: str) -> Conflict:
    return Conflict(
        f"there is a credential {name} already; `fedspan credential rotate` gives it a new secret"
    )
