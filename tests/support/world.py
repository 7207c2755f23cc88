"""A whole Fedspan on memory parts and a clock that tests turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedspan.absent import NoClouds, NoKeys
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.domain.parsing import parsed
from fedspan.domain.reports import AggregatorReport, Phase, SiteReport
from fedspan.domain.rounds import Checkpoint, Metrics, Participation, Round, Status
from fedspan.domain.sites import Dataset, Site
from fedspan.domain.spec import JobSpec
from fedspan.errors import Denied, FedspanError
from fedspan.objects.folder import FolderObjects
from fedspan.objects.grants import NoGrants
from fedspan.providers.memory import MemoryProvider
from fedspan.services import steps, waits
from fedspan.services.recover import recover
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.sites import register_site
from fedspan.services.submit import submit
from fedspan.settings import Settings
from fedspan.stores.memory import MemoryStore

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KEY = b"a key of thirty-two bytes, or so"
CLASSES = ("benign", "malignant")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def tick(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class StillExecutions:
    """State machines that never move: what was asked of them is there to look at."""

    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    refuse: FedspanError | None = None
    unknown: set[str] = field(default_factory=set)
    """Of these nobody may know whether they run."""

    def start(self, name: str, payload: dict[str, Any]) -> None:
        if self.refuse is not None:
            refused, self.refuse = self.refuse, None
            raise refused
        self.started.setdefault(name, payload)

    def alive(self, name: str) -> bool:
        if name in self.unknown:
            raise Denied(f"not to be asked about {name}")
        return name in self.started

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        self.told.append((token, "succeeded"))
        return True

    def fail(self, token: str, error: str, cause: str) -> bool:
        self.told.append((token, error))
        return True

    def heartbeat(self, token: str) -> bool:
        self.told.append((token, "alive"))
        return True


@dataclass
class World:
    """`app` and the parts behind it, each as its own type."""

    app: App
    clock: Clock
    cloud: MemoryProvider
    store: MemoryStore
    posted: list[tuple[str, dict[str, Any]]]


def world(folder: Path, **parts: Any) -> World:
    clock, posted = Clock(), []
    ids = itertools.count(1)
    store, cloud = MemoryStore(), MemoryProvider(clock, name="local")
    app = App(
        **{
            "settings": Settings(heartbeat_seconds=1, lost_seconds=15, boot_seconds=60),
            "store": store,
            "objects": FolderObjects(folder),
            "grants": NoGrants(),
            "providers": {"local": cloud},
            "clouds": NoClouds(),
            "keys": NoKeys(),
            "executions": StillExecutions(),
            "tokens": Tokens(KEY),
            "now": clock,
            "new_id": lambda: f"20261120-090000-{next(ids):06x}",
            "post": lambda url, document: posted.append((url, document)),
            **parts,
        }
    )
    return World(app, clock, cloud, store, posted)


def dataset(**changes: Any) -> Dataset:
    given = {
        "name": "breast-cancer",
        "path": "/data/breast-cancer.csv",
        "target": "diagnosis",
        "features": (30,),
        "classes": CLASSES,
        "examples": 100,
    }
    return Dataset(**{**given, **changes})


def with_sites(app: App, *names: str, **more: Any) -> None:
    for name in names or ("seoul", "busan", "daejeon"):
        register_site(app, Site(name=name, datasets=(dataset(),), **more))


def spec_document(**changes: Any) -> dict[str, Any]:
    document = {
        "name": "breast-cancer",
        "rounds": 2,
        "seed": 7,
        "participants": ["seoul", "busan", "daejeon"],
        "model": {"layers": [{"linear": 8}, {"relu": {}}, {"linear": 2}]},
        "data": {"dataset": "breast-cancer", "target": "diagnosis"},
        "selection": {"metric": "f1", "at_least": 0.5},
    }
    return {**document, **changes}


def spec(**changes: Any) -> JobSpec:
    return parsed(JobSpec, spec_document(**changes))


def a_round(app: App, job: str, number: int, *, epoch: int = 1, right: int = 45) -> Round:
    """A complete round with its checkpoint; `right` of 50 cases of each class were seen right."""
    key = f"jobs/{job}/rounds/{number:06d}.safetensors"
    app.objects.put(key, f"weights {number}".encode())
    wrong = 50 - right
    done = Participation(status=Status.DONE, examples=80, seconds=0.5, loss=0.1)
    return Round(
        job=job,
        number=number,
        epoch=epoch,
        seconds=1.0,
        metrics=Metrics.of([[right, wrong], [wrong, right]], 10.0, CLASSES),
        participants=dict.fromkeys(("seoul", "busan", "daejeon"), done),
        parameters=266,
        checkpoint=Checkpoint(key=key, sha256=f"{number:064x}", bytes=9),
    )


def aggregator_says(job: str, seq: int, phase: Phase, **more: Any) -> AggregatorReport:
    return AggregatorReport(
        **{
            "job": job,
            "epoch": 1,
            "seq": seq,
            "phase": phase,
            "address": "127.0.0.1:9",
            "certificate": "CA",
            **more,
        }
    )


def site_says(job: str, site: str, seq: int, **more: Any) -> SiteReport:
    machine = f"{job}-client-{site}"
    return SiteReport(**{"site": site, "machine": machine, "seq": seq, "public_key": "K", **more})


def launched(here: World, **changes: Any) -> str:
    """A job whose machines boot."""
    job = submit(here.app, spec(**changes)).id
    steps.check(here.app, job)
    steps.place(here.app, job)
    steps.launch(here.app, job)
    return job


def training(here: World, **changes: Any) -> str:
    """A job whose aggregator speaks, and is waited for."""
    job = launched(here, **changes)
    report_aggregator(here.app, aggregator_says(job, 1, Phase.READY))
    steps.link(here.app, job)
    waits.await_trained(here.app, job, "token")
    return job


def lose(app: App, job: str, code: str = "AggregatorLost") -> dict[str, object]:
    """The state machine caught `code` while the job's present aggregator was waited for."""
    return recover(app, job, app.jobs.get(job).value.epoch, {"Error": code, "Cause": ""})


@contextmanager
def serving(app: App) -> Iterator[App]:
    """Handlers in this process serve `app`."""
    from fedspan import wiring

    wiring.install(app)
    try:
        yield app
    finally:
        wiring.uninstall()
