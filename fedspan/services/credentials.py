"""Credentials of clouds: registered once real calls have proved them, kept sealed, never shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import structlog

from fedspan.app import App
from fedspan.domain.credentials import (
    Cloud,
    Credential,
    Examination,
    Registration,
    Sealed,
    Secret,
)
from fedspan.domain.machines import Machine
from fedspan.domain.texts import listed
from fedspan.errors import (
    Conflict,
    Corrupt,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    ProviderError,
)
from fedspan.providers.base import Provider
from fedspan.services.sealing import sealed_of, secret_of

ONE_EACH: Final = frozenset({Cloud.AWS, Cloud.GCP})
RESERVED: Final = frozenset({"aws", "gcp", "azure", "local"})
STAYS: Final = frozenset({"regions", "region", "image", "network", "ca"})
"""Of a secret: where and from what machines are made."""
log = structlog.get_logger()


def register(app: App, told: Registration, *, dry_run: bool = False) -> Credential:
    """Ask the cloud who it is and what it may do, and keep it sealed. With `dry_run` nothing is
    kept, and what it lacks is only told. Of AWS and Google the regions are kept that the check
    found usable: one that is closed to it, or is opened later, is not asked until a rotation
    names it.

    Raises:
        InvalidRequest: its name is not one for its cloud, or what `Clouds.examine` says.
        Conflict: there is one of that name.
        Denied: it lacks permissions; names them. Nothing is kept.
        Corrupt: others are kept, but the master key that opens them is missing.
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
    sealed = sealed_of(app, told, examination)
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


def rotate(
    app: App, told: Registration, *, dry_run: bool = False, force: bool = False
) -> Credential:
    """Put a new secret in the old one's place once it has proved itself; until then the old one
    stays. What says where and from what machines are made (`STAYS`) stays where it is not told.
    With `force` it may lose regions of which the cloud does not say what is there.

    Raises:
        NotFound
        Conflict: it is of another cloud, account or project; it lacks regions where jobs run or
            machines are left; or others changed it meanwhile.
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
    _check_same(app, before, examination, force)
    after = before.model_copy(update={"examination": examination, "rotated": app.now()})
    if dry_run:
        return after
    new = sealed_of(app, told, examination)
    app.store.write(
        [
            app.credentials.put(after, told.name, expected=found.version),
            app.sealed.put(new, told.name, expected=sealed.version if sealed else 0),
        ]
    )
    log.info("CredentialRotated", name=after.name, provider=after.provider.value)
    return after


def delete(app: App, name: str, *, force: bool = False) -> str:
    """Forget it: nothing that is left on its cloud can be found or ended from then on. With
    `force` also where its cloud does not say what is left. Returns what then may be, else nothing.

    Raises:
        NotFound
        Conflict: a site or a job that has not ended needs it; its cloud shows machines of ours,
            such as those of jobs that ended while it did not answer; or, unless with `force`, it
            does not say.
    """
    provider = app.credentials.get(name).value.provider
    sites = [site.name for _, site in app.sites.all() if site.credential == name]
    jobs = list(_jobs_with(app, name))
    if jobs:
        raise Conflict(f"credential {name} is needed by job {listed(jobs)}; cancel it first")
    if sites:
        raise Conflict(f"credential {name} is used by site {listed(sites)}; delete it first")
    silent = _nothing_left(app, name, "to delete it", force=force)
    app.store.write([app.credentials.delete(name), app.sealed.delete(name)])
    log.info("CredentialDeleted", name=name, provider=provider.value, unasked=silent)
    return silent


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


def _check_same(app: App, before: Credential, after: Examination, force: bool) -> None:
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
    if lost:
        _nothing_left(app, name, f"to lose {listed(lost)}", lost, force=force)


def _nothing_left(
    app: App, name: str, purpose: str, regions: Collection[str] = (), *, force: bool
) -> str:
    """Ask its cloud whether machines of ours are there, in `regions` or anywhere. Returns what may
    be left where it did not answer, which `force` allows.

    Raises:
        Conflict: there are, or it does not answer.
    """
    silent = ""
    try:
        found: Sequence[object] = _provider(app, name).machines()
    except FedspanError as exc:
        found = exc.found if isinstance(exc, ProviderError) else ()
        silent = f"its cloud does not say which machines are left there: {exc}"
    machines = [one for one in found if isinstance(one, Machine)]
    left = [one.id for one in machines if not regions or one.offer.region in regions]
    if left:
        raise Conflict(
            f"credential {name}: {listed(left)} can be ended with it alone; the sweep removes what "
            f"no job needs: try again in some minutes {purpose}"
        )
    if silent and not force:
        raise Conflict(
            f"credential {name}: {silent}; try again, or force it {purpose}: what is left goes on, "
            "and costs, until somebody ends it by the cloud's own tools"
        )
    return silent


def _provider(app: App, name: str) -> Provider:
    """Where no control plane runs, `app` has no providers, but reaches clouds."""
    found = app.providers.get(name)
    if found is not None:
        return found
    secret = secret_of(name, app.sealed.get(name).value, app.keys)
    return app.clouds.provider(name, secret)


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
