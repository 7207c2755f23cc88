"""``fedspan up``, ``down`` and ``status``, as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from dataclasses import replace

import pytest

from fedspan.local.home import Control
from fedspan.local.offline import offline
from fedspan.services.submit import submit
from fedspan.wiring import app
from tests.cli.conftest import begin, ended, serving, train_until_cancelled, until
from tests.support.world import StillExecutions, spec, with_sites


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def up(cli, home, port, spawn):
    """A control plane in the background, ended with the test."""

    def start():
        return ended(spawn("up", "--detach", "--json", "--port", str(port)))

    yield start
    control = home.running()
    if control is not None:
        os.kill(control.pid, signal.SIGKILL)


def first_document(stream):
    lines = iter(stream.readline, "")
    text = ""
    for line in lines:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise AssertionError(text)


def test_up_says_where_it_listens_and_ends_at_sigterm(spawn, home, port):
    child = spawn("up", "--port", str(port), "--json")
    started = first_document(child.stdout)
    child.send_signal(signal.SIGTERM)
    result = ended(child)

    assert started["url"] == f"http://127.0.0.1:{port}"
    assert started["pid"] == child.pid
    assert started["jobs"] == {"unfinished": [], "ended": 0}
    assert (result.code, result.out) == (0, "")
    assert home.running() is None


def test_up_ends_cleanly_at_ctrl_c(spawn, port):
    child = spawn("up", "--port", str(port))
    assert str(port) in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    result = ended(child)

    assert result.code == 0
    assert "Traceback" not in result.err


def test_it_runs_in_the_background_until_down(cli, home, up, port):
    started = up()
    status = cli("status", "--json")
    down = cli("down", "--json")

    assert started.code == status.code == down.code == 0
    assert status.document["running"] is True
    assert status.document["url"] == started.document["url"] == f"http://127.0.0.1:{port}"
    assert down.document == {"stopped": started.document["pid"], "cancelled": []}
    assert home.running() is None


def test_two_on_one_home_are_one_too_many(cli, up):
    first = up()
    again, detached = cli("up", "--json"), up()

    assert again.code == detached.code == 3
    assert again.document["error"]["type"] == detached.document["error"]["type"] == "AlreadyRunning"
    assert str(first.document["pid"]) in again.err


def test_a_port_in_use_is_told(cli, up, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        here, detached = cli("up", "--port", str(port), "--json"), up()

    assert here.code == detached.code == 3
    assert here.document["error"]["type"] == detached.document["error"]["type"] == "PortInUse"
    assert str(port) in detached.err


def test_down_and_status_exit_with_3_when_none_runs(cli):
    assert cli("down", "--json").document["error"]["type"] == "NotRunning"
    assert cli("down").code == cli("status").code == 3


def test_after_sigkill_it_starts_again_lists_the_past_and_carries_jobs_on(cli, home, up):
    first = up().document
    with_job = unfinished(home)
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: home.running() is None)
    past = cli("job", "list", "--json").document["jobs"]
    again = up()
    watched = cli("job", "watch", with_job, "--json")

    assert [one["id"] for one in past] == [with_job]
    assert again.code == 0
    assert again.document["pid"] != first["pid"]
    assert again.document["jobs"] == {"unfinished": [with_job], "ended": 0}
    assert watched.document["outcome"]["code"] == "InvalidRequest"
    assert watched.code == 1


def unfinished(home):
    """A job that was accepted, and whose site was forgotten before it began: its end is sure."""
    from fedspan.services.sites import delete_site

    with offline(home):
        with_sites(app())
        job = submit(replace(app(), executions=StillExecutions()), spec())
        for name in job.spec.participants:
            delete_site(app(), name)
    return job.id


def test_down_refuses_while_jobs_run(cli, home, spec_file):
    with serving(home, act=train_until_cancelled):
        id = cli("job", "submit", spec_file, "--json").document["job"]
        result = cli("down", "--json")
        cli("job", "cancel", id)

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
    assert id in result.err


def test_down_by_force_does_not_wait_for_ever(cli, home, spec_file, monkeypatch):
    monkeypatch.setattr("fedspan.cli.plane.ENDING_SECONDS", 0.3)
    begun, go = threading.Event(), threading.Event()

    def ignore(app, job):
        begin(app, job)
        begun.set()
        assert go.wait(60)

    with serving(home, act=ignore):
        id = cli("job", "submit", spec_file, "--json").document["job"]
        assert begun.wait(60)
        result = cli("down", "--force", "--json")
        go.set()

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
    assert f"still ending after 0.3 s: {id}" in result.err


def test_down_signals_no_process_that_does_not_hold_the_home(cli, home, spawn, port):
    other = spawn("up", "--home", str(home.path.parent / "other"), "--port", str(port), "--json")
    first_document(other.stdout)
    with serving(home):
        control = home.control()
        home.write_control(Control(pid=other.pid, port=control.port))
        result = cli("down")

    assert result.code == 3
    assert "does not hold" in result.err
    assert other.poll() is None


def test_machines_that_outlived_the_last_one_find_it_at_its_port(home):
    from fedspan.cli.plane import wanted_port

    home.prepare()
    before = wanted_port(home, None)
    (home.machines / "job-aggregator-1").mkdir()

    assert before == 8470
    assert wanted_port(home, None) == 0
    assert wanted_port(home, 9000) == 9000
