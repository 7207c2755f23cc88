"""``fedspan demo``: nothing is simulated here."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedspan.cli.left_over import left_over
from fedspan.domain.sites import SiteKind
from fedspan.providers.local import MARK
from tests.cli.conftest import ROOT, ended, serving, until
from tests.support.world import with_sites


@pytest.fixture(autouse=True)
def nothing_stays(home):
    """A test that fails leaves no machine running either."""
    yield
    for process in machines_of(home):
        process.kill()


@pytest.fixture
def mine(cli, tmp_path):
    """A person's own site, which is called as one of the demo's; as it was registered."""
    path = tmp_path / "mine.csv"
    path.write_text("a,b,target\n1,2,x\n3,4,y\n5,6,x\n")
    data = ("--dataset", f"own={path}", "--dataset", f"breast-cancer={path}")
    where = ("--city", "Incheon", "--lat", "37.5", "--lon", "126.7", "--up-mbps", "20")
    return cli("site", "add", "seoul", *data, *where, "--json").document


@pytest.fixture
def demo(spawn, home):
    """The demo under way, as a process of its own."""
    return spawn("demo", "--rounds", "10", "--json")


def test_the_demo_trains_a_good_model_that_can_be_exported_and_leaves_nothing(
    mine, demo, cli, home, tmp_path
):
    result = ended(demo)
    report = result.document
    weights = Path(report["model"]["uri"].removeprefix("file://"))
    exported = cli("model", "export", report["job"], "--to", tmp_path / "m.safetensors", "--json")
    again = cli("job", "show", report["job"], "--json").document

    assert result.code == 0, result.err
    assert report["state"] == "succeeded"
    assert [one["round"] for one in report["rounds"]] == list(range(1, 11))
    for one in report["rounds"]:
        assert set(one["participants"]) == {"seoul", "busan", "daejeon"}
        assert {who["status"] for who in one["participants"].values()} == {"done"}
        assert set(one["metrics"]) >= {"loss", "accuracy", "precision", "recall", "f1"}
    assert report["selected"]["value"] >= 0.93
    assert report["left_over"] == {"processes": 0, "directories": 0}
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == report["model"]["sha256"]
    assert exported.document["sha256"] == report["model"]["sha256"]
    assert again == report
    assert home.running() is None

    after = cli("site", "show", "seoul", "--json").document
    own, demos = after["datasets"]
    assert {key: after[key] for key in mine if key != "datasets"} == {
        key: mine[key] for key in mine if key != "datasets"
    }
    assert own == mine["datasets"][0]
    assert (demos["name"], demos["examples"]) == ("breast-cancer", 288)
    assert f"its dataset breast-cancer was {tmp_path / 'mine.csv'}" in result.err


def test_the_demo_leaves_a_site_with_its_own_machine_in_peace(cli, home):
    home.prepare()
    with serving(home) as app:
        with_sites(app, "busan", kind=SiteKind.AGENT)
        result = cli("demo", "--json")
        sites = {one.name: one for one in app.sites.list()}

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
    assert "site busan is there already" in result.err
    assert sites["busan"].kind is SiteKind.AGENT


def test_ctrl_c_cancels_the_demo_and_takes_its_machines_down(demo, home):
    lines = iter(demo.stderr.readline, "")
    assert any("AggregatorReady" in line for line in lines)
    demo.send_signal(signal.SIGINT)
    result = ended(demo)

    assert result.code == 130
    assert result.document["state"] == "cancelled"
    assert left_over(home, result.document["job"]).nothing
    assert home.running() is None


def machines_of(home):
    """The processes of this home's machines that live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(home.machines)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def the_only_job(cli):
    [job] = cli("job", "list", "--json").document["jobs"]
    return job


def test_a_reader_that_leaves_cancels_the_demo_and_takes_its_machines_down(spawn, cli, home):
    child = spawn("demo", "--rounds", "500")
    assert "JobSubmitted" in child.stdout.readline()
    until(lambda: machines_of(home))
    child.stdout.close()
    code = child.wait(120)

    assert machines_of(home) == []
    assert code == 1
    assert "Traceback" not in child.stderr.read()
    assert the_only_job(cli)["state"] == "cancelled"
    assert home.running() is None


def test_a_closed_terminal_cancels_the_demo_and_takes_its_machines_down(cli, home):
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, "demo", "--rounds", "500"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = b""
        while b"Rounds" not in shown:  # the view; its last line may be a later event already
            shown += os.read(ours, 4096)
        until(lambda: machines_of(home))
        os.close(ours)
        code = child.wait(120)
    finally:
        child.kill()
        child.wait()

    assert machines_of(home) == []
    assert code in (130, 1)  # whether the signal or the failed write was first
    assert the_only_job(cli)["state"] == "cancelled"


IN_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from fedspan.cli.main import main
main()
"""
