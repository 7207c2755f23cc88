"""``fedspan demo``: nothing is simulated here."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from fedspan.cli.left_over import left_over
from tests.cli.conftest import ended


@pytest.fixture
def demo(spawn, home):
    """The demo under way, as a process of its own."""
    return spawn("demo", "--rounds", "2", "--json")


def test_the_demo_trains_keeps_a_model_that_can_be_exported_and_leaves_nothing(
    demo, cli, home, tmp_path
):
    result = ended(demo)
    report = result.document
    weights = Path(report["model"]["uri"].removeprefix("file://"))
    exported = cli("model", "export", report["job"], "--to", tmp_path / "m.safetensors", "--json")
    again = cli("job", "show", report["job"], "--json").document

    assert result.code == 0, result.err
    assert report["state"] == "succeeded"
    assert [one["round"] for one in report["rounds"]] == [1, 2]
    assert set(report["rounds"][1]["participants"]) == {"seoul", "busan", "daejeon"}
    assert report["left_over"] == {"processes": 0, "directories": 0}
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == report["model"]["sha256"]
    assert exported.document["sha256"] == report["model"]["sha256"]
    assert again == report
    assert home.running() is None


def test_ctrl_c_cancels_the_demo_and_takes_its_machines_down(demo, home):
    lines = iter(demo.stderr.readline, "")
    assert any("AggregatorReady" in line for line in lines)
    demo.send_signal(signal.SIGINT)
    result = ended(demo)

    assert result.code == 130
    assert result.document["state"] == "cancelled"
    assert left_over(home, result.document["job"]).nothing
    assert home.running() is None
