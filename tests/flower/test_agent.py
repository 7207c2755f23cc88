"""The agent's decisions, with an API and processes that are not there."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from flwr.common.config import parse_config_args

from fedspan.domain.reports import AppLink, Desired, Link, SiteManifest, SiteReport
from fedspan.domain.sites import Dataset
from fedspan.flower import agent, replies
from fedspan.flower.agent import Agent, Settings
from fedspan.flower.reporting import Away
from fedspan.flower.warm import Child, Family

DATASET = Dataset(name="toy", path="/etc/shadow.csv", features=(2,), classes=("a", "b"), examples=3)


class Answers:
    """An API: what it was told, and what it answers."""

    def __init__(self, link: Link | None) -> None:
        self.manifest = SiteManifest(desired=Desired.RUN, link=link, heartbeat_seconds=0.01)
        self.told: list[SiteReport] = []
        self.away = False

    def post(self, path: str, report: SiteReport, answer: object) -> SiteManifest:
        self.told.append(report)
        if self.away:
            raise Away("nobody")
        return self.manifest


class Idle:
    """Workers that start nothing."""

    started: list[str]

    def __init__(self, family: Family, *, stock: bool) -> None:
        self.bell = self

    def supernode(self, options: list[str]) -> Child:
        self.started.append("supernode")
        return Child("flower-supernode", 0, 0.0)

    def superexec(self, options: list[str]) -> Child:
        return Child("flower-superexec", 0, 0.0)

    def app_superexec(self, options: list[str], extra: dict[str, str]) -> Child:
        self.started.append(extra["FEDSPAN_DATASET"])
        return Child("flower-superexec", 0, 0.0)

    def close(self) -> None: ...


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started of Flower."""
    Idle.started = []
    monkeypatch.setattr(agent, "Workers", Idle)
    monkeypatch.setattr(Family, "stop", lambda family, *children: None)
    return Idle.started


def link(name: str = "toy") -> Link:
    dataset = DATASET.model_copy(update={"name": name})
    return Link(job="job-1", epoch=1, address="h:1", certificate="pem", dataset=dataset)


def made(work: Path, api: Answers, **datasets: str) -> Any:
    settings = Settings("http://api", "seoul", "m", work, datasets)
    return Agent(settings, Family(work / "logs"), api)  # type: ignore[arg-type]


def test_the_machine_alone_says_which_file_is_opened(tmp_path: Path, started: list[str]) -> None:
    one = made(tmp_path, Answers(link()), toy="/data/toy.csv")
    one.report()
    one._make_it_so()
    written = Link.model_validate_json((tmp_path / "link.json").read_bytes())

    assert started == ["supernode"]
    assert written == link().model_copy(
        update={"dataset": DATASET.model_copy(update={"path": "/data/toy.csv"})}
    )


def test_an_app_runs_only_where_the_machine_itself_allows_it(
    tmp_path: Path, started: list[str]
) -> None:
    app = AppLink(sha256="0" * 64)
    api = Answers(link().model_copy(update={"app": app}))
    willing = Settings("http://api", "seoul", "m", tmp_path, {"toy": "/data/toy.csv"}, True)
    for settings in (dataclasses.replace(willing, allow_apps=False), willing):
        one: Any = Agent(settings, Family(tmp_path / "logs"), api)  # type: ignore[arg-type]
        one.report()
        one._make_it_so()
        one.report()
        one.report()

    assert "brings code of its own, an app, which is not allowed here" in api.told[2].message
    assert not api.told[2].running and api.told[-1].running
    assert started == ["supernode", "/data/toy.csv"]


