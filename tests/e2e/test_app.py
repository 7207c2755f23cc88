"""An unchanged Flower app by the `fedspan` command: real processes, and a kill in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedspan.local.home import Home
from tests.flower.machines import dataset
from tests.support.installation import Installation, until

APP = str(Path(__file__).parents[1] / "flower" / "apps" / "drifting")
SITES = ("seoul", "busan")
ROUNDS = 3


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(Home(tmp_path / "home"))
    yield made
    made.end()


def test_an_app_survives_the_death_of_its_aggregator_with_the_same_bits(
    here: Installation, tmp_path: Path
) -> None:
    here.up()
    for site in SITES:
        offered = f"toy={dataset(tmp_path, site).path}"
        assert here.run("site", "add", site, "--dataset", offered, "--allow-apps").returncode == 0
    jobs = []
    for kill in (False, True):
        submitted = here.ask("job", "submit", "--app", APP, "--set", "learning-rate=0.25")
        jobs.append(str(submitted["job"]))
        if kill:
            until(lambda: here.job(jobs[-1]).rounds_done >= 1, "a round is done")
            here.kill_machine("aggregator")
        until(lambda: here.job(jobs[-1]).ended, "it ended")
    undisturbed, killed = (here.ask("job", "show", job) for job in jobs)

    assert (undisturbed["state"], killed["state"]) == ("succeeded", "succeeded")
    assert killed["model"]["sha256"] == undisturbed["model"]["sha256"]
    assert [one["metrics"] for one in killed["rounds"]] == [
        one["metrics"] for one in undisturbed["rounds"]
    ]
    assert [one["round"] for one in killed["rounds"]] == list(range(1, ROUNDS + 1))
    assert killed["rounds"][-1]["epoch"] == 2
    assert here.machines() == []
