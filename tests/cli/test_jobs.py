"""``fedspan job``, from submission to deletion."""

from __future__ import annotations

import json
import re
import signal
import threading
import time

import pytest

from fedspan.cli.api import Api, Wire
from fedspan.cli.watch import Presses
from fedspan.domain.jobs import JobState
from fedspan.errors import NotRunning
from fedspan.services.changes import enter
from tests.cli.conftest import (
    begin,
    ended,
    serving,
    train,
    train_badly,
    train_until_cancelled,
    until,
)
from tests.support.world import spec_document, with_sites

SHAPE = {
    "job",
    "name",
    "state",
    "placement",
    "rounds",
    "selected",
    "model",
    "phases",
    "cost_usd",
    "left_over",
    "lost",
    "outcome",
}


def test_a_job_is_submitted_watched_and_shown(cli, home, spec_file):
    with serving(home):
        watched = cli("job", "submit", spec_file, "--watch", "--json")
        id = watched.document["job"]
        shown = cli("job", "show", id, "--json")

    assert watched.code == shown.code == 0
    assert watched.document == shown.document
    assert "JobSubmitted" in watched.err


def test_a_report_has_the_documented_shape(cli, home, spec_file):
    with serving(home):
        report = cli("job", "submit", spec_file, "--watch", "--json").document

    assert set(report) == SHAPE
    assert report["state"] == "succeeded"
    assert report["outcome"] == {"code": "Completed", "message": ""}
    assert [one["round"] for one in report["rounds"]] == [1, 2]
    assert set(report["rounds"][0]) == {"round", "epoch", "seconds", "metrics", "participants"}
    assert set(report["rounds"][0]["metrics"]) == {"loss", "accuracy", "precision", "recall", "f1"}
    assert report["rounds"][0]["participants"]["seoul"] == {
        "status": "done",
        "examples": 80,
        "seconds": 0.5,
    }
    assert report["selected"] == {"round": 1, "metric": "f1", "value": 0.9, "threshold": 0.5}
    assert set(report["model"]) == {"id", "uri", "sha256", "parameters"}
    assert report["left_over"] == {"processes": 0, "directories": 0}
    assert {"training", "stopping"} <= set(report["phases"])


def test_people_are_told_the_round_the_reason_and_the_hash(cli, home, spec_file):
    with serving(home):
        result = cli("job", "submit", spec_file, "--watch")

    assert result.code == 0
    assert "▸ 1" in result.out
    assert "round 1: f1 0.9000, the highest of 2 rounds (2 reach it" in result.out
    assert f"{1:064x}" in result.out
    assert "no process, no directory" in result.out
    assert result.err == ""


def test_no_round_at_the_threshold_exits_with_4(cli, home, spec_file):
    with serving(home, act=train_badly):
        result = cli("job", "submit", spec_file, "--watch", "--json")

    assert result.code == 4
    assert result.document["outcome"]["code"] == "NoQualifyingRound"
    assert result.document["model"] is None


def test_a_job_that_fails_exits_with_1_and_says_why(cli, home, spec_file):
    from fedspan.errors import TrainingFailed

    def fail(app, job):
        begin(app, job)
        raise TrainingFailed("loss is NaN at busan")

    with serving(home, act=fail):
        watched = cli("job", "submit", spec_file, "--watch")
        id = cli("job", "list", "--json").document["jobs"][0]["id"]
        again = cli("job", "watch", id, "--json")

    assert watched.code == again.code == 1
    assert "TrainingFailed: loss is NaN at busan" in watched.out
    assert again.document["state"] == "failed"


def test_submitting_returns_at_once_and_watching_follows(cli, home, spec_file):
    go = threading.Event()

    def wait_then_train(app, job):
        from tests.cli.conftest import train

        assert go.wait(60)
        train(app, job)

    with serving(home, act=wait_then_train):
        submitted = cli("job", "submit", spec_file, "--json")
        go.set()
        watched = cli("job", "watch", submitted.document["job"], "--json")

    assert submitted.document["state"] == "submitted"
    assert set(submitted.document) == SHAPE
    assert watched.document["state"] == "succeeded"


def test_a_dry_run_makes_no_job(cli, home, spec_file):
    with serving(home):
        result = cli("job", "submit", spec_file, "--dry-run", "--json")
        jobs = cli("job", "list", "--json").document["jobs"]

    assert result.document["features"] == [30]
    assert jobs == []


