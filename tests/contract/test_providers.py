"""What every provider of machines does. A new cloud is done when it joins the list."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Role, cheapest
from fedspan.domain.spec import Need
from fedspan.errors import NoCapacity
from fedspan.providers.base import Provider
from fedspan.providers.local import MARK, LocalProvider
from fedspan.providers.memory import MemoryProvider
from tests.contract.clouds import NOW, PROVIDERS, aws, gcp, local_provider, remote_gcp

NEED = Need(vcpus=1, memory_mib=64)


@pytest.fixture(params=PROVIDERS, ids=lambda f: f.__name__)
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    yield from request.param(request)


def in_zones(request: pytest.FixtureRequest) -> Iterator[Provider]:
    yield MemoryProvider(lambda: NOW, zones=("nowhere-1a", "nowhere-1b"))


@pytest.fixture(params=[in_zones, remote_gcp, aws, gcp], ids=lambda f: f.__name__)
def zonal(request: pytest.FixtureRequest) -> Iterator[Provider]:
    """One that tells the zone of its machines, and heeds those to avoid."""
    yield from request.param(request)


def machine_spec(
    provider: Provider,
    key: str = "job-1-aggregator-1",
    epoch: int = 1,
    *,
    spot: bool = False,
) -> MachineSpec:
    """A machine as the provider may run one: the cheapest offer, so that it is the same one
    each time."""
    roles = provider.capabilities.roles
    offers = [one for one in provider.offers(NEED) if one.spot == spot]
    return MachineSpec(
        key=key,
        role=Role.AGGREGATOR if Role.AGGREGATOR in roles else Role.CLIENT,
        epoch=epoch,
        offer=cheapest(offers, NEED),
        environment={"FEDSPAN_TOKEN": "hush"},
        port=8443 if Role.AGGREGATOR in roles else 0,
        sources=("192.0.2.0/24", "198.51.100.7/32"),
    )


def gone(provider: Provider, machine: Machine) -> None:
    """Ask for its end until no trace of it is shown, as a tear-down does."""
    end = time.monotonic() + 60
    while True:
        provider.terminate(machine)
        if all(one.id != machine.id for one in provider.machines()):
            return
        assert time.monotonic() < end, f"{machine.id} does not go"
        time.sleep(0.1)


def settled(provider: Provider, job: str) -> list[Machine]:
    """The machines of a job, once none of them is pending."""
    end = time.monotonic() + 60
    while True:
        found = list(provider.machines(job))
        if all(one.state is not MachineState.PENDING for one in found):
            return found
        assert time.monotonic() < end, f"still pending: {found}"
        time.sleep(0.1)


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
    assert list(provider.offers(Need(vcpus=1, memory_mib=10**9))) == []


def test_a_launched_machine_is_listed_with_what_it_is(provider: Provider) -> None:
    spec = machine_spec(provider)
    made = provider.launch("job-1", spec)
    [listed] = settled(provider, "job-1")

    assert listed == made.model_copy(update={"state": MachineState.RUNNING})
    assert made.state in (MachineState.PENDING, MachineState.RUNNING)
    assert (made.job, made.key, made.role, made.epoch) == ("job-1", spec.key, spec.role, 1)
    assert made.offer == spec.offer


def test_a_spot_machine_is_listed_as_one(provider: Provider) -> None:
    if not provider.capabilities.spot:
        assert not any(one.spot for one in provider.offers(NEED))
        return
    spec = machine_spec(provider, spot=True)
    provider.launch("job-1", spec)

    [listed] = provider.machines("job-1")
    assert listed.offer == spec.offer
    assert listed.offer.spot


def test_one_key_never_makes_two_machines(provider: Provider) -> None:
    spec = machine_spec(provider)
    first, second = provider.launch("job-1", spec), provider.launch("job-1", spec)

    assert first.id == second.id
    assert first == second.model_copy(update={"state": first.state})
    assert len(provider.machines()) == 1


def test_a_zone_is_told_and_one_to_avoid_is_left_for_another_of_its_region(
    zonal: Provider,
) -> None:
    told = [""]
    for _ in range(3):
        spec = machine_spec(zonal).model_copy(update={"avoid_zones": (told[-1],)})
        made = zonal.launch("job-1", spec)
        again = zonal.launch("job-1", spec)
        [listed] = zonal.machines()
        gone(zonal, made)
        # Of those of a key that EC2 began in one second, any may stand for the group that is left.
        for left in zonal.machines():
            gone(zonal, left)
        told.append(made.zone)

        assert made.zone.startswith(spec.offer.region)
        assert made.zone == again.zone == listed.zone != told[-2]


def test_machines_are_listed_by_job(provider: Provider) -> None:
    provider.launch("job-1", machine_spec(provider, "a"))
    provider.launch("job-2", machine_spec(provider, "b"))

    assert [m.key for m in provider.machines("job-1")] == ["a"]
    assert list(provider.machines("job-3")) == []
    assert sorted(m.key for m in provider.machines()) == ["a", "b"]


def test_a_terminated_machine_is_gone_and_a_repeat_is_no_error(provider: Provider) -> None:
    made = provider.launch("job-1", machine_spec(provider))
    gone(provider, made)
    provider.terminate(made)

    assert list(provider.machines()) == []


def test_a_key_can_be_launched_again_once_its_machine_is_gone(provider: Provider) -> None:
    made = provider.launch("job-1", machine_spec(provider))
    gone(provider, made)
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
        provider = local_provider(tmp_path)
        yield provider
        for machine in provider.machines():
            provider.terminate(machine)

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
