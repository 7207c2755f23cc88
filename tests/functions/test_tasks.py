"""The Lambdas of the state machine, by `chalice.test.Client`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chalice.test import Client

from fedspan.errors import Superseded
from fedspan.local import functions
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
        }