@pytest.mark.parametrize(
    ("limits", "nearest"),
    [({"deadline": "1h"}, r"[\d.]+h"), ({"budget_usd": 0.0001}, r"\$[\d.]+")],
    ids=["deadline", "budget"],
)
@pytest.mark.parametrize("option", ["--dry-run", "--json"])
def test_limits_no_place_meets_are_refused_with_the_nearest_that_can(
    cli, home, tmp_path, limits, nearest, option
):
    path, [name] = tmp_path / "tight.json", limits
    path.write_text(json.dumps(spec_document(rounds=100, limits=limits)))
    with serving(home) as app:
        with_sites(app, compute_s=60.0)
        result = cli("job", "submit", path, option)
        jobs = cli("job", "list", "--json").document["jobs"]

    assert (result.code, jobs) == (2, [])
    assert re.search(
        rf"limits\.{name}: no place can meet it .*; the nearest that can be met is {nearest}",
        " ".join(result.err.split()),
    )


def test_one_key_makes_one_job(home):
    with serving(home), Wire(home) as wire:
        api = Api(wire)
        first, again = api.submit(spec_document(), "key"), api.submit(spec_document(), "key")
        other = api.submit(spec_document(), "another key")
        count = len(api.jobs())

    assert first.id == again.id != other.id
    assert count == 2


def test_jobs_are_listed_over_pages(home, monkeypatch):
    monkeypatch.setattr("fedspan.cli.api.PAGE", 2)
    with serving(home), Wire(home) as wire:
        api = Api(wire)
        made = {api.submit(spec_document(), str(number)).id for number in range(5)}
        listed = [job.id for job in api.every_job()]

    assert listed == sorted(listed, reverse=True)
    assert set(listed) == made


def test_a_job_is_cancelled_and_then_deleted(cli, home, spec_file):
    with serving(home, act=train_until_cancelled):
        id = cli("job", "submit", spec_file, "--json").document["job"]
        early = cli("job", "delete", id, "--json")
        cancelled = cli("job", "cancel", id, "--json")
        watched = cli("job", "watch", id, "--json")
        events = cli("job", "events", id, "--json").document["events"]
        deleted = cli("job", "delete", id, "--json")
        gone = cli("job", "show", id)

    assert (early.code, early.document["error"]["type"]) == (5, "Conflict")
    assert cancelled.document["cancel_requested"] is True
    assert (watched.code, watched.document["state"]) == (1, "cancelled")
    assert "CancelRequested" in {one["code"] for one in events}
    assert deleted.document == {"deleted": id}
    assert gone.code == 5


def wait_for_a_person(app, job):
    from fedspan.services import steps, waits

    steps.check(app, job)
    steps.place(app, job)
    waits.await_approval(app, job, "token")
    while app.jobs.get(job).value.asks_approval:
        enter(app, job, JobState.WAITING_APPROVAL)
        time.sleep(0.02)
    train(app, job)


@pytest.fixture
def asking_file(tmp_path):
    path = tmp_path / "asking.json"
    path.write_text(json.dumps(spec_document(aggregator={"approve": True})))
    return path


def test_a_job_waits_until_it_is_approved(cli, home, asking_file):
    with serving(home, act=wait_for_a_person):
        id = cli("job", "submit", asking_file, "--json").document["job"]
        until(lambda: cli("job", "show", id, "--json").document["state"] == "waiting_approval")
        shown = cli("job", "show", id)
        missing = cli("job", "approve", id, "--candidate", "9", "--json")
        approved = cli("job", "approve", id, "--candidate", "2", "--json")
        again = cli("job", "approve", id, "--candidate", "2")
        other = cli("job", "approve", id, "--json")
        watched = cli("job", "watch", id, "--json")
        after = cli("job", "show", id)

    assert "nowhere-1" in shown.out
    assert f"job {id} waits for approval, until " in shown.out
    assert f"`fedspan job approve {id}` takes the first place" in shown.out
    assert "waits for approval" not in after.out
    assert (missing.code, missing.document["error"]["type"]) == (2, "InvalidRequest")
    assert approved.code == again.code == 0
    assert approved.document["placement"]["chosen"] == 1
    assert approved.document["placement"]["approval"]["by"] == "admin"
    assert f"job {id} is approved: local nowhere-1 (m1, " in again.out
    assert (other.code, other.document["error"]["type"]) == (5, "Conflict")
    assert watched.document["state"] == "succeeded"
    assert watched.document["placement"] == approved.document["placement"]
    assert "Place       local nowhere-1 (m1, " in after.out


