"""The real thing: the `fedspan` command, real processes, real training, real kills."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedspan.local.home import Home
from fedspan.local.hospitals import demo_spec, write_hospitals
from fedspan.providers.local import MARK

FEDSPAN = str(Path(sys.executable).with_name("fedspan"))
PATIENCE = 420.0
"""A participant that is killed in the middle of an upload is waited for by Flower for 180 s."""
ROUNDS = 4


@dataclass
class Installation:
    """A home of its own, and the commands run on it."""

    home: Home
    port: int = field(default_factory=lambda: free_port())
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [FEDSPAN, "--home", str(self.home.path), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(made)
        return made

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        made = self.start(*words)
        out, err = made.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(made.args, made.returncode, out, err)

    def ask(self, *words: str) -> Any:
        """The JSON document a command prints."""
        ran = self.run(*words, "--json")
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)

    def up(self) -> subprocess.Popen[str]:
        made = self.start("up", "--port", str(self.port))
        until(lambda: self.home.running() is not None, "the control plane is up", made)
        return made

    def submit_demo(self, rounds: int, **changes: Any) -> str:
        for site in write_hospitals(self.home.sites):
            [dataset] = site.datasets
            offered = f"{dataset.name}={dataset.path}:{dataset.target}"
            assert self.run("site", "add", site.name, "--dataset", offered).returncode == 0
        file = self.home.path / "spec.json"
        file.write_text(json.dumps({**demo_spec(rounds, 7), **changes}))
        return str(self.ask("job", "submit", str(file))["job"])

    def machines(self) -> list[tuple[psutil.Process, str]]:
        """Every living process of a machine of this home, and the machine's name."""
        found = []
        for process in psutil.process_iter():
            try:
                folder = process.environ().get(MARK, "")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if folder.startswith(str(self.home.machines)):
                found.append((process, Path(folder).name))
        return found

    def kill_machine(self, role: str) -> None:
        """SIGKILL to every process of the machine whose name has `role` in it."""
        for process, machine in self.machines():
            if role in machine:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(
    condition: Callable[[], Any], what: str, process: subprocess.Popen[str] | None = None
) -> None:
    """Wait for `condition`; a hang is a failure with a name."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended while waiting until {what}: {process.communicate()}")
        time.sleep(0.1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(Home(tmp_path / "home"))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    made.kill_machine("")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demo's job gives when nothing disturbs it."""
    made = Installation(Home(tmp_path_factory.mktemp("reference") / "home"))
    return dict(made.ask("demo", "--rounds", str(ROUNDS), "--seed", "7"))


def show(here: Installation, job: str) -> dict[str, Any]:
    return dict(here.ask("job", "show", job))


def rounds_done(here: Installation, job: str) -> int:
    return len(show(here, job)["rounds"])


def test_the_demo_trains_a_good_model_and_leaves_nothing(here: Installation) -> None:
    ran = here.run("demo", "--rounds", "10", "--json")
    shown = json.loads(ran.stdout)

    assert ran.returncode == 0, ran.stderr
    assert shown["state"] == "succeeded"
    assert [one["round"] for one in shown["rounds"]] == list(range(1, 11))
    assert shown["selected"]["value"] >= 0.93
    for one in shown["rounds"]:
        assert set(one["metrics"]) >= {"loss", "accuracy", "precision", "recall", "f1"}
        assert {p["status"] for p in one["participants"].values()} == {"done"}
    weights = Path(shown["model"]["uri"].removeprefix("file://"))
    assert weights.stat().st_size > 0
    assert shown["left_over"] == {"processes": 0, "directories": 0}
    assert here.machines() == []


def test_the_same_seed_gives_the_same_model(here: Installation, reference: dict[str, Any]) -> None:
    again = here.ask("demo", "--rounds", str(ROUNDS), "--seed", "7")

    assert again["model"]["sha256"] == reference["model"]["sha256"]
    assert [one["metrics"] for one in again["rounds"]] == [
        one["metrics"] for one in reference["rounds"]
    ]


