"""Machines of this computer that are forked, by the real fork server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fedspan.domain.machines import MachineSpec, MachineState, Role
from fedspan.providers import forking
from fedspan.providers.local import MARK, LocalProvider
from tests.contract.clouds import FAMILY, NOW
from tests.contract.test_providers import booted, family, machine_spec

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="left out: machines are forked on Linux alone"
)
MODULE = ("-P", "-m", "fedspan.flower.fork_server")
PEEK = """
import os, pathlib, re
sought = re.compile(os.environ["SOUGHT"].encode())  # no word for itself
found = 0
with open("/proc/self/mem", "rb") as memory:
    for line in open("/proc/self/maps"):
        start, end, readable = re.match(r"(\\w+)-(\\w+) (r?)", line).groups()
        if readable and "[v" not in line:
            memory.seek(int(start, 16))
            try:
                found += len(sought.findall(memory.read(int(end, 16) - int(start, 16))))
            except OSError:
                pass
print("own", os.environ["FEDSPAN_TOKEN"], "found", found, flush=True)
"""


class Here:
    """Providers of one folder, as a control plane and its successors have them."""

    def __init__(self, folder: Path) -> None:
        self.machines = folder / "machines"
        self._program = folder / "program.py"
        self._made: list[LocalProvider] = []

    def provider(
        self, program: str = FAMILY, *server: str, roles: Sequence[Role] = (Role.AGGREGATOR,)
    ) -> LocalProvider:
        self._program.write_text(program)
        commands = {role: [sys.executable, str(self._program)] for role in roles}
        forking = [*(server or (sys.executable, *MODULE))]
        servers = {role: [*forking, role, str(self._program)] for role in roles}
        self._made.append(LocalProvider(self.machines, commands, lambda: NOW, servers))
        return self._made[-1]

    def launched(self, cloud: LocalProvider, key: str = "one", **variables: str) -> Path:
        spec = of(cloud, key, **variables)
        assert cloud.launch("job-1", spec).state is MachineState.RUNNING
        return self.machines / key

    def servers(self) -> list[psutil.Process]:
        """The fork servers there are, of this folder's providers."""
        mine = psutil.Process().children()
        return [one for one in mine if one.cmdline()[-1:] == [str(self._program)]]

    def end(self) -> None:
        for provider in self._made:
            for machine in provider.machines():
                provider.terminate(machine)
            provider.close()


def of(cloud: LocalProvider, key: str, **variables: str) -> MachineSpec:
    spec = machine_spec(cloud, key)
    return spec.model_copy(update={"environment": {**spec.environment, **variables}})


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.end()


def was_forked(folder: Path) -> bool:
    return any("fedspan.flower.fork_server" in one.cmdline() for one in family(folder))


def said(folder: Path, words: str) -> str:
    """All of the console, once these words are there."""
    console = folder / "console.log"
    eventually(lambda: console.exists() and words in console.read_text())
    return console.read_text()


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_forked_machine_is_one_as_any(here: Here) -> None:
    cloud = here.provider()
    folder = here.launched(cloud)
    first, *_ = booted(folder)

    assert was_forked(folder)
    assert os.getsid(first.pid) == first.pid != os.getsid(0)
    assert first.cwd() == str(folder / "work")
    [machine] = cloud.machines()
    assert machine.state is MachineState.RUNNING
    cloud.terminate(machine)
    assert (cloud.machines(), family(folder)) == ([], [])
    assert "booted" in (folder.parents[1] / "logs" / "one.log").read_text()


def test_launches_of_one_key_at_one_moment_make_one_machine(here: Here) -> None:
    cloud = here.provider("print('born'); import time; time.sleep(60)")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: here.launched(cloud), range(3)))
    folder = here.launched(cloud)

    assert said(folder, "born").count("born") == len(family(folder)) == 1
    [machine] = cloud.machines()
    assert machine.state is MachineState.RUNNING


def test_one_that_ends_by_itself_is_stopped_and_no_zombie(here: Here) -> None:
    cloud = here.provider("print('over')")
    folder = here.launched(cloud)
    said(folder, "over")

    eventually(lambda: cloud.machines()[0].state is MachineState.STOPPED)
    assert family(folder) == []
    assert here.servers()[0].children() == []


