"""The benchmarks as commands: one document, and an end even when something else has none."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

from benchmarks import skypilot
from fedspan.domain.jobs import JobState, Outcome
from fedspan.placement.candidates import candidates
from fedspan.placement.front import TIE
from fedspan.services.books import shipped
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


QUICK = ("--federations", "3", "--sizes", "3", "--no-loops", "--json")


def command(path, *lines):
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


def test_our_placement_regrets_nothing_and_no_rule_beats_it_beyond_a_tie():
    document = json.loads(ran("placement", *QUICK).stdout)
    ours, *others = document["rules"]

    assert [row["participants"] for row in document["decisions"]] == [3]
    assert (ours["rule"], ours["federations"], ours["skipped"]) == ("ours", 3, 0)
    assert ours["regret"] == 0
    assert [row["rule"] for row in others] == [
        "cheapest per hour",
        "cheapest per hour on demand",
        "nearest",
        "cheapest egress",
        "random",
    ]
    assert all(row["regret"] >= -2 * TIE for row in others)  # scores reach 1, and so their ideal
    assert max(row["regret"] for row in others) > 2 * TIE


def test_skypilots_picks_are_rules_and_skipped_where_they_do_not_fit(tmp_path):
    fits, too_small = "aws:us-east-1 t4g.medium on demand", "gcp:us-central1 n2-highcpu-2 spot"
    answers = [{"cpu_ms": 1.5, "candidates": 2, "pick": pick} for pick in (fits, too_small)]
    answer = json.dumps({"version": "0", "answers": answers})
    python = command(tmp_path / "python", "echo starting", f"echo '{answer}'")

    document = json.loads(ran("placement", *QUICK, "--skypilot", python).stdout)
    on_demand, spot = document["rules"][-2:]

    assert document["skypilot"] == json.loads(answer)
    assert on_demand["rule"] == "SkyPilot's pick, on demand"
    assert (on_demand["federations"], on_demand["skipped"]) == (3, 0)
    assert on_demand["regret"] >= -2 * TIE
    assert spot == {"rule": "SkyPilot's pick, spot", "federations": 0, "skipped": 3}


def test_skypilot_reads_the_prices_of_the_book(tmp_path):
    book = shipped()
    skypilot.write_catalogue(book, tmp_path)
    rows = {}
    for provider in ("aws", "gcp", "azure"):
        with (tmp_path / provider / "vms.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rows[f"{provider}:{row['Region']} {row['InstanceType']}"] = row

    for pick, column in ((" on demand", "Price"), (" spot", "SpotPrice")):
        table = candidates(book)
        found = table.price[skypilot.row_of(book, "aws:us-east-1 t4g.medium" + pick)]
        assert float(rows["aws:us-east-1 t4g.medium"][column]) * 1e6 == pytest.approx(found)
    assert sum((r["Price"] != "") + (r["SpotPrice"] != "") for r in rows.values()) == len(
        book.prices
    )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            (f'exec "{sys.executable}" -S "$@"',),
            "this Python has no SkyPilot: No module named 'sky'",
        ),
        (("true",), "no answer; is it a Python?"),
        (("echo it cannot start >&2", "exit 7"), "it cannot start"),
    ],
)
def test_a_python_without_skypilot_is_told(tmp_path, lines, told):
    python = command(tmp_path / "python", *lines)

    done = ran("placement", *QUICK, "--skypilot", python)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"--skypilot {python}: {told}\n"


def test_a_python_that_is_not_there_is_told(tmp_path):
    done = ran("placement", *QUICK, "--skypilot", str(tmp_path / "python"))

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No such file" in done.stderr
