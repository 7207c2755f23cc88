"""An unchanged Flower app by the `fedspan` command: real processes, which are killed or given
notice in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """A copy of the app whose clients tell what they train, and of whom busan waits in round 2
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
    while who == ("busan", 2) and Path({str(self.hold)!r}).exists():
        time.sleep(0.1)
"""
        client.write_text(text.replace(train, code + train))

    def trained(self) -> list[str]:
        return (self.folder / "trained").read_text().splitlines()


def _noticed(here: Installation, told: Told, job: str) -> None:
    """In round 2, when seoul has replied and busan has not."""

    def halfway() -> bool:
        progress = here.job(job).progress
        seoul = progress.participants.get("seoul")
        return progress.round == 2 and seoul is not None and seoul.status is Status.DONE

    until(halfway, "one of two has trained")
    [work] = here.home.machines.glob("*aggregator*/work")
    (work / "notice.json").write_text(NOTICE.model_dump_json())
    until(lambda: here.job(job).epoch == 2, "the next one is launched")
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
    jobs, trained = [], []
    for loss in ("none", "kill", "notice"):
        before = len(told.trained()) if jobs else 0
        if loss == "notice":
            told.hold.touch()
        submitted = here.ask("job", "submit", "--app", told.app, "--set", "learning-rate=0.25")
        jobs.append(str(submitted["job"]))
        if loss == "kill":
            until(lambda: here.job(jobs[-1]).rounds_done >= 1, "a round is done")
            here.kill_machine("aggregator")
        elif loss == "notice":
            _noticed(here, told, jobs[-1])
        until(lambda: here.job(jobs[-1]).ended, "it ended")
        trained.append(told.trained()[before:])
    undisturbed, *lost = (here.ask("job", "show", job) for job in jobs)

    assert undisturbed["state"] == "succeeded"
    for one in lost:
        assert one["state"] == "succeeded"
        assert one["model"]["sha256"] == undisturbed["model"]["sha256"]
        assert [part["metrics"] for part in one["rounds"]] == [
            part["metrics"] for part in undisturbed["rounds"]
        ]
        assert [part["round"] for part in one["rounds"]] == list(range(1, ROUNDS + 1))
        assert one["rounds"][-1]["epoch"] == 2
    assert trained[-1].count("seoul 2") == 1
    assert here.machines() == []
