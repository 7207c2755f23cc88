"""The command in this process, against real HTTP and the real store; jobs act as told."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedspan import wiring
from fedspan.absent import NoClouds, NoKeys
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.cli.logs import logged
from fedspan.cli.main import run
from fedspan.domain.jobs import JobState, Progress
from fedspan.domain.reports import Phase
from fedspan.local.gateway import Gateway
from fedspan.local.home import Control, Home
from fedspan.objects.grants import NoGrants
from fedspan.objects.opening import open_objects
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, keep, steps
from fedspan.services.cancel import cancel
from fedspan.services.changes import enter
from fedspan.services.report_aggregator import report_aggregator
from fedspan.settings import Settings
from fedspan.stores.sqlite import SqliteStore
from tests.support.world import a_round, aggregator_says, spec_document, with_sites

ROOT = Path(__file__).parents[2]

Act = Callable[[App, str], None]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Fails unless stdout is one JSON document and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    path = (tmp_path / "home").resolve()
    monkeypatch.setenv("FEDSPAN_HOME", str(path))
    return Home(path)


@pytest.fixture
def cli(
    home: Home, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run the command in this process."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        code = run([str(one) for one in arguments])
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def spawn(home: Home) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command as a process of its own, as its user would."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "fedspan.cli.main", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def ended(child: subprocess.Popen[str]) -> Result:
    out, err = child.communicate(timeout=120)
    return Result(child.returncode, out, err)


def until(true: Callable[[], object]) -> None:
    """Wait for what must come; the limit only keeps a broken test from hanging."""
    limit = time.monotonic() + 90
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


@dataclass
class Acting:
    """`Executions` that do to each job what the test's `act` says, in a thread."""

    act: Act
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, name: str, payload: dict[str, Any]) -> None:
        thread = threading.Thread(target=self._run, args=(payload["job"],))
        self.threads.append(thread)
        thread.start()

    def _run(self, job: str) -> None:
        app = wiring.app()
        try:
            self.act(app, job)
        except Exception as exc:  # as the state machine does
            ending.give_up(app, job, {"Error": type(exc).__name__, "Cause": str(exc)})
        ending.tear_down(app, job)
        ending.finish(app, job)

    def alive(self, name: str) -> bool:
        return True

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        return True

    def fail(self, token: str, error: str, cause: str) -> bool:
        return True

    def heartbeat(self, token: str) -> bool:
        return True


def begin(app: App, job: str) -> None:
    """Up to training."""
    steps.check(app, job)
    steps.place(app, job)
    steps.launch(app, job)
    steps.link(app, job)
    enter(app, job, JobState.TRAINING)


def train(app: App, job: str, *, right: int = 45) -> None:
    begin(app, job)
    rounds = app.jobs.get(job).value.spec.rounds
    for number in range(1, rounds + 1):
        done = a_round(app, job, number, right=right)
        progress = Progress(round=number, participants=done.participants)
        said = aggregator_says(job, number, Phase.TRAINING, rounds=(done,), progress=progress)
        report_aggregator(app, said)
    keep.select(app, job)
    if app.jobs.get(job).value.outcome is None:
        keep.save(app, job)


def train_badly(app: App, job: str) -> None:
    train(app, job, right=10)


def train_until_cancelled(app: App, job: str) -> None:
    begin(app, job)
    while True:
        enter(app, job, JobState.TRAINING)
        time.sleep(0.02)


@contextlib.contextmanager
def serving(home: Home, act: Act = train) -> Iterator[App]:
    """A control plane that holds `home`: real HTTP, tokens and store, machines in memory."""
    from fedspan.local import functions

    home.prepare()
    with home.held(), logged(home.path / "fedspan.log"):
        gateway, executions = Gateway(functions.chalice_app(), 0), Acting(act)
        app = App(
            settings=Settings(objects_url=home.objects_url),
            store=SqliteStore(home.database),
            objects=open_objects(home.objects_url),
            grants=NoGrants(),
            providers={"local": MemoryProvider(wiring.now, name="local")},
            clouds=NoClouds(),
            keys=NoKeys(),
            executions=executions,
            tokens=Tokens(home.signing_key()),
            now=wiring.now,
            new_id=wiring.new_id,
            post=wiring.post,
        )
        home.write_control(Control(pid=os.getpid(), port=gateway.port))
        wiring.install(app)
        gateway.start()
        with_sites(app)
        try:
            yield app
        finally:
            for id, job in app.jobs.all():
                if not job.ended:
                    cancel(app, id)  # a test that failed half-way leaves nobody waiting
            for thread in executions.threads:
                thread.join()
            gateway.stop()
            wiring.uninstall()
            app.store.close()


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(spec_document()))
    return path
