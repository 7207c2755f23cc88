"""The Cloud Functions `metadata` and `sweep`: what is kept is read, what nobody wants goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedspan.absent import NoStore
from fedspan.domain.events import Event, Level
from fedspan.domain.models import Card
from fedspan.domain.selection import Selection
from fedspan.errors import NoCapacity
from fedspan.services.ending import finish, give_up, tear_down
from fedspan.services.submit import submit
from tests.support.cloud_function import Call, a_spec, call, on_google
from tests.support.world import CLASSES, START, World, a_round, serving, spec, with_sites, world

__all__ = ["call", "on_google"]


@pytest.fixture
def job(on_google: World) -> str:
    with_sites(on_google.app)
    job = submit(on_google.app, spec())
    done = a_round(on_google.app, job.id, 1)
    on_google.app.store.write([on_google.app.rounds.put(done, "000001", job.id, expected=0)])
    return job.id


def a_card(job: str) -> Card:
    made = spec()
    return Card(
        id=f"{job}-model",
        job=job,
        name="breast-cancer",
        created=START,
        architecture=made.model,
        features=(30,),
        classes=CLASSES,
        parameters=266,
        weights="models/m.safetensors",
        uri="gs://fedspan/models/m.safetensors",
        sha256="0" * 64,
        bytes=9,
        selected=Selection(round=1, metric="f1", value=0.9, threshold=0.5),
        rounds={},
        participants={"seoul": 80},
        data=made.data,
        training=made.training,
        strategy=made.strategy,
        seed=7,
        versions={},
    )


def test_jobs_rounds_and_events_are_read(call: Call, on_google: World, job: str) -> None:
    [listed] = call("metadata", "GET", "/jobs").json["jobs"]
    whole = call("metadata", "GET", f"/jobs/{job}").json
    [done] = call("metadata", "GET", f"/jobs/{job}/rounds").json["rounds"]
    events = call("metadata", "GET", f"/jobs/{job}/events").json["events"]

    assert listed["id"] == whole["id"] == job
    assert "placement" not in listed
    assert (done["job"], done["number"], done["metrics"]["f1"]) == (job, 1, 0.9)
    assert [Event.model_validate(one).level for one in events] == [Level.INFO]


def test_a_bill_is_read(call: Call, on_google: World, job: str) -> None:
    answer = call("metadata", "GET", f"/jobs/{job}/bill").json

    assert (answer["job"], answer["settled"], answer["total"]) == (job, False, 0)
    assert call("metadata", "GET", "/jobs/none/bill").status_code == 404


def test_pages_follow_each_other(call: Call, on_google: World, job: str) -> None:
    other = submit(on_google.app, spec()).id
    [newest] = call("metadata", "GET", "/jobs?limit=1").json["jobs"]
    [before] = call("metadata", "GET", f"/jobs?limit=1&after={newest['id']}").json["jobs"]

    assert (newest["id"], before["id"]) == (other, job)


def test_models_are_read(call: Call, on_google: World, job: str) -> None:
    card = a_card(job)
    on_google.app.store.write([on_google.app.models.put(card, card.id, expected=0)])
    [listed] = call("metadata", "GET", "/models").json["models"]

    assert listed == call("metadata", "GET", f"/models/{card.id}").json
    assert Card.model_validate(listed) == card
    assert call("metadata", "GET", "/models/none").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/sites", "/jobs/none", "/jobs/none/rounds", "/jobs/a/b/c", "/credentials"]
)
def test_what_is_not_there_is_not_found(call: Call, on_google: World, path: str) -> None:
    got = call("metadata", "GET", path)

    assert (got.status_code, got.json["type"]) == (404, "NotFound")


@pytest.mark.parametrize("limit", ["0", "501", "ten", ""])
def test_a_limit_out_of_range_is_named(call: Call, on_google: World, limit: str) -> None:
    got = call("metadata", "GET", f"/jobs?limit={limit}")

    assert (got.status_code, got.json["detail"][:6]) == (400, "limit:")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_written(call: Call, on_google: World, job: str, method: str) -> None:
    got = call("metadata", method, f"/jobs/{job}")

    assert (got.status_code, got.headers["Allow"]) == (405, "GET")


def test_without_a_store_it_says_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    got = call("metadata", "GET", "/jobs")

    assert (got.status_code, got.json["type"]) == (422, "Unsupported")


def test_what_nobody_wants_is_removed(call: Call, on_google: World) -> None:
    with_sites(on_google.app)
    wanted = submit(on_google.app, spec()).id
    on_google.cloud.launch("gone", a_spec(on_google.cloud))
    kept = on_google.cloud.launch(wanted, a_spec(on_google.cloud).model_copy(update={"key": "k"}))
    got = call("sweep", "POST")

    assert (got.status_code, got.json["removed"]) == (200, ["job-1-a"])
    assert list(on_google.cloud.machines()) == [kept]


def test_it_starts_no_execution_where_none_can_run(call: Call, on_google: World) -> None:
    with_sites(on_google.app)
    job = submit(on_google.app, spec())
    on_google.app.executions.started.clear()
    on_google.clock.tick(3600)
    call("sweep", "POST")

    assert on_google.app.jobs.get(job.id).value == job
    assert on_google.app.executions.started == {}


def test_a_job_that_ended_leaves_nothing(call: Call, on_google: World) -> None:
    with_sites(on_google.app)
    job = submit(on_google.app, spec()).id
    give_up(on_google.app, job, {"Error": "TrainingFailed"})
    tear_down(on_google.app, job)
    finish(on_google.app, job)
    on_google.cloud.launch(job, a_spec(on_google.cloud))
    call("sweep", "POST")

    assert list(on_google.cloud.machines()) == []


def test_one_that_resists_keeps_no_other(call: Call, on_google: World) -> None:
    for key in ("a", "b"):
        spec_ = a_spec(on_google.cloud).model_copy(update={"key": key})
        on_google.cloud.launch("gone", spec_)
    on_google.cloud.fail_terminate = [NoCapacity("not now")]
    got = call("sweep", "POST").json

    assert (len(got["stuck"]), len(got["removed"])) == (1, 1)


def test_it_is_not_read(call: Call, on_google: World) -> None:
    on_google.cloud.launch("gone", a_spec(on_google.cloud))
    got = call("sweep", "GET")

    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert len(on_google.cloud.machines()) == 1


def test_without_a_store_nothing_is_removed(call: Call, tmp_path: Path, on_google: World) -> None:

    on_google.cloud.launch("gone", a_spec(on_google.cloud))
    with serving(world(tmp_path, providers={"gcp": on_google.cloud}, store=NoStore()).app):
        got = call("sweep", "POST")

    assert got.json["stuck"] == ["job-1-a"]
    assert len(on_google.cloud.machines()) == 1
