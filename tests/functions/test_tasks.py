"""The Lambdas of the state machine, by `chalice.test.Client`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chalice.test import Client

from fedspan.domain.parsing import parsed
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.waits import Until
from fedspan.errors import InvalidRequest, Superseded
from fedspan.local import functions
from fedspan.services.placements import score
from fedspan.services.resume import resume
from fedspan.services.submit import submit
from tests.support.world import serving, spec, with_sites, world


def test_tasks_take_the_job_and_return_objects(tmp_path: Path) -> None:
    here = world(tmp_path)
    with_sites(here.app)
    job = submit(here.app, spec()).id
    with serving(here.app), Client(functions.chalice_app()) as client:
        event = {"job": job, "attempt": 1}
        for name in ("check", "place", "launch"):
            assert isinstance(client.lambda_.invoke(name, event).payload, dict)
        error = {"Error": "NoCapacity", "Cause": "sold out"}
        client.lambda_.invoke("give_up", {**event, "error": error})
        for name in ("notify", "tear_down"):
            client.lambda_.invoke(name, event)
        assert client.lambda_.invoke("finish", event).payload["state"] == "failed"


def test_a_task_of_a_superseded_execution_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path)
    with_sites(here.app)
    job = submit(here.app, spec()).id
    resume(here.app)
    with serving(here.app), Client(functions.chalice_app()) as client, pytest.raises(Superseded):
        client.lambda_.invoke("check", {"job": job, "attempt": 1})


QUESTION = {
    "rounds": 3,
    "participants": [{"name": "seoul", "latitude": 37.57, "longitude": 126.98}],
    "placement": {"model_bytes": 1_000_000},
}


def test_a_placement_is_scored_as_by_the_use_case(tmp_path: Path) -> None:
    here = world(tmp_path)
    with serving(here.app), Client(functions.chalice_app()) as client:
        event = {"question": QUESTION, "limit": 40, "compare": "aws:eu-west-1"}
        answer = client.lambda_.invoke("score_placement", event).payload

    expected = score(
        here.app, parsed(PlacementQuestion, QUESTION), limit=40, compare="aws:eu-west-1"
    )
    assert answer == expected.model_dump(mode="json")
    assert len(answer["candidates"]) >= 40
    assert answer["compared"]["region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, "question: is required"),
        ([], "must be a mapping"),
        ({"question": {**QUESTION, "rounds": 0}}, r"question\.rounds: input should be greater"),
        ({"question": {**QUESTION, "roundz": 1}}, "roundz: unknown key; did you mean 'rounds'"),
        ({"question": QUESTION, "limit": 101}, "limit: input should be less than or equal to 100"),
        ({"question": QUESTION, "limits": 1}, "limits: unknown key; did you mean 'limit'"),
        ({"question": QUESTION, "compare": ""}, "compare: string should have at least 1 char"),
        ({"question": QUESTION, "compare": "eu-wset-1"}, "did you mean .*eu-west-1"),
    ],
)
def test_a_placement_that_cannot_be_scored_says_why(
    tmp_path: Path, event: object, said: str
) -> None:
    here = world(tmp_path)
    with (
        serving(here.app),
        Client(functions.chalice_app()) as client,
        pytest.raises(InvalidRequest, match=said),
    ):
        client.lambda_.invoke("score_placement", event)


def test_a_task_of_a_job_that_asks_says_so_and_waits(tmp_path: Path) -> None:
    here = world(tmp_path)
    with_sites(here.app)
    job = submit(here.app, spec(aggregator={"approve": True})).id
    with serving(here.app), Client(functions.chalice_app()) as client:
        event = {"job": job, "attempt": 1}
        client.lambda_.invoke("check", event)
        placed = client.lambda_.invoke("place", event).payload
        client.lambda_.invoke("await_approval", {**event, "token": "t"})

    assert placed["approve"] is True
    assert 86_000 < placed["silence_seconds"] < placed["wait_seconds"]
    assert here.app.waits.get(job).value.until is Until.APPROVED


def test_the_schedule_sweeps(tmp_path: Path) -> None:
    here = world(tmp_path)
    with serving(here.app), Client(functions.chalice_app()) as client:
        event = client.events.generate_cw_event(
            "aws.events", "Scheduled Event", {}, [], "us-east-1"
        )
        assert client.lambda_.invoke("sweep", event).payload == {
            "removed": [],
            "stuck": [],
            "lost": [],
            "revived": [],
            "restarted": [],
        }
