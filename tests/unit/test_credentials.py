"""Credentials: proved first, kept sealed, rotated whole, deleted when nobody needs them."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedspan import logs
from fedspan.cli.logs import logged
from fedspan.domain.credentials import Cloud, Credential, Kept, Registration, revealed
from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.domain.parsing import parsed
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.spec import Need
from fedspan.errors import (
    CloudUnavailable,
    Conflict,
    Corrupt,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    NotFound,
    ProviderError,
    StoreUnavailable,
    Throttled,
)
from fedspan.keys.file import FileKey
from fedspan.providers.memory import MemoryProvider
from fedspan.services import steps
from fedspan.services.credentials import (
    check,
    delete,
    list_credentials,
    register,
    rotate,
    show,
)
from fedspan.services.ending import inventory
from fedspan.services.registered import Registered
from fedspan.services.sealing import secret_of
from fedspan.services.sites import register_site
from fedspan.services.submit import submit
from fedspan.services.sweep import clear
from fedspan.stores.sqlite import SqliteStore
from tests.support.clouds import (
    APPLICATION,
    APPLICATION_WORD,
    AWS_SECOND,
    AWS_WORD,
    GCP_WORD,
    KEY_ID,
    OPENSTACK_WORD,
    USER,
    WORDS,
    Account,
    MemoryClouds,
    aws_document,
    cloudy_world,
    gcp_file,
    openstack_document,
    registration,
)
from tests.support.world import World, dataset, spec, with_sites

AWS = registration("aws", aws_document())
AGAIN = registration("aws", aws_document(AWS_SECOND))
GCP = registration("gcp", {"provider": "gcp", **gcp_file()})
SITE = registration("hospital", openstack_document())


@pytest.fixture
def made(tmp_path: Path) -> tuple[World, MemoryClouds]:
    return cloudy_world(tmp_path)


@pytest.fixture
def here(made: tuple[World, MemoryClouds]) -> World:
    return made[0]


@pytest.fixture
def clouds(made: tuple[World, MemoryClouds]) -> MemoryClouds:
    return made[1]


def kept(here: World) -> list[Any]:
    """All rows of credentials there are."""
    return [*here.app.credentials.all(), *here.app.sealed.all()]


@pytest.mark.parametrize("told", [AWS, GCP, SITE], ids=lambda one: one.name)
def test_a_credential_is_registered_shown_and_listed(here: World, told: Registration) -> None:
    made = register(here.app, told)

    assert made.examination.identity.account
    assert not made.examination.missing
    assert show(here.app, told.name) == made
    assert list_credentials(here.app) == [made]
    assert here.app.providers[told.name].name == told.name


def test_what_proves_nothing_is_not_kept(here: World) -> None:
    with pytest.raises(
        CredentialRejected, match="credential aws proves nothing: aws does not know"
    ):
        register(here.app, registration("aws", aws_document("x" * 40)))
    assert kept(here) == []


def test_what_lacks_permissions_is_not_kept_and_they_are_named(
    here: World, clouds: MemoryClouds
) -> None:
    clouds.accounts[KEY_ID].denied = {"ec2:TerminateInstances"}
    with pytest.raises(Denied, match=r"may not: ec2:TerminateInstances; .* policy aws`"):
        register(here.app, AWS)
    assert kept(here) == []


def test_what_the_cloud_does_not_tell_is_no_lack(here: World, clouds: MemoryClouds) -> None:
    clouds.accounts[KEY_ID].unknown = {"ec2:TerminateInstances"}
    made = register(here.app, AWS)

    assert [one.allowed for one in made.examination.permissions] == [True, None]


@pytest.mark.parametrize("denied", [set(), {"ec2:RunInstances"}], ids=["good", "lacking"])
def test_a_dry_run_tells_all_and_keeps_nothing(
    here: World, clouds: MemoryClouds, denied: set[str]
) -> None:
    clouds.accounts[KEY_ID].denied = denied
    made = register(here.app, AWS, dry_run=True)

    assert set(made.examination.missing) == denied
    assert kept(here) == []
    assert not (here.app.keys.path).exists()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "secret", "said"),
    [
        ("mine", aws_document(), "a credential of aws is named aws, got mine"),
        ("aws", {"provider": "gcp", **gcp_file()}, "a credential of gcp is named gcp, got aws"),
        *((name, openstack_document(), f"{name} names something else")
          for name in ("aws", "gcp", "azure", "local")),
    ],
)  # fmt: skip
def test_a_name_that_is_not_its_clouds_is_refused_unasked(
    here: World, clouds: MemoryClouds, name: str, secret: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        register(here.app, registration(name, secret))
    assert clouds.examined == 0


def test_a_name_that_is_taken_is_rotated_instead(here: World, clouds: MemoryClouds) -> None:
    first = register(here.app, AWS)
    with pytest.raises(Conflict, match="credential rotate"):
        register(here.app, AGAIN)
    assert show(here.app, "aws") == first
    assert clouds.examined == 1


@pytest.mark.parametrize("fault", [StoreUnavailable("down"), Conflict("someone was faster")])
def test_nothing_is_half_kept_when_the_store_fails(
    here: World, clouds: MemoryClouds, fault: FedspanError
) -> None:
    examine = clouds.examine

    def then_down(secret: Any) -> Any:
        found, here.store.fail_next = examine(secret), fault
        return found

    clouds.examine = then_down  # type: ignore[method-assign]
    with pytest.raises(type(fault)):
        register(here.app, AWS)
    assert kept(here) == []
    clouds.examine = examine  # type: ignore[method-assign]
    first, sealed = register(here.app, AWS), here.app.sealed.get("aws")

    clouds.examine = then_down  # type: ignore[method-assign]
    for fails in (lambda: rotate(here.app, AGAIN), lambda: check(here.app, "aws")):
        with pytest.raises(type(fault)):
            fails()
    assert show(here.app, "aws") == first
    assert here.app.sealed.get("aws") == sealed


def test_nothing_is_kept_when_it_cannot_be_sealed(here: World) -> None:
    path = here.app.keys.path  # type: ignore[attr-defined]
    with pytest.raises(Throttled, match="slow down"):
        register(replace(here.app, keys=KeysDown(path)), AWS)
    path.write_bytes(bytes(32))
    path.chmod(0o644)
    with pytest.raises(Denied, match="chmod 600"):
        register(here.app, AWS)
    assert kept(here) == []


def test_a_check_asks_again_and_remembers_what_was_said(here: World, clouds: MemoryClouds) -> None:
    register(here.app, AWS)
    clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    made = check(here.app, "aws")

    assert made.examination.missing == ("ec2:RunInstances",)
    assert show(here.app, "aws") == made
    clouds.accounts[KEY_ID].words.clear()
    with pytest.raises(CredentialRejected):
        check(here.app, "aws")
    assert show(here.app, "aws") == made


def test_a_rotation_takes_the_new_secret_and_the_old_one_is_gone(
    here: World, clouds: MemoryClouds
) -> None:
    first, before = register(here.app, AWS), here.app.sealed.get("aws").value
    here.clock.tick(60)
    made = rotate(here.app, AGAIN)
    clouds.accounts[KEY_ID].words = {AWS_SECOND}

    assert (made.registered, made.rotated) == (first.registered, here.clock())
    assert check(here.app, "aws").rotated == made.rotated
    assert here.app.sealed.get("aws").value.wrapped != before.wrapped


def test_the_old_secret_stays_until_the_new_one_has_proved_itself(
    here: World, clouds: MemoryClouds
) -> None:
    register(here.app, AWS)
    before = kept(here)
    clouds.accounts["AKIAOTHEROTHER0123456"] = Account("arn:other", "999999999999", {AWS_SECOND})
    other = aws_document(AWS_SECOND, access_key_id="AKIAOTHEROTHER0123456")
    for told, kind in (
        (registration("aws", aws_document("y" * 40)), CredentialRejected),
        (registration("aws", other), Conflict),
    ):
        with pytest.raises(kind):
            rotate(here.app, told)
    clouds.accounts[KEY_ID].denied = {"ec2:RunInstances"}
    with pytest.raises(Denied):
        rotate(here.app, AGAIN)

    assert kept(here) == before


def test_a_rotation_is_of_the_same_cloud_and_of_what_there_is(here: World) -> None:
    register(here.app, SITE)
    with pytest.raises(NotFound):
        rotate(here.app, AWS)
    with pytest.raises(Conflict, match="is one of openstack, the new one of aws"):
        rotate(here.app, registration("hospital", aws_document()))


def test_a_dry_rotation_changes_nothing(here: World) -> None:
    register(here.app, AWS)
    before = kept(here)
    made = rotate(here.app, AGAIN, dry_run=True)

    assert made.rotated == here.clock()
    assert kept(here) == before


def test_a_rotation_keeps_what_it_does_not_say(here: World, clouds: MemoryClouds) -> None:
    register(here.app, registration("aws", aws_document(regions=["region-2"])))
    register(here.app, registration("hospital", openstack_document(image="i", ca="PEM")))
    by_application = {
        "provider": "openstack",
        "auth_url": "https://keystone.example/v3",
        "application_credential_id": APPLICATION,
        "application_credential_secret": APPLICATION_WORD,
        "image": "other",
    }
    rotate(here.app, registration("hospital", by_application))

    assert rotate(here.app, AGAIN).examination.regions == ("region-2",)
    sealed = here.app.sealed.get("hospital").value
    secret = secret_of("hospital", sealed, here.app.keys)
    assert secret.model_dump(include={"image", "ca", "password", "username"}) == {
        "image": "other",
        "ca": "PEM",
        "password": None,
        "username": None,
    }


def test_what_cannot_be_opened_any_more_can_be_rotated_away(here: World) -> None:
    register(here.app, AWS)
    other = FileKey(here.app.keys.path.with_name("other"))  # type: ignore[attr-defined]
    other.prepare()
    app = replace(here.app, keys=other)
    with pytest.raises(Corrupt, match="under master key"):
        check(app, "aws")
    rotate(app, AGAIN)

    assert check(app, "aws").rotated is not None


def test_a_master_key_that_is_missing_is_asked_back_and_never_made_anew(
    here: World, tmp_path: Path
) -> None:
    path = tmp_path / "master.key"
    register(here.app, AWS)
    key = path.read_bytes()
    path.unlink()
    providers = Registered(here.app.store, here.app.keys, here.app.clouds, {})
    with pytest.raises(CredentialRejected, match=r"master\.key is missing; put back"):
        providers["aws"].machines()
    for asked in (
        lambda: check(here.app, "aws"),
        lambda: register(here.app, GCP),
        lambda: rotate(here.app, AGAIN),
    ):
        with pytest.raises(Corrupt, match=r"master\.key is missing; put back"):
            asked()
        assert not path.exists()

    path.write_bytes(key)
    path.chmod(0o600)
    assert check(here.app, "aws").name == "aws"


def test_a_master_key_that_is_lost_is_made_anew_once_nothing_is_sealed(
    here: World, tmp_path: Path
) -> None:
    register(here.app, AWS)
    register(here.app, SITE)
    (tmp_path / "master.key").unlink()
    app = replace(
        here.app, providers=Registered(here.app.store, here.app.keys, here.app.clouds, {})
    )
    for name in ("aws", "hospital"):
        with pytest.raises(Conflict, match="is missing"):
            delete(app, name)
        assert "is missing" in delete(app, name, force=True)

    assert register(app, AWS) == check(app, "aws")


def test_the_regions_that_can_be_used_are_kept_where_none_was_named(
    here: World, clouds: MemoryClouds
) -> None:
    def regions(name: str) -> Any:
        secret: Any = secret_of(name, here.app.sealed.get(name).value, here.app.keys)
        return secret.regions

    for told in (AWS, GCP, SITE):
        register(here.app, told)
    clouds.accounts[KEY_ID].regions = ("region-1", "region-2", "region-3")
    assert (regions("aws"), regions("gcp")) == (("region-1", "region-2"),) * 2
    assert check(here.app, "aws").examination.regions == ("region-1", "region-2")
    rotate(here.app, AGAIN)
    assert regions("aws") == ("region-1", "region-2")
    rotate(
        here.app, registration("aws", aws_document(regions=["region-1", "region-2", "region-3"]))
    )
    assert regions("aws") == ("region-1", "region-2", "region-3")


def test_a_deleted_credential_leaves_nothing(here: World) -> None:
    register(here.app, AWS)
    delete(here.app, "aws")

    assert kept(here) == []
    assert "aws" not in here.app.providers
    for unknown in (delete, show, check):
        with pytest.raises(NotFound):
            unknown(here.app, "aws")
    register(here.app, AWS)


def running_job(here: World, name: str) -> str:
    """A job whose aggregator runs with the credential `name`."""
    app = here.app
    with_sites(app)
    id = submit(app, spec()).id
    for step in (steps.check, steps.place, steps.launch):
        step(app, id)
    found = app.jobs.get(id)
    assert found.value.aggregator is not None
    aggregator = found.value.aggregator
    moved = aggregator.model_copy(
        update={"offer": aggregator.offer.model_copy(update={"provider": name})}
    )
    changed = found.value.model_copy(update={"aggregator": moved})
    app.store.write([app.jobs.put(changed, id, expected=found.version)])
    return id


def test_what_a_running_job_needs_is_not_deleted(here: World) -> None:
    register(here.app, AWS)
    register(here.app, GCP)
    id = running_job(here, "aws")
    with pytest.raises(Conflict, match=f"needed by job {id}"):
        delete(here.app, "aws")
    delete(here.app, "gcp")
    here.app.store.write([here.app.open_jobs.delete(id)])
    delete(here.app, "aws")


def test_a_rotation_may_not_lose_regions_where_jobs_run(here: World, clouds: MemoryClouds) -> None:
    register(here.app, AWS)
    id = running_job(here, "aws")
    fewer = registration("aws", aws_document(AWS_SECOND, regions=["region-2"]))
    with pytest.raises(Conflict, match=f"needed by job {id}, and the new one lacks region-1"):
        rotate(here.app, fewer)
    here.app.store.write([here.app.open_jobs.delete(id)])
    rotate(here.app, fewer)


def test_what_a_site_needs_is_not_deleted(here: World) -> None:
    register(here.app, SITE)
    register_site(
        here.app,
        Site(name="seoul", kind=SiteKind.OPENSTACK, credential="hospital", datasets=(dataset(),)),
    )
    with pytest.raises(Conflict, match="used by site seoul"):
        delete(here.app, "hospital")
    with_sites(here.app, "busan", "daejeon")
    reached = here.app.settings.model_copy(update={"allow_loopback": True})
    id = submit(replace(here.app, settings=reached), spec()).id
    with pytest.raises(Conflict, match=f"needed by job {id}"):
        delete(here.app, "hospital")


# Machines that nobody could end afterwards


def left_on(here: World, name: str, region: str = "region-1") -> MemoryProvider:
    """A cloud with a machine of a job that has ended."""
    offer = Offer(provider=name, region=region, machine_type="m", vcpus=2, memory_mib=4096, price=1)
    cloud: Any = here.app.providers[name]
    cloud.launch("gone", MachineSpec(key="gone-1", role=Role.AGGREGATOR, epoch=1, offer=offer))
    assert isinstance(cloud, MemoryProvider)
    return cloud


@pytest.mark.parametrize("told", [AWS, GCP, SITE], ids=lambda one: one.name)
@pytest.mark.parametrize("force", [False, True], ids=["asked", "forced"])
def test_a_machine_that_is_left_keeps_its_credential_until_the_sweep_was_there(
    here: World, told: Registration, force: bool
) -> None:
    register(here.app, told)
    left_on(here, told.name)
    with pytest.raises(Conflict, match=r"gone-1 can be ended with it alone; the sweep .* try ag"):
        delete(here.app, told.name, force=force)
    assert clear(here.app)["removed"] == ["gone-1"]

    assert delete(here.app, told.name) == ""


def test_without_a_control_plane_the_cloud_is_asked_all_the_same(here: World) -> None:
    register(here.app, AWS)
    left_on(here, "aws")
    offline = replace(here.app, providers={})
    with pytest.raises(Conflict, match="gone-1"):
        delete(offline, "aws")
    clear(here.app)
    delete(offline, "aws")


def test_a_cloud_that_does_not_answer_keeps_its_credential_unless_forced(here: World) -> None:
    register(here.app, AWS)
    cloud = left_on(here, "aws")
    cloud.fail_next = CloudUnavailable("down")
    with pytest.raises(Conflict, match=r"does not say which .* down; try again, or force it"):
        delete(here.app, "aws")
    partly = CloudUnavailable("a region is down")
    partly.found = tuple(cloud.machines())
    cloud.fail_next = partly
    with pytest.raises(Conflict, match="gone-1"):
        delete(here.app, "aws", force=True)
    cloud.fail_next = CloudUnavailable("down")

    assert delete(here.app, "aws", force=True).endswith("machines are left there: down")
    assert kept(here) == []


def test_a_rotation_may_not_lose_regions_where_machines_are_left(here: World) -> None:
    register(here.app, AWS)
    cloud = left_on(here, "aws", "region-1")
    first, second = (
        registration("aws", aws_document(AWS_SECOND, regions=[one]))
        for one in ("region-1", "region-2")
    )
    for force in (False, True):
        with pytest.raises(Conflict, match=r"gone-1 .* to lose region-1"):
            rotate(here.app, second, force=force)
    rotate(here.app, first)
    clear(here.app)
    cloud.fail_next = CloudUnavailable("down")
    with pytest.raises(Conflict, match="force it to lose region-1"):
        rotate(here.app, second)
    cloud.fail_next = CloudUnavailable("down")

    assert rotate(here.app, second, force=True).examination.regions == ("region-2",)


# Providers of what is registered


def test_a_credential_is_a_provider_from_the_next_look_until_it_is_deleted(here: World) -> None:
    providers = here.app.providers
    seen = [list(providers)]
    register(here.app, AWS)
    register(here.app, SITE)
    seen.append(list(providers))
    opened = providers["aws"]
    delete(here.app, "aws")
    seen.append([one.name for one in providers.values()])

    assert seen[:2] == [["local"], ["local", "aws", "hospital"]]
    assert sorted(seen[2]) == ["hospital", "local"]
    assert opened.name == "aws"
    assert providers.get("aws") is None
    assert len(providers) == 2


def test_a_provider_is_opened_once_for_each_secret(tmp_path: Path) -> None:
    here, _ = cloudy_world(tmp_path)
    opened: list[str] = []

    class Counting(MemoryClouds):
        def provider(self, name: str, secret: Any) -> Any:
            opened.append(secret.secret_access_key.get_secret_value())
            return MemoryProvider(here.clock, name=name)

    counting = Counting(here.clock)
    providers = Registered(here.app.store, here.app.keys, counting, {})
    register(here.app, AWS)
    first = providers["aws"]
    assert dict(providers.items())["aws"] is providers["aws"] is first
    rotate(here.app, AGAIN)
    assert providers["aws"] is not first
    delete(here.app, "aws")
    assert dict(providers.items()) == {}
    register(here.app, AWS)
    assert providers["aws"] is not first

    assert opened == [AWS_WORD, AWS_SECOND, AWS_WORD]


def test_an_installations_own_provider_comes_before_a_credential(here: World) -> None:
    register(here.app, AWS)
    own = MemoryProvider(here.clock, name="aws")
    providers = Registered(here.app.store, here.app.keys, here.app.clouds, {"aws": own})

    assert providers["aws"] is own
    assert dict(providers.items()) == {"aws": own}
    assert list(providers) == ["aws"]


class KeysDown(FileKey):
    def wrap(self, data_key: bytes, context: Any) -> bytes:
        raise Throttled("kms encrypt: slow down")

    def unwrap(self, wrapped: bytes, context: Any) -> bytes:
        raise Throttled("kms decrypt: slow down")


def test_a_credential_that_cannot_be_opened_hides_no_other_cloud(here: World) -> None:
    register(here.app, AWS)
    register(here.app, SITE)
    aws = here.app.sealed.get("aws")
    text = aws.value.ciphertext
    spoiled = aws.value.model_copy(
        update={"ciphertext": ("B" if text[0] == "A" else "A") + text[1:]}
    )
    here.app.store.write([here.app.sealed.put(spoiled, "aws", expected=aws.version)])

    found = inventory(here.app)
    assert found.silent == ("aws",)
    broken = here.app.providers["aws"]
    assert broken.capabilities.roles == frozenset()
    machine: Any = None
    for asked in (
        lambda: broken.offers(Need()),
        lambda: broken.machines(),
        lambda: broken.launch("j", machine),
        lambda: broken.terminate(machine),
    ):
        with pytest.raises(CredentialRejected, match="credential aws cannot be opened"):
            asked()


def test_a_key_service_that_is_down_is_tried_again(here: World) -> None:
    register(here.app, SITE)
    keys = KeysDown(here.app.keys.path)  # type: ignore[attr-defined]
    providers = Registered(here.app.store, keys, here.app.clouds, {})
    with pytest.raises(Throttled, match="slow down"):
        providers["hospital"].machines()
    providers._keys = here.app.keys  # it is up again

    assert providers["hospital"].machines() == []


def test_the_secret_of_another_credential_does_not_pass(here: World) -> None:
    register(here.app, SITE)
    register(here.app, AWS)
    other = here.app.sealed.get("hospital").value
    here.app.store.write([here.app.sealed.put(other, "aws", expected=1)])
    with pytest.raises(Corrupt, match="the secret of hospital is in its place"):
        check(here.app, "aws")
    renamed = other.model_copy(update={"name": "aws"})
    here.app.store.write([here.app.sealed.put(renamed, "aws", expected=2)])
    with pytest.raises(Corrupt):
        check(here.app, "aws")
    assert isinstance(_refusal(here), ProviderError)


def _refusal(here: World) -> Exception:
    try:
        here.app.providers["aws"].machines()
    except FedspanError as exc:
        return exc
    raise AssertionError("it was opened")


# Secrets stay where they are


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[tuple[World, MemoryClouds]]:
    store = SqliteStore(tmp_path / "fedspan.db")
    yield cloudy_world(tmp_path, store=store)
    store.close()


def test_no_secret_is_in_any_file_log_error_event_or_repr(
    sqlite: tuple[World, MemoryClouds], tmp_path: Path
) -> None:
    (here, clouds), app, said = sqlite, sqlite[0].app, io.StringIO()
    attempts = [
        lambda: [register(app, one) for one in (AWS, GCP, SITE)],
        lambda: register(app, AWS),
        lambda: rotate(app, AGAIN),
        lambda: rotate(app, registration("aws", aws_document(AWS_WORD, regions=["nowhere"]))),
        lambda: check(app, "hospital"),
        lambda: _failing(clouds, lambda: rotate(app, SITE)),
        lambda: clouds.accounts[USER].words.clear(),
        lambda: check(app, "hospital"),
        lambda: [here.app.providers["hospital"].machines()],
        lambda: [one.model_dump_json() for one in list_credentials(app)],
        lambda: (AWS, AGAIN, GCP, SITE, Kept(secret=AWS.secret), AWS.model_dump_json()),
        lambda: repr(app),
    ]
    logs.configure(said)
    with logged(tmp_path / "fedspan.log"):
        for attempt in attempts:
            try:
                said.write(f"{attempt()!r}\n")
            except FedspanError as exc:
                said.write("".join(traceback.format_exception(exc)))
    said.write(json.dumps([str(one) for one in app.store.list("event")]))
    files = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())

    assert "CredentialRegistered" in (tmp_path / "fedspan.log").read_text()
    assert b"123456789012" in files
    assert "Conflict" in said.getvalue()
    for word in WORDS:
        assert word not in said.getvalue()
        assert word.encode() not in files
    assert AWS_SECOND in revealed(AGAIN).decode()
    assert GCP_WORD in revealed(GCP).decode()
    assert OPENSTACK_WORD in revealed(SITE).decode()


def _failing(clouds: MemoryClouds, then: Any) -> Any:
    clouds.fail_next = CloudUnavailable("down")
    return then()


SPOILT: list[Any] = ["hunter2-hunter2!", ["hunter2-hunter2!"], {"x": "hunter2-hunter2!"}, 17.5]


@pytest.mark.parametrize("wrong", SPOILT, ids=["text", "list", "mapping", "number"])
@pytest.mark.parametrize("good", [AWS, GCP, SITE], ids=lambda one: one.name)
def test_what_is_wrong_is_told_without_what_was_given(good: Registration, wrong: Any) -> None:
    document = json.loads(revealed(good))
    fields = [*type(good.secret).model_fields, "provider", "unknown"]
    spoilt = [{**document, "secret": {**document["secret"], one: wrong}} for one in fields]
    spoilt += [{**document, "secret": wrong}, {**document, "name": wrong}, wrong]
    all_wrong = {field: wrong for field in fields if field != "provider"}
    spoilt.append({"name": wrong, "secret": {"provider": good.secret.provider, **all_wrong}})
    refused = 0
    for one in spoilt:
        try:
            parsed(Registration, one)
        except InvalidRequest as exc:
            refused += 1
            assert "hunter2" not in f"{exc!r} {exc.problems}"
            assert "17.5" not in str(exc)
    assert refused > len(fields) / 3


def test_what_would_be_right_is_told() -> None:
    for document, said in (
        ({"provider": "azure"}, "secret: provider: is not known; known: aws, gcp, openstack"),
        ({}, "secret: provider: is required"),
        (aws_document("short"), "secret_access_key: has fewer than 16 characters"),
        (aws_document("x" * 200), "secret_access_key: has more than 128 characters"),
        (aws_document(f"{AWS_WORD}\u00e9"), "secret_access_key: must be printable ASCII without"),
        (aws_document(f"{AWS_WORD} "), "secret_access_key: must be printable ASCII without"),
        (aws_document(session_token="a\nb"), "secret.session_token: must be printable ASCII"),
        (
            aws_document(access_key_id="AKIA\u00e9OSFODNN7EXAMPLE"),
            "secret.access_key_id: string sho",
        ),
        (
            aws_document(access_key="x"),
            "secret: has an unknown field; did you mean 'access_key_id'",
        ),
        (openstack_document(auth_url="x"), "secret.auth_url: must be Keystone's address"),
        (aws_document(regions="eu-west-1"), "regions: must be a list"),
        (aws_document(regions=[1]), "regions.0: input should be a valid string"),
        ("text", "secret: must be a mapping"),
        (openstack_document(password=None), "needs either username, password and project"),
    ):
        with pytest.raises(InvalidRequest) as raised:
            parsed(Registration, {"name": "aws", "secret": document})
        assert said in str(raised.value)


@pytest.mark.parametrize("field", ["secret_access_key", "session_token"])
@pytest.mark.parametrize("odd", [" ", "\n", "\x7f", "\u00e9", "\x00"])
def test_a_key_with_a_character_that_no_header_takes_is_refused_unsaid(
    field: str, odd: str
) -> None:
    document = {**aws_document(), field: f"{AWS_WORD}{odd}hunter2"}
    with pytest.raises(InvalidRequest) as raised:
        parsed(Registration, {"name": "aws", "secret": document})
    assert raised.value.problems == (
        f"secret.{field}: must be printable ASCII without spaces, as AWS gives it",
    )


@pytest.mark.parametrize(
    ("place", "known"), [((), "known: name, secret"), (("secret",), "known: access_key_id, prov")]
)
def test_a_secret_that_stands_where_a_field_should_is_not_repeated(
    place: tuple[str, ...], known: str
) -> None:
    document: dict[str, Any] = {"name": "aws", "secret": aws_document()}
    holder = document["secret"] if place else document
    holder[f"{AWS_WORD}!"] = 1
    with pytest.raises(InvalidRequest) as raised:
        parsed(Registration, document)

    assert f"has an unknown field; {known}" in str(raised.value)
    assert AWS_WORD not in f"{raised.value!r}"


def test_a_name_that_is_none_is_told_in_words() -> None:
    with pytest.raises(InvalidRequest, match="name: must be of a-z, 0-9 and dashes"):
        registration("Hospital", openstack_document())


def test_a_credential_says_which_cloud_it_is_of(here: World) -> None:
    made = register(here.app, GCP)

    assert made.provider is Cloud.GCP
    assert Credential.model_validate_json(made.model_dump_json()) == made