def test_interrupting_the_demo_cancels_its_job_and_leaves_nothing(here: Installation) -> None:
    demo = here.start("demo", "--rounds", "500")
    until(lambda: here.home.running() is not None, "the control plane is up", demo)
    until(lambda: len(here.machines()) >= 8, "its machines run", demo)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=PATIENCE)

    assert demo.returncode == 130
    assert here.machines() == []
    [job] = here.ask("job", "list")["jobs"]
    assert job["state"] == "cancelled"


def test_a_job_survives_the_death_of_its_control_plane(
    here: Installation, reference: dict[str, Any]
) -> None:
    plane = here.up()
    job = here.submit_demo(ROUNDS)
    until(lambda: rounds_done(here, job) >= 1, "the first round is done")
    plane.kill()
    plane.communicate()
    assert [j["id"] for j in here.ask("job", "list")["jobs"]] == [job]
    here.up()
    until(lambda: show(here, job)["state"] == "succeeded", "the job is done")

    assert show(here, job)["model"]["sha256"] == reference["model"]["sha256"]
    assert {one["epoch"] for one in show(here, job)["rounds"]} == {1}
    assert here.machines() == []


def test_a_job_survives_the_death_of_its_aggregator_with_the_same_bits(
    here: Installation, reference: dict[str, Any]
) -> None:
    here.up()
    job = here.submit_demo(ROUNDS)
    until(lambda: rounds_done(here, job) >= 2, "two rounds are done")
    here.kill_machine("aggregator")
    until(lambda: show(here, job)["state"] == "succeeded", "the job is done")

    shown = show(here, job)
    assert shown["model"]["sha256"] == reference["model"]["sha256"]
    assert [one["round"] for one in shown["rounds"]] == list(range(1, ROUNDS + 1))
    assert shown["rounds"][-1]["epoch"] == 2
    assert here.machines() == []


def test_a_killed_participant_ends_the_job_by_name_when_the_quorum_needs_it(
    here: Installation,
) -> None:
    here.up()
    job = here.submit_demo(500, quorum=3)
    until(lambda: rounds_done(here, job) >= 1, "the first round is done")
    here.kill_machine("client-busan")
    until(lambda: show(here, job)["state"] == "failed", "the job ends")

    outcome = show(here, job)["outcome"]
    assert outcome["code"] == "ParticipantsMissing"
    assert "busan" in outcome["message"]
    assert here.machines() == []


def test_a_killed_participant_is_done_without_when_the_quorum_allows(here: Installation) -> None:
    here.up()
    job = here.submit_demo(12, quorum=2)
    until(lambda: rounds_done(here, job) >= 1, "the first round is done")
    here.kill_machine("client-busan")
    until(lambda: show(here, job)["state"] == "succeeded", "the job is done")

    last = show(here, job)["rounds"][-1]["participants"]
    assert last["seoul"]["status"] == last["daejeon"]["status"] == "done"
    assert last.get("busan", {}).get("status") != "done"
    assert here.machines() == []


def test_two_control_planes_on_one_home_are_one_too_many(here: Installation) -> None:
    first = here.up()
    second = here.run("up", "--port", str(free_port()))

    assert second.returncode == 3
    assert f"process {first.pid}" in second.stderr
    assert os.getpgid(first.pid)


def test_a_full_disk_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    """In a mount namespace of its own, on a file system of 2 MB that something else has filled."""
    unshare = shutil.which("unshare")
    probe = [unshare or "false", "--map-root-user", "--mount", "true"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        pytest.skip("left out: this machine gives no mount namespace for a small full disk")
    script = f"""
        mount -t tmpfs -o size=2m tmpfs {tmp_path} || exit 99
        dd if=/dev/zero of={tmp_path}/filler bs=1k 2>/dev/null
        {FEDSPAN} --home {tmp_path}/home demo --json
    """
    ran = subprocess.run(
        [unshare or "", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert ran.returncode == 6, ran.stderr
    assert json.loads(ran.stdout)["error"]["type"] == "StorageFull"
    assert "no room left" in ran.stderr