def test_whoever_submits_is_told_that_the_job_will_wait(cli, home, asking_file, spec_file):
    with serving(home, act=wait_for_a_person):
        asking, other = cli("job", "submit", asking_file), cli("job", "submit", spec_file)
        [*ids] = [one["id"] for one in cli("job", "list", "--json").document["jobs"]]
    [command] = [line for line in asking.out.splitlines() if "fedspan job approve" in line]

    assert any(f"`fedspan job approve {id}`" in command for id in ids)
    assert "approve" not in other.out


def test_watching_tells_how_to_approve_and_then_goes_on(cli, home, asking_file, spawn):
    with serving(home, act=wait_for_a_person):
        child = spawn("job", "submit", asking_file, "--watch")
        lines = []
        while "waits for approval" not in (lines or [""])[-1]:
            lines.append(child.stdout.readline())
            assert lines[-1], lines
        [id] = [one["id"] for one in cli("job", "list", "--json").document["jobs"]]
        approved = cli("job", "approve", id)
        result = ended(child)

    assert f"`fedspan job approve {id} --home {home.path}`" in lines[-1]
    assert "nowhere-1" in "".join(lines)
    assert approved.code == result.code == 0


def test_a_job_that_waits_is_cancelled(cli, home, asking_file):
    with serving(home, act=wait_for_a_person):
        id = cli("job", "submit", asking_file, "--json").document["job"]
        until(lambda: cli("job", "show", id, "--json").document["state"] == "waiting_approval")
        cli("job", "cancel", id)
        watched = cli("job", "watch", id, "--json")
        late = cli("job", "approve", id, "--json")

    assert (watched.code, watched.document["state"]) == (1, "cancelled")
    assert late.document["error"]["type"] == "Conflict"
    assert "is cancelled; it does not wait" in late.document["error"]["message"]


def test_ids_can_be_copied_from_a_narrow_screen(cli, home, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "long.json"
    path.write_text(json.dumps(spec_document(name="a-name-that-is-as-long-" + "x" * 40)))
    with serving(home):
        report = cli("job", "submit", path, "--watch", "--json").document
        jobs, models = cli("job", "list").out, cli("model", "list").out
        told = cli("job", "events", report["job"], "--json").document["events"]
        events = cli("job", "events", report["job"]).out

    assert f"{report['job']} " in jobs
    assert f"{report['model']['id']} " in models
    assert len(events.splitlines()) == 1 + len(told)


def test_a_list_of_jobs_is_without_their_candidates(cli, home, spec_file):
    with serving(home):
        cli("job", "submit", spec_file, "--watch")
        [job] = cli("job", "list", "--json").document["jobs"]

    assert "placement" not in job


def test_a_question_of_placement_is_answered_as_a_value(home):
    question = {
        "rounds": 2,
        "participants": [{"name": "paris", "latitude": 48.86, "longitude": 2.35}],
        "placement": {"model_bytes": 1_000_000},
    }
    with serving(home), Wire(home) as wire:
        answer = Api(wire).placements(question, 40, "aws:eu-west-1")

    assert len(answer.candidates) >= 40
    assert answer.compared is not None and answer.compared.place == "aws:eu-west-1"


def interrupted(child, home, times):
    """Send Ctrl-C `times` to `child` once its job trains."""
    from fedspan.domain.jobs import JobState

    with Wire(home) as wire:
        api = Api(wire)
        until(lambda: [job for job in api.jobs() if job.state is JobState.TRAINING])
        for _ in range(times):
            child.send_signal(signal.SIGINT)
        result = ended(child)
        [job] = api.jobs()
    return result, job


def test_ctrl_c_while_watching_leaves_the_job_running(cli, home, spec_file, spawn):
    with serving(home, act=train_until_cancelled):
        id = cli("job", "submit", spec_file, "--json").document["job"]
        child = spawn("job", "watch", id)
        assert "JobSubmitted" in child.stdout.readline()
        result, job = interrupted(child, home, 1)
        cli("job", "cancel", id)

    assert result.code == 130
    assert f"job {id} goes on" in result.err
    assert "Traceback" not in result.err
    assert not job.ended


def test_ctrl_c_while_submitting_cancels_the_job(home, spec_file, spawn):
    with serving(home, act=train_until_cancelled):
        child = spawn("job", "submit", spec_file, "--watch", "--json")
        result, job = interrupted(child, home, 1)

    assert result.code == 130
    assert result.document["state"] == "cancelled"
    assert job.state == "cancelled"


def test_a_second_ctrl_c_says_what_is_left_and_how_to_go_on(home, spec_file, spawn):
    training, go = threading.Event(), threading.Event()

    def ignore(app, job):
        begin(app, job)
        training.set()
        assert go.wait(60)

    with serving(home, act=ignore):
        child = spawn("job", "submit", spec_file, "--watch", "--json")
        assert "JobSubmitted" in child.stderr.readline()
        assert training.wait(60)
        child.send_signal(signal.SIGINT)
        while "cancelling job" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGINT)
        result = ended(child)
        go.set()

    assert result.code == 130
    assert result.document["error"]["type"] == "Interrupted"
    assert "its machines may run" in result.err
    assert "fedspan up --home" in result.err


