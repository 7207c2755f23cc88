"""The real thing: the `fedspan` command, real processes, real training, real kills. That a job goes
on with the same bits, whatever of it is killed, is for `tests/chaos`; the demo, for `tests/cli`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedspan.local.home import Home
from tests.chaos.federation import FAST
from tests.support.installation import FEDSPAN, PATIENCE, Installation, until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(Home(tmp_path / "home"))
    yield made
    made.end()


def test_a_participant_that_dies_each_time_is_given_up_by_name(here: Installation) -> None:
    here.variables = FAST
    here.up()
    job = here.submit_demo(500, quorum=3)
    until(lambda: here.job(job).rounds_done >= 1, "the first round is done")

    def given_up() -> bool:
        here.kill_machine("client-busan")
        return "ClientLost" in here.events(job)

    until(given_up, "its machine is started no more")
    until(lambda: here.job(job).ended, "the job ends")

    outcome = here.ask("job", "show", job)["outcome"]
    assert outcome["code"] == "ParticipantsMissing"
    assert "busan" in outcome["message"]
    assert here.machines() == []


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
