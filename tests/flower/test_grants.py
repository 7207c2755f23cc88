"""An aggregator whose access to the objects is granted, hour by hour."""

from __future__ import annotations

import logging
import re
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from fedspan.domain.grants import Grant
from fedspan.domain.reports import AggregatorManifest, AggregatorReport, Phase
from fedspan.errors import StoreUnavailable
from fedspan.flower import shipping
from fedspan.flower.settings import Settings
from fedspan.flower.shipping import Shipper
from fedspan.flower.supervisor import Supervisor
from fedspan.flower.warm import Family
from fedspan.objects.granted import Granted
from fedspan.objects.grants import S3Grants
from tests.flower.api import Api
from tests.flower.machines import JOB, NAMES, World

Make = Callable[..., Any]
ENDS = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/objects"


def grant(secret: str, ends: datetime = ENDS) -> Grant:
    return Grant(expires=ends, variables={"AWS_SECRET_ACCESS_KEY": SecretStr(secret)})


class Answers:
    """An API that gives these answers, one a report, the last of them for ever."""

    def __init__(self, *answers: AggregatorManifest) -> None:
        self.answers = list(answers)
        self.told: list[AggregatorReport] = []

    def post(self, path: str, report: AggregatorReport, answer: object) -> AggregatorManifest:
        self.told.append(report)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Machine:
    """A supervisor, and how often it submitted its run."""

    def __init__(self, one: Any, *changes: dict[str, Any]) -> None:
        self.api = Answers(*(one.manifest.model_copy(update=change) for change in changes))
        self.work, self.submitted = one.work, 0
        control = SimpleNamespace(runs=dict, register_node=lambda key: 1)
        flower = SimpleNamespace(
            address="127.0.0.1:9",
            certificate="CA",
            control=control,
            ready=lambda spec: True,
            submit=self._submit,
        )
        settings = Settings("http://api", "job-1", 1, "", one.work.path, "127.0.0.1")
        family = Family(one.work.path / "logs")
        self.subject: Any = Supervisor(settings, flower, family, self.api)  # type: ignore[arg-type]

    def _submit(self, spec: Any, objects: str) -> int:
        self.submitted += 1
        return 7

    def heartbeat(self) -> None:
        self.subject._report()
        self.subject._serve()


def test_access_is_put_where_the_objects_are_opened_and_nowhere_else(
    federation: Make, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(federation(), {"objects": grant("hush-1")}, {})
    caplog.set_level(logging.DEBUG)
    machine.heartbeat()
    machine.heartbeat()
    file = machine.work.grant

    assert Granted(file).now() == grant("hush-1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.grant_expires for one in machine.api.told] == [None, ENDS]
    others = [one for one in machine.work.path.rglob("*") if one.is_file() and one != file]
    assert others and not [one for one in others if b"hush-1" in one.read_bytes()]
    assert "hush-1" not in caplog.text
    assert machine.submitted == 1


def test_renewed_access_takes_the_place_of_the_old(federation: Make) -> None:
    later = ENDS + timedelta(hours=1)
    machine = Machine(
        federation(), {"objects": grant("hush-1")}, {"objects": grant("hush-2", later)}, {}
    )
    for _ in range(3):
        machine.heartbeat()

    assert Granted(machine.work.grant).now() == grant("hush-2", later)
    assert machine.api.told[-1].grant_expires == later
    assert machine.submitted == 1


def test_the_run_waits_for_access_that_is_late(
    federation: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("fedspan.aggregator")
    monkeypatch.setattr(log, "propagate", True)  # whatever other tests of this process did to it
    monkeypatch.setattr(log, "disabled", False)
    caplog.set_level(logging.INFO, log.name)
    late = {"objects_late": True}
    machine = Machine(federation(), late, late, {"objects": grant("hush-1")}, late)
    machine.heartbeat()
    machine.heartbeat()
    with pytest.raises(StoreUnavailable):
        Granted(machine.work.grant).now()
    before = machine.submitted
    machine.heartbeat()
    machine.heartbeat()

    assert (before, machine.submitted) == (0, 1)
    assert caplog.text.count("waiting for access to the objects") == 1


def test_where_nothing_is_granted_the_machines_own_access_is_used(federation: Make) -> None:
    machine = Machine(federation(), {})
    machine.heartbeat()

    assert Granted(machine.work.grant).now() is None
    assert (machine.submitted, machine.api.told[0].grant_expires) == (1, None)


def test_logs_wait_for_access_to_the_objects(
    federation: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, tries = federation(), threading.Semaphore(0)
    opened: list[object] = []

    def open_late() -> Any:
        opened.append(None)
        tries.release()
        if len(opened) < 3:
            raise StoreUnavailable("not granted yet")
        return one.objects

    monkeypatch.setattr(shipping, "EVERY_SECONDS", 0.01)
    log = tmp_path / "a.log"
    log.write_bytes(b"said")
    shipper = Shipper(open_late, "jobs/job-1/logs/", {"a": log})
    shipper.start()
    for _ in range(3):
        assert tries.acquire(timeout=20)
    shipper.finish()

    assert one.objects.get("jobs/job-1/logs/a.log") == b"said"
    assert len(opened) == 3


@pytest.fixture
def bucket(moto_url: str, aws_client: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client for a bucket to which only a grant leads: the environment names no key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "plane")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "plane")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = aws_client("s3", moto_url)
    client.create_bucket(Bucket="trained")
    granted = S3Grants(
        ROLE,
        "trained",
        "fed/",
        {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": moto_url},
        moto_url,
    ).grant([], [f"jobs/{JOB}/"], 3600)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    yield SimpleNamespace(client=client, granted=granted)


def test_a_machine_without_a_credential_trains_into_a_bucket(tmp_path: Path, bucket: Any) -> None:
    extra = {"FEDSPAN_OBJECTS": "s3://trained/fed"}
    with World(tmp_path, rounds=2, extra=extra, prepare=_grants_late) as world:
        world.api.until(lambda: bool(world.api.aggregator and world.api.aggregator.linked))
        assert world.api.aggregator and world.api.aggregator.phase is Phase.READY
        world.api.objects, world.api.objects_late = bucket.granted, False
        world.api.until(lambda: len(world.api.rounds) == 2)
        said = world.api.aggregator
        codes = world.stop()

    found = bucket.client.list_objects_v2(Bucket="trained")["Contents"]
    keys = {one["Key"].removeprefix(f"fed/jobs/{JOB}/") for one in found}
    work = world.work("aggregator")
    secret = bucket.granted.variables["AWS_SECRET_ACCESS_KEY"].get_secret_value().encode()
    holders = [one.name for one in tmp_path.rglob("*") if one.is_file() and secret in _read(one)]
    assert codes == {"aggregator": 0, NAMES[0]: 0}
    assert {"rounds/000001.json", "rounds/000002.json"} <= keys
    assert any(re.fullmatch(r"rounds/000002-\w+\.safetensors", one) for one in keys)
    assert "logs/aggregator-1-supervisor.log" in keys
    assert said.grant_expires == bucket.granted.expires
    assert holders == ["grant.json"]
    assert stat.S_IMODE((work / "grant.json").stat().st_mode) == 0o600


def _grants_late(api: Api) -> None:
    api.objects_late = True


def _read(path: Path) -> bytes:
    return path.read_bytes()
