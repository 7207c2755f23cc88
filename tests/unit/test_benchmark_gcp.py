"""The benchmark of clients for Compute Engine as a command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT

COMMAND = [sys.executable, str(ROOT / "benchmarks" / "gcp_clients.py")]


def test_it_measures_both_clients_against_a_server_that_answers() -> None:
    command = [*COMMAND, "--repeats", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = json.loads(done.stdout)["results"]

    assert [row["way"] for row in rows] == ["none", "rest", "library"]
    for row in rows[1:]:
        assert row["peak_mb"] > rows[0]["peak_mb"]
        assert row["disk_mb"] > 0


@pytest.mark.parametrize("repeats", ["0", "-1", "many"])
def test_no_runs_at_all_are_refused(repeats: str) -> None:
    done = subprocess.run([*COMMAND, "--repeats", repeats], capture_output=True, text=True)

    assert done.returncode == 2
    assert "argument --repeats" in done.stderr