def test_an_apps_client_is_told_which_part_of_how_many_it_is_and_where_its_data_lies() -> None:
    app = AppLink(sha256="0" * 64, partition=1, partitions=3)
    told = agent._node_config("seoul", "/data/a b.csv", app)

    assert parse_config_args([told]) == {
        "participant": "seoul",
        "partition-id": 1,
        "num-partitions": 3,
        "data-path": "/data/a b.csv",
    }
    assert "data-path" not in agent._node_config("seoul", 'a"b.csv', app)
    assert agent._node_config("seoul", "/data/a.csv", None) == 'participant="seoul"'


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("0", False), ("", False)])
def test_only_the_machines_environment_allows_apps(
    value: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEDSPAN_API", "FEDSPAN_SITE", "FEDSPAN_MACHINE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("FEDSPAN_ALLOW_APPS", value)

    assert Settings.from_env().allow_apps is allowed


def test_an_unchanged_link_keeps_the_supernode(tmp_path: Path, started: list[str]) -> None:
    one = made(tmp_path, Answers(link()), toy="/data/toy.csv")
    for _ in range(3):
        one.report()
        one._make_it_so()

    assert started == ["supernode"]


def test_data_this_machine_has_not_is_told_and_asked_for_again(
    tmp_path: Path, started: list[str]
) -> None:
    api = Answers(link("patients"))
    one = made(tmp_path, api, toy="/data/toy.csv")
    for _ in range(3):
        one.report()
        one._make_it_so()
    told = [report.message for report in api.told]
    nothing = list(started)
    api.manifest = api.manifest.model_copy(update={"link": link()})
    one.report()
    one._make_it_so()
    one.report()

    lacks = "offers no dataset 'patients' here"
    assert told == ["", lacks, lacks] and nothing == []
    assert not (tmp_path / "link.json").read_text().count("patients")
    assert started == ["supernode"] and api.told[-1].message == "" and api.told[-1].running


def test_a_new_key_is_not_used_before_it_is_known(tmp_path: Path, started: list[str]) -> None:
    api = Answers(link())
    one = made(tmp_path, api, toy="/data/toy.csv")
    one.report()
    one._make_it_so()
    one._stop_node(fresh_key=True)
    api.away = True
    one.report()
    one._make_it_so()
    unknown = list(started)
    api.away = False
    one.report()
    one._make_it_so()

    assert unknown == ["supernode"]
    assert started == ["supernode", "supernode"]


def test_what_an_agent_says_commands_no_terminal(tmp_path: Path, started: list[str]) -> None:
    api = Answers(None)
    one = made(tmp_path, api)
    one._say("\x1b[2Jended\r\n\x9bagain")
    one.report()

    assert api.told[-1].message == "[2Jended again"


def test_datasets_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API", "SITE", "MACHINE"):
        monkeypatch.setenv(f"FEDSPAN_{name}", "x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "FEDSPAN_DATASETS", json.dumps({"toy": "toy.csv", "all": "/data/all.npz", "no": ""})
    )
    several = Settings.from_env().datasets
    monkeypatch.delenv("FEDSPAN_DATASETS")

    assert several == {"toy": str(tmp_path / "toy.csv"), "all": "/data/all.npz"}
    assert Settings.from_env().datasets == {}


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"toy": 3}'])
def test_datasets_nobody_can_read_stop_the_agent(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API", "SITE", "MACHINE"):
        monkeypatch.setenv(f"FEDSPAN_{name}", "x")
    monkeypatch.setenv("FEDSPAN_DATASETS", text)

    with pytest.raises(SystemExit, match="FEDSPAN_DATASETS: want a JSON object"):
        Settings.from_env()


def trains(work: Path, number: int = 2, job: str = "job-1") -> None:
    """A ClientApp of this machine is at work."""
    said = {"job": job, "round": number, "pid": os.getpid(), "limit": 3600.0}
    (work / replies.TRAINING).write_text(json.dumps(said))


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was stopped."""
    stopped: list[list[str]] = []
    monkeypatch.setattr(
        Family, "stop", lambda family, *children: stopped.append([one.name for one in children])
    )
    return stopped


def next_link() -> Link:
    return link().model_copy(update={"epoch": 2, "address": "h:2"})


def turn(one: Any) -> None:
    """Once round the agent's loop."""
    one._look_at_training()
    one._look_after_node()
    one._make_it_so()
    one.report()


def linked(work: Path, api: Answers) -> Any:
    one = made(work, api, toy="/data/toy.csv")
    one.report()
    turn(one)
    trains(work)
    return one


@pytest.mark.parametrize("after", [None, next_link()])
def test_what_trains_goes_on_while_the_aggregator_is_away_or_another(
    after: Link | None, tmp_path: Path, started: list[str], alive: list[list[str]]
) -> None:
    api = Answers(link())
    one = linked(tmp_path, api)
    api.manifest = api.manifest.model_copy(update={"link": after, "finish": "job-1"})
    for _ in range(3):
        turn(one)
    key, during = one._key.public, list(alive)
    replies.idle(tmp_path)
    for _ in range(3):
        turn(one)

    assert [one.training and one.training.round for one in api.told] == [
        *(None, None, 2, 2, 2),
        *(None, None, None),
    ]
    assert during == []
    assert alive == [["flower-supernode", "flower-superexec"]]
    assert started == ["supernode"] * (1 if after is None else 2)
    # The next aggregator let that key in when it started.
    assert (one._key.public == key) is (after is not None)


@pytest.mark.parametrize("finish", [None, "job-2"])
def test_what_trains_for_nobody_is_ended(
    finish: str | None, tmp_path: Path, started: list[str], alive: list[list[str]]
) -> None:
    api = Answers(link())
    one = linked(tmp_path, api)
    api.manifest = api.manifest.model_copy(update={"link": None, "finish": finish})
    turn(one)
    turn(one)

    assert alive == [["flower-supernode", "flower-superexec"]]
    assert replies.working(tmp_path) is None
    assert not api.told[-1].running


def test_a_supernode_that_dies_without_an_aggregator_ends_no_training(
    tmp_path: Path, started: list[str], alive: list[list[str]]
) -> None:
    api = Answers(link())
    one = linked(tmp_path, api)
    api.manifest = api.manifest.model_copy(update={"link": None, "finish": "job-1"})
    turn(one)
    one._node.children[0].code = 1
    turn(one)
    during = list(alive)
    one._node.superexec.code = 70
    turn(one)

    assert during == []
    assert alive == [["flower-supernode", "flower-superexec"]]


class Turns:
    """Stops an agent after so many."""

    code = 143

    def __init__(self, most: int) -> None:
        self._left = most

    @property
    def asked(self) -> int:
        self._left -= 1
        return int(self._left < 0)


def test_a_file_that_cannot_be_written_is_told_and_tried_again(
    tmp_path: Path, started: list[str]
) -> None:
    (tmp_path / "ca.pem").mkdir()  # as a full disk, it cannot be written
    api = Answers(link())
    one = made(tmp_path, api, toy="/data/toy.csv")
    one.report()
    one.report()
    one.run(Turns(5), stock=False)
    (tmp_path / "ca.pem").rmdir()
    one._not_before = 0.0
    one.run(Turns(5), stock=False)

    told = [said.message for said in api.told]
    assert started == ["supernode"]
    assert f"cannot work in {tmp_path}: Is a directory" in told
    assert told[-1] == "" and api.told[-1].running