def test_a_reader_that_leaves_while_submitting_cancels_the_job(home, spec_file, spawn):
    with serving(home, act=train_until_cancelled), Wire(home) as wire:
        child = spawn("job", "submit", spec_file, "--watch")
        assert "JobSubmitted" in child.stdout.readline()
        child.stdout.close()
        code = child.wait(60)
        [job] = Api(wire).jobs()

    assert code == 1
    assert job.state == "cancelled"


def test_a_hang_up_twice_over_cancels_the_job_and_waits_for_it(home, spec_file, spawn):
    with serving(home, act=train_until_cancelled), Wire(home) as wire:
        child = spawn("job", "submit", spec_file, "--watch", "--json")
        assert "JobSubmitted" in child.stderr.readline()
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGHUP)
        result = ended(child)
        [job] = Api(wire).jobs()

    assert result.code == 130
    assert result.document["state"] == job.state == "cancelled"


def test_under_nohup_a_job_outlives_the_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Presses() as presses:
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert presses.count == 0


def test_a_fault_of_ours_while_submitting_cancels_the_job(cli, home, spec_file, monkeypatch):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("fedspan.cli.view.Lines.show", broken)
    with serving(home, act=train_until_cancelled):
        result = cli("job", "submit", spec_file, "--watch")
        [job] = cli("job", "list", "--json").document["jobs"]

    assert "unexpected RuntimeError: boom" in result.err
    assert job["state"] == "cancelled"


@pytest.mark.parametrize("command", ["submit", "cancel", "approve"])
def test_what_needs_a_control_plane_says_so_when_there_is_none(cli, home, spec_file, command):
    target = spec_file if command == "submit" else "some-job"

    result = cli("job", command, target, "--json")

    assert result.code == 3
    assert result.document["error"] == {
        "type": "NotRunning",
        "message": f"no control plane runs on {home.path}; start one with `fedspan up`",
        "problems": [f"no control plane runs on {home.path}; start one with `fedspan up`"],
    }


def test_a_control_plane_that_does_not_answer_is_told(home, monkeypatch):
    monkeypatch.setattr("fedspan.cli.api.PAUSES", (0.0,))
    home.prepare()
    from fedspan.local.home import Control

    with home.held(), Wire(home) as wire:
        home.write_control(Control(pid=1, port=1))
        with pytest.raises(NotRunning, match="does not answer"):
            Api(wire).jobs()


@pytest.mark.parametrize("id", ["", "../jobs", "a/b", "%2e", "x" * 500])
def test_an_odd_id_is_not_found(cli, home, id):
    with serving(home):
        result = cli("job", "show", "--json", "--", id)

    assert result.code == 5
    assert result.document["error"]["type"] == "NotFound"


def test_no_token_reaches_any_output(cli, home, spec_file):
    with serving(home):
        cli("job", "submit", spec_file, "--watch")
        id = cli("job", "list", "--json").document["jobs"][0]["id"]
        said = [
            cli("job", "show", id, "--json"),
            cli("job", "events", id, "--json"),
            cli("status", "--json"),
            cli("job", "show", "nope"),
        ]

    assert not any("eyJ" in one.out + one.err for one in said)
    assert all(json.loads(one.out) for one in said[:3])
