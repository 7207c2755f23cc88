"""The supervisor's decisions, with an API and a Flower that are not there."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from fedspan.domain.jobs import Progress
from fedspan.domain.reports import AggregatorManifest, AggregatorReport, Desired, Phase
from fedspan.domain.rounds import Checkpoint, Round
from fedspan.flower import supervisor
from fedspan.flower.files import ServerStatus
from fedspan.flower.settings import Settings
from fedspan.flower.supervisor import SLACK_SECONDS, Supervisor
from fedspan.flower.warm import NO_ROOM, Child, Family

Make = Callable[..., Any]


class Answers:
    """An API that acknowledges what it is told, as far as `most` a report."""

    def __init__(self, manifest: AggregatorManifest, most: int = 40) -> None:
        self.manifest, self.most = manifest, most
        self.told: list[AggregatorReport] = []

    def post(self, path: str, report: AggregatorReport, answer: object) -> AggregatorManifest:
        self.told.append(report)
        taken = [one.number for one in report.rounds][: self.most]
        last = max(taken, default=self.manifest.acknowledged)
        self.manifest = self.manifest.model_copy(update={"acknowledged": last})
        return self.manifest


def completed(number: int) -> Round:
    checkpoint = Checkpoint(key="k", sha256="0" * 64, bytes=1)
    return Round(
        job="job-1",
        number=number,
        epoch=1,
        seconds=1,
        participants={},
        parameters=1,
        checkpoint=checkpoint,
    )


def made(one: Any, api: Answers) -> Any:
    settings = Settings("http://api", "job-1", 1, "", one.work.path, "127.0.0.1")
    flower = SimpleNamespace(ended=lambda: None)
    return Supervisor(settings, flower, Family(one.work.path / "logs"), api)  # type: ignore[arg-type]


def test_a_report_carries_forty_rounds_and_the_rest_follow_at_once(federation: Make) -> None:
    one = federation()
    api = Answers(one.manifest.model_copy(update={"heartbeat_seconds": 3600}))
    subject = made(one, api)
    one.work.write_status(
        ServerStatus(phase=Phase.DONE, rounds=tuple(completed(n) for n in range(1, 101)))
    )
    subject._read_status()
    while subject._pace.due():
        subject._report()

    sent = [[one.number for one in report.rounds] for report in api.told]
    assert sent == [[*range(1, 41)], [*range(41, 81)], [*range(81, 101)]]


def test_rounds_nobody_takes_are_told_at_heartbeats_alone(federation: Make) -> None:
    one = federation()
    api = Answers(one.manifest.model_copy(update={"heartbeat_seconds": 3600}), most=0)
    subject = made(one, api)
    one.work.write_status(ServerStatus(phase=Phase.DONE, rounds=(completed(1),)))
    subject._read_status()
    subject._report()

    assert not subject._pace.due()


@pytest.mark.parametrize(("phase", "fault"), [(Phase.TRAINING, True), (Phase.DONE, False)])
def test_a_serverapp_that_hangs_is_a_fault(
    federation: Make, monkeypatch: pytest.MonkeyPatch, phase: Phase, fault: bool
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedspan.flower.supervisor.time.monotonic", lambda: now)
    one = federation(limits={"round": 100, "node_wait": 7})
    subject = made(one, Answers(one.manifest))
    subject._check_run = lambda run: None
    subject._run = 1
    subject._report()
    one.work.write_status(ServerStatus(phase=phase, progress=Progress(round=3)))
    subject._read_status()
    now += 207 + SLACK_SECONDS
    subject._read_status()
    patient = subject._fault
    now += supervisor.RUN_CHECK_SECONDS + 1
    subject._read_status()

    assert patient is None
    assert (subject._fault is not None) == fault
    if fault:
        assert subject._fault.code == "TrainingFailed"
        assert subject._fault.message == "the training hangs: no progress in round 3 for 267 s"


def test_progress_of_any_kind_is_no_fault(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedspan.flower.supervisor.time.monotonic", lambda: now)
    one = federation(limits={"round": 100, "node_wait": 7})
    subject = made(one, Answers(one.manifest))
    subject._check_run = lambda run: None
    subject._run = 1
    subject._report()
    for number in range(1, 6):
        one.work.write_status(ServerStatus(phase=Phase.TRAINING, progress=Progress(round=number)))
        subject._read_status()
        now += 200

    assert subject._fault is None


def test_a_lease_that_is_over_ends_the_machine(
    federation: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one = federation()
    api = Answers(one.manifest.model_copy(update={"lease_seconds": 0.2}))
    subject = made(one, api)
    subject._serve = lambda: None
    subject._pace.heartbeat_seconds = 3600
    api.manifest = api.manifest.model_copy(update={"heartbeat_seconds": 3600})
    with caplog.at_level(logging.ERROR):
        code = subject.supervise(SimpleNamespace(asked=0, code=143))

    assert code == 0
    assert "told this machine nothing for 0.2 s" in caplog.text


@contextmanager
def no_room() -> Iterator[None]:
    """As on a full disk: no file takes a byte more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_supervisor_that_cannot_write_says_so_and_hears_that_it_is_to_stop(
    federation: Make,
) -> None:
    one = federation()
    api = Answers(one.manifest)
    subject = made(one, api)
    subject._serve = lambda: None
    with no_room():
        first = subject._report()
        subject._follow()
        said = subject._report()
        api.manifest = api.manifest.model_copy(update={"desired": Desired.STOP})
        last = subject._report()

    assert (first, said, last) == (True, True, False)
    assert api.told[1].phase is Phase.FAILED and api.told[1].fault is not None
    assert api.told[1].fault.code == "DiskFull"


@pytest.mark.parametrize("room", [True, False])
def test_what_ends_without_a_word_where_there_is_no_room_ended_of_that(
    federation: Make, room: bool
) -> None:
    one = federation()
    subject = made(one, Answers(one.manifest))
    subject._flower = SimpleNamespace(ended=lambda: "serverapp exited with 1")
    with nullcontext() if room else no_room():
        subject._follow()

    assert subject._fault.code == ("TrainingFailed" if room else "DiskFull")
    assert "serverapp exited with 1" in subject._fault.message


def test_a_serverapp_that_found_no_room_for_its_last_word_is_a_full_disk(federation: Make) -> None:
    one = federation()
    subject = made(one, Answers(one.manifest))
    subject._flower = SimpleNamespace(ended=lambda: Child("serverapp", 1, 0.0, NO_ROOM).ended)
    subject._follow()

    assert subject._fault.code == "DiskFull"
