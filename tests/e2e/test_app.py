"""An unchanged Flower app by the `fedspan` command: real processes, which are killed or given
notice in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.rounds import Status
from fedspan.local.home import Home
from tests.flower.app_jobs import DRIFTING, NOTICE
from tests.flower.machines import dataset
from tests.support.installation import Installation, until

SITES = ("seoul", "busan")
ROUNDS = 3


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(Home(tmp_path / "home"))
    yield made
    made.end()


@dataclass(frozen=True, slots=True)
class Told:
    """A copy of the app whose clients tell what they train, and of whom busan waits in round 3
    while there is `hold`."""

    folder: Path

    @property
    def app(self) -> str:
        return str(self.folder / "app")

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    def write(self) -> None:
        shutil.copytree(DRIFTING, self.app)
        client = Path(self.app, "drifting", "client_app.py")
        train = "    weights, bias = _model(message)\n    x, y = _rows(context)\n    rate"
        text = client.read_text()
        assert text.count(train) == 1
        code = f"""
    import time
    who = context.node_config["participant"], message.content["config"]["server-round"]
    with open({str(self.folder / "trained")!r}, "a") as file:
        print(*who, file=file)
    while who == ("busan", 3) and Path({str(self.hold)!r}).exists():
        time.sleep(0.1)
"""
        client.write_text(text.replace(train, code + train))

    def trained(self) -> list[str]:
        return (self.folder / "trained").read_text().splitlines()


def _noticed(here: Installation, told: Told, job: str) -> None:
    """In round 3, when seoul has replied and busan has not."""

    def halfway() -> bool:
        progress = here.job(job).progress
        seoul = progress.participants.get("seoul")
        return progress.round == 3 and seoul is not None and seoul.status is Status.DONE

    until(halfway, "one of two has trained")
    [work] = here.home.machines.glob("*aggregator*/work")
    (work / "notice.json").write_text(NOTICE.model_dump_json())
    until(lambda: here.job(job).epoch == 3, "the next one is launched")
    told.hold.unlink()


def test_an_app_survives_the_loss_of_its_aggregator_with_the_same_bits(
    here: Installation, tmp_path: Path
) -> None:
    told = Told(tmp_path)
    told.write()
    here.up()
    for site in SITES:
        offered = f"toy={dataset(tmp_path, site).path}"
        assert here.run("site", "add", site, "--dataset", offered, "--allow-apps").returncode == 0
    undisturbed, lost = (_ended(here, told, hurt) for hurt in (False, True))

    assert (undisturbed["state"], lost["state"]) == ("succeeded", "succeeded")
    assert lost["model"]["sha256"] == undisturbed["model"]["sha256"]
    assert [one["metrics"] for one in lost["rounds"]] == [
        one["metrics"] for one in undisturbed["rounds"]
    ]
    assert [one["round"] for one in lost["rounds"]] == list(range(1, ROUNDS + 1))
    assert lost["rounds"][-1]["epoch"] == 3
    assert told.trained().count("seoul 3") == 2  # once in each job
    assert here.machines() == []


def _ended(here: Installation, told: Told, hurt: bool) -> dict[str, Any]:
    """A job, shown; its aggregator is killed after a round and taken back in a later one."""
    if hurt:
        told.hold.touch()
    job = str(here.ask("job", "submit", "--app", told.app, "--set", "learning-rate=0.25")["job"])
    if hurt:
        until(lambda: here.job(job).rounds_done >= 1, "a round is done")
        here.kill_machine("aggregator")
        _noticed(here, told, job)
    until(lambda: here.job(job).ended, "it ended")
    return dict(here.ask("job", "show", job))
