"""A home without a control plane can still be read and tidied."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import serving


@pytest.fixture
def id(cli, home, spec_file):
    """Of a job that ended while a control plane ran, which it does no more."""
    with serving(home):
        return cli("job", "submit", spec_file, "--watch", "--json").document["job"]


@pytest.mark.parametrize("command", ["job list", "model list", "site list"])
def test_a_new_home_is_empty(cli, command):
    result = cli(*command.split(), "--json")

    assert result.code == 0
    assert result.document == {f"{command.split()[0]}s": []}


def test_the_past_is_read_as_it_was(cli, home, id):
    asked = [f"{one} {id}" for one in ("job show", "job events", "job bill", "model show")]
    asked.append("job list")
    with serving(home):
        before = [cli(*one.split(), "--json").document for one in asked]
    after = [cli(*one.split(), "--json").document for one in asked]

    assert before == after


def test_watching_a_job_that_ended_needs_no_control_plane(cli, id):
    result = cli("job", "watch", id, "--json")

    assert result.code == 0
    assert result.document["state"] == "succeeded"


def test_watching_one_that_has_not_needs_one(cli, home, spec_file):
    from fedspan.local.offline import offline
    from fedspan.services.submit import submit
    from fedspan.wiring import app
    from tests.support.world import StillExecutions, spec, with_sites

    with offline(home):
        from dataclasses import replace

        with_sites(app())
        id = submit(replace(app(), executions=StillExecutions()), spec()).id

    result = cli("job", "watch", id)

    assert result.code == 3
    assert "fedspan up" in result.err


def test_a_dry_run_needs_no_control_plane(cli, id, spec_file):
    result = cli("job", "submit", spec_file, "--dry-run", "--json")

    assert result.document["valid"] is True


def test_jobs_and_models_are_deleted(cli, id):
    model = cli("model", "delete", id, "--json")
    without = cli("job", "show", id, "--json")
    job = cli("job", "delete", id, "--json")

    assert model.document == job.document == {"deleted": id}
    assert without.document["model"] is None
    assert cli("job", "list", "--json").document == {"jobs": []}


def test_status_tells_that_none_runs(cli, home, id):
    result = cli("status", "--json")

    assert result.code == 3
    assert result.document["running"] is False
    assert result.document["pid"] is None
    assert result.document["jobs"] == {"running": [], "ended": 1}
    assert result.document["sites"] == 3
    assert result.document["disk"]["used_bytes"] > 0


def test_reading_keeps_no_control_plane_from_starting(cli, home, id):
    from fedspan.local.offline import offline

    with offline(home), serving(home):
        result = cli("status", "--json")

    assert result.code == 0
    assert result.document["running"] is True


def test_reading_imports_neither_torch_nor_flower(home, id):
    program = (
        "import sys; from fedspan.cli.main import run; run(['job', 'list']); "
        "print([one for one in ('torch', 'flwr') if one in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert out.splitlines()[-1] == "[]"
