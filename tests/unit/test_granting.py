"""When an aggregator is given access to its job's objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from fedspan.domain.grants import Grant
from fedspan.domain.reports import AggregatorManifest, Desired, Phase
from fedspan.errors import CloudUnavailable, Denied, FedspanError
from fedspan.services import steps
from fedspan.services.cancel import cancel
from fedspan.services.examine import program_key
from fedspan.services.report_aggregator import aggregator_manifest, report_aggregator
from fedspan.services.submit import submit
from tests.support.world import World, aggregator_says, spec, with_sites, world


@dataclass
class Hourly:
    """Grants an hour, and knows what was asked for; `fail_next` is raised once."""

    clock: Any = None
    asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    fail_next: FedspanError | None = None

    def grant(self, read: Sequence[str], write: Sequence[str], seconds: int) -> Grant | None:
        failure, self.fail_next = self.fail_next, None
        if failure is not None:
            raise failure
        self.asked.append((tuple(read), tuple(write)))
        expires = self.clock() + timedelta(seconds=seconds)
        return Grant(expires=expires, variables={"KEY": SecretStr(f"hush-{len(self.asked)}")})


@pytest.fixture
def grants() -> Hourly:
    return Hourly()


@pytest.fixture
def here(tmp_path: Path, grants: Hourly) -> World:
    made = world(tmp_path, grants=grants)
    grants.clock = made.clock
    with_sites(made.app)
    return made


def launched(here: World, **changes: Any) -> str:
    job = submit(here.app, spec(**changes)).id
    for step in (steps.check, steps.place, steps.launch):
        step(here.app, job)
    return job


def says(here: World, job: str, seq: int, held: Grant | None = None) -> AggregatorManifest:
    expires = held.expires if held else None
    report = aggregator_says(job, seq, Phase.READY, grant_expires=expires)
    return report_aggregator(here.app, report)


def test_the_first_answer_grants_the_jobs_own_objects(here: World, grants: Hourly) -> None:
    job = launched(here)
    answer = says(here, job, 1)

    assert answer.objects is not None
    assert grants.asked == [((), (f"jobs/{job}/",))]


def test_a_job_that_trains_a_program_may_read_that(here: World, grants: Hourly) -> None:
    sha256 = "5f" * 32
    here.app.objects.put(program_key(sha256), b"a program")
    job = launched(here, model={"file": "program.pt2", "sha256": sha256})
    says(here, job, 1)

    assert grants.asked == [((f"uploads/{sha256}.pt2",), (f"jobs/{job}/",))]


def test_access_is_renewed_in_its_last_quarter_of_an_hour(here: World, grants: Hourly) -> None:
    job = launched(here)
    first = says(here, job, 1).objects
    here.clock.tick(45 * 60)
    still = says(here, job, 2, first)
    here.clock.tick(1)
    renewed = says(here, job, 3, first).objects

    assert (still.objects, still.objects_late) == (None, False)
    assert first and renewed and renewed.expires > first.expires


def test_an_answer_that_was_lost_is_given_again(here: World, grants: Hourly) -> None:
    job = launched(here)
    says(here, job, 1)

    assert says(here, job, 1).objects is not None


@pytest.mark.parametrize("failure", [CloudUnavailable("away"), Denied("no")])
def test_a_cloud_that_grants_nothing_costs_no_heartbeat(
    here: World, grants: Hourly, failure: FedspanError
) -> None:
    job = launched(here)
    grants.fail_next = failure
    without = says(here, job, 1)
    after = says(here, job, 2)

    assert (without.objects, without.objects_late) == (None, True)
    assert after.objects is not None and not after.objects_late


def test_where_machines_need_nothing_nothing_is_late(tmp_path: Path) -> None:
    here = world(tmp_path)
    with_sites(here.app)
    answer = says(here, launched(here), 1)

    assert (answer.objects, answer.objects_late) == (None, False)


def test_an_aggregator_that_is_to_stop_is_granted_nothing(here: World, grants: Hourly) -> None:
    job = launched(here)
    cancel(here.app, job)
    answer = says(here, job, 1)

    assert answer.desired is Desired.STOP
    assert (answer.objects, answer.objects_late, grants.asked) == (None, False, [])


def test_one_that_asks_without_reporting_is_granted_access_too(here: World) -> None:
    job = launched(here)

    assert aggregator_manifest(here.app, job, 1).objects is not None


def test_an_answer_carries_the_secret_and_shows_it_to_nobody(here: World) -> None:
    answer = says(here, launched(here), 1)

    assert "hush-1" not in f"{answer!r} {answer}"
    assert AggregatorManifest.model_validate_json(answer.model_dump_json()) == answer
    assert answer.model_dump(mode="json")["objects"]["variables"] == {"KEY": "hush-1"}


def test_an_answer_that_is_wrong_is_told_without_its_secret(here: World) -> None:
    answer = says(here, launched(here), 1)
    with pytest.raises(ValidationError) as raised:
        AggregatorManifest.model_validate_json(
            answer.model_dump_json().replace('"desired":"run"', '"desired":"hush-1"')
        )

    assert "desired" in str(raised.value) and "hush-1" not in str(raised.value)
