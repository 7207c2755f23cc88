"""The benchmarks as commands: one document, and an end even when something else has none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fedspan.domain.jobs import JobState, Outcome
from fedspan.services.submit import submit
from tests.cli.conftest import ROOT
from tests.support.world import spec, with_sites, world


def ran(name, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_aggregation_measures_replies_in_order_and_in_reverse_and_all_means_agree():
    document = json.loads(
        ran("aggregation", "--participants", "3", "--megabytes", "1", "--json").stdout
    )
    names = [row["name"] for row in document["results"]]

    assert names == ["flower", "fedspan", "fedspan-reverse"]
    assert document["results"][1]["check"] == document["results"][2]["check"]


@pytest.mark.parametrize("name", ["rounds", "wan"])
@pytest.mark.parametrize("rounds", ["1", "0", "-3", "many"])
def test_fewer_than_two_rounds_are_refused(name, rounds):
    done = ran(name, "--rounds", rounds)

    assert done.returncode == 2
    assert "argument --rounds" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.filterwarnings("ignore:.verify=<str>. is deprecated")  # Flower's, in its own client
def test_a_superlink_that_dies_ends_the_benchmark(tmp_path, monkeypatch):
    from benchmarks import stock

    broken = tmp_path / "flower-superlink"
    broken.write_text("#!/bin/sh\necho it cannot start\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # commands stand beside it
    with (
        pytest.raises(SystemExit, match=r"flower-superlink ended with 7(.|\n)*it cannot start"),
        stock.stock_flower(tmp_path / "stock", ("seoul",), ()) as flower,
    ):
        flower.start()


def test_a_job_that_ends_too_early_is_told(tmp_path):
    from benchmarks.rounds import reached

    here = world(tmp_path)
    with_sites(here.app)
    outcome = Outcome(state=JobState.FAILED, code="ParticipantsMissing", message="busan")
    job = submit(here.app, spec()).model_copy(update={"state": outcome.state, "outcome": outcome})

    class Ended:
        def job(self, id):
            return job

    with pytest.raises(SystemExit, match=r"before round 1: .*ParticipantsMissing"):
        reached(Ended(), job.id, 1, 5)
