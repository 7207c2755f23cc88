"""What every provider of machines does. A new cloud is done when it joins the list."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Role
from fedspan.domain.spec import Need
from fedspan.errors import NoCapacity
from fedspan.providers.base import Provider
from fedspan.providers.local import MARK, LocalProvider
from fedspan.providers.memory import MemoryProvider

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
NEED = Need(vcpus=1, memory_mib=64)
# A machine that starts a child, and one that left the group for a session of its own.
FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
print("booted", flush=True)
time.sleep(600)
"""


def memory(folder: Path) -> Iterator[Provider]:
    yield MemoryProvider(lambda: NOW)


def local(folder: Path) -> Iterator[Provider]:
    provider = local_provider(folder)
    yield provider
    for machine in provider.machines():
        provider.terminate(machine)


def local_provider(folder: Path, program: str = FAMILY) -> LocalProvider:
    command = [sys.executable, "-c", program]
    commands = {Role.AGGREGATOR: command, Role.CLIENT: command}
    return LocalProvider(folder / "machines", commands, lambda: NOW)


@pytest.fixture(params=[memory, local], ids=lambda f: f.__name__)
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    yield from request.param(tmp_path)


def machine_spec(
    provider: Provider, key: str = "job-1-aggregator-1", epoch: int = 1
) -> MachineSpec:
    return MachineSpec(
        key=key,
        role=Role.AGGREGATOR,
        epoch=epoch,
        offer=provider.offers(NEED)[0],
        environment={"FEDSPAN_TOKEN": "hush"},
    )


def family(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def booted(folder: Path, count: int = 3) -> Sequence[psutil.Process]:
    end = time.monotonic() + 20
    console = folder / "console.log"
    while len(family(folder)) < count or "booted" not in console.read_text():
        assert time.monotonic() < end, "the machine does not boot"
        time.sleep(0.02)
    return family(folder)


def test_an_offer_fits_the_need_and_carries_its_price(provider: Provider) -> None:
    for offer in provider.offers(NEED):
        assert offer.provider == provider.name
        assert offer.fits(NEED)
        assert offer.price >= 0


def test_nothing_is_offered_for_a_need_nobody_meets(provider: Provider) -> None:
    assert provider.offers(Need(vcpus=1, memory_mib=10**9)) == []


def test_a_launched_machine_is_listed_with_what_it_is(provider: Provider) -> None:
    spec = machine_spec(provider)
    made = provider.launch("job-1", spec)

    assert list(provider.machines("job-1")) == [made]
    assert (made.job, made.key, made.role, made.epoch) == ("job-1", spec.key, spec.role, 1)
    assert made.state is MachineState.RUNNING


def test_one_key_never_makes_two_machines(provider: Provider) -> None:
    spec = machine_spec(provider)
    first, second = provider.launch("job-1", spec), provider.launch("job-1", spec)

    assert first == second
    assert len(provider.machines()) == 1


def test_machines_are_listed_by_job(provider: Provider) -> None:
    provider.launch("job-1", machine_spec(provider, "a"))
    provider.launch("job-2", machine_spec(provider, "b"))

    assert [m.key for m in provider.machines("job-1")] == ["a"]
    assert sorted(m.key for m in provider.machines()) == ["a", "b"]


def test_a_terminated_machine_is_gone_and_a_repeat_is_no_error(provider: Provider) -> None:
    made = provider.launch("job-1", machine_spec(provider))
    provider.terminate(made)
    provider.terminate(made)

    assert provider.machines() == []


def test_a_key_can_be_launched_again_once_its_machine_is_gone(provider: Provider) -> None:
    made = provider.launch("job-1", machine_spec(provider))
    provider.terminate(made)
    provider.launch("job-1", machine_spec(provider))

    assert len(provider.machines()) == 1


def test_a_spec_does_not_show_its_secrets(provider: Provider) -> None:
    assert "hush" not in repr(machine_spec(provider))


def test_an_injected_fault_strikes_once() -> None:
    provider = MemoryProvider(lambda: NOW)
    provider.fail_next = NoCapacity("sold out")

    with pytest.raises(NoCapacity, match="sold out"):
        provider.offers(NEED)
    assert provider.offers(NEED)


class TestLocal:
    """What only process groups do."""

    @pytest.fixture
    def cloud(self, tmp_path: Path) -> Iterator[LocalProvider]:
        for provider in local(tmp_path):
            assert isinstance(provider, LocalProvider)
            yield provider

    def launched(self, cloud: LocalProvider, tmp_path: Path) -> tuple[Machine, Path]:
        made = cloud.launch("job-1", machine_spec(cloud))
        return made, tmp_path / "machines" / made.id

    def test_terminate_ends_the_group_and_who_left_it(
        self, cloud: LocalProvider, tmp_path: Path
    ) -> None:
        made, folder = self.launched(cloud, tmp_path)
        processes = booted(folder)
        cloud.terminate(made)

        assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
        assert not folder.exists()

    def test_what_the_console_said_outlives_the_machine(
        self, cloud: LocalProvider, tmp_path: Path
    ) -> None:
        made, folder = self.launched(cloud, tmp_path)
        booted(folder)
        cloud.terminate(made)

        assert "booted" in (tmp_path / "logs" / f"{made.id}.log").read_text()

    def test_a_machine_that_ended_by_itself_is_listed_as_stopped(
        self, cloud: LocalProvider, tmp_path: Path
    ) -> None:
        _, folder = self.launched(cloud, tmp_path)
        first = next(p for p in booted(folder) if p.ppid() == psutil.Process().pid)
        first.kill()
        end = time.monotonic() + 20
        while cloud.machines()[0].state is not MachineState.STOPPED:
            assert time.monotonic() < end
            time.sleep(0.02)

        cloud.terminate(cloud.machines()[0])
        assert family(folder) == []

    def test_another_process_sees_and_ends_the_same_machines(
        self, cloud: LocalProvider, tmp_path: Path
    ) -> None:
        made, folder = self.launched(cloud, tmp_path)
        booted(folder)
        after_a_restart = local_provider(tmp_path)

        assert list(after_a_restart.machines()) == [made]
        assert after_a_restart.launch("job-1", machine_spec(cloud)) == made
        assert len(family(folder)) == 3

        after_a_restart.terminate(made)
        assert after_a_restart.machines() == []
        assert family(folder) == []

    def test_a_number_used_again_is_not_taken_for_the_machine(
        self, cloud: LocalProvider, tmp_path: Path
    ) -> None:
        made, folder = self.launched(cloud, tmp_path)
        booted(folder)
        record = folder / "process.json"
        mine = psutil.Process()
        real = record.read_text()
        record.write_text(f'{{"pid": {mine.pid}, "created": {mine.create_time() - 100}}}')

        assert cloud.machines()[0].state is MachineState.STOPPED
        record.write_text(real)
        assert cloud.machines()[0].state is MachineState.RUNNING
        assert made.id == folder.name