def test_what_it_dies_of_is_in_its_console(here: Here) -> None:
    folder = here.launched(here.provider("import sys; sys.stdin.read(); 1 / 0"))

    assert "ZeroDivisionError" in said(folder, "ZeroDivisionError")


def test_a_control_plane_that_comes_back_imports_for_no_role_that_runs(
    here: Here,
) -> None:
    roles = list(Role)
    before = here.provider(roles=roles)
    client = of(before, "two").model_copy(update={"role": Role.CLIENT})
    here.launched(before, "one")
    assert len(here.servers()) == len(roles)
    before.launch("job-1", client)
    before.close()

    after = here.provider(roles=roles)
    here.launched(after, "three")
    assert [one.cmdline()[-2] for one in here.servers()] == [Role.AGGREGATOR]


def test_no_machine_holds_a_variable_of_another(here: Here) -> None:
    cloud = here.provider(PEEK)
    first = here.launched(cloud, "one", FEDSPAN_TOKEN="token-of-the-first", SOUGHT="-")
    said(first, "own token-of-the-first")
    variables = {"FEDSPAN_TOKEN": "token-of-the-other", "SOUGHT": "token-of-the-[f]irst"}
    second = here.launched(cloud, "two", **variables)
    variables = {"FEDSPAN_TOKEN": "token-of-the-last", "SOUGHT": "token-of-the-[l]ast"}
    third = here.launched(cloud, "three", **variables)

    assert "own token-of-the-other found 0" in said(second, "found")
    assert "found 0" not in said(third, "found")  # it finds what there is


def test_of_its_variables_the_machine_alone_can_be_seen(here: Here) -> None:
    folder = here.launched(here.provider(), SECRET="hush")
    first = booted(folder)[0]

    assert first.environ() == {MARK: str(folder)}


def test_one_that_was_killed_costs_a_fork_at_most(here: Here) -> None:
    cloud = here.provider()
    first = here.launched(cloud, "one")
    booted(first)
    here.servers()[0].kill()
    booted(here.launched(cloud, "two"))
    third = here.launched(cloud, "three")
    booted(third)

    assert was_forked(third)
    assert len(family(first)) == 3


@pytest.mark.parametrize(
    "broken", ("exit 3", "exec sleep 600", "echo nonsense >&0; exec sleep 600")
)
def test_without_a_fork_server_machines_are_executed(
    here: Here, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "ANSWER_SECONDS", 0.5)
    cloud = here.provider(FAMILY, "/bin/sh", "-c", broken)
    folder = here.launched(cloud)
    booted(folder)

    assert not was_forked(folder)
    assert len(family(folder)) == 3


def test_one_that_stopped_answering_makes_no_second_machine_when_it_wakes(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = here.provider()
    booted(here.launched(cloud, "one"))
    [server] = here.servers()
    server.suspend()
    monkeypatch.setattr(forking, "ANSWER_SECONDS", 0.5)
    folder = here.launched(cloud, "two")
    booted(folder)

    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert len(family(folder)) == 3


def test_machines_outlive_who_started_them(here: Here) -> None:
    cloud = here.provider()
    folder = here.launched(cloud)
    booted(folder)
    cloud.close()

    assert here.servers() == []
    assert len(family(folder)) == 3
    assert here.provider().launch("job-1", of(cloud, "one")).state is MachineState.RUNNING
    assert len(family(folder)) == 3


def test_nothing_is_forked_for_who_is_gone(here: Here, tmp_path: Path) -> None:
    """A control plane that dies while the first machine is waited for: its successor starts it,
    and there must not be two."""
    here.provider()
    folder = here.machines / "one"
    (folder / "work").mkdir(parents=True)
    ours, theirs = socket.socketpair()
    command = (sys.executable, *MODULE, "aggregator", str(tmp_path / "program.py"))
    with theirs, (tmp_path / "variables").open("w+b") as variables:
        variables.write(b"{}")
        server = subprocess.Popen(command, stdin=theirs.fileno())
        socket.send_fds(ours, [os.fsencode(folder)], [variables.fileno()])
        ours.close()

    assert server.wait(60) == 0
    assert family(folder) == []
    assert not (folder / "console.log").exists()
