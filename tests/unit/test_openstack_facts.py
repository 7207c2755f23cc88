"""What is written on servers and security groups, and read back."""

from __future__ import annotations

import pytest

from fedspan.domain.machines import Machine, MachineState, Role
from fedspan.providers.openstack import facts
from tests.clouds.openstack.cloud import NOW
from tests.clouds.openstack.specs import offer


def test_long_names_fit_where_they_are_written() -> None:
    long = offer('flavor "of" a \\ cloud, ' * 11, 1, 1024).model_copy(update={"provider": "p" * 63})
    machine = Machine(
        id=facts.name("o" * 63, "k" * 121),
        job="20261120-090000-4f1c9a",
        key="k" * 121,
        role=Role.CLIENT,
        epoch=1_000,
        offer=long,
        state=MachineState.STOPPED,
        launched=NOW,
    )
    written, described = facts.metadata(machine, "o" * 63), facts.description(machine, "o" * 63)

    assert max(len(one) for one in [*written.values(), described, machine.id]) <= 255
    given = (machine.id, "o" * 63, "p" * 63)
    assert facts.machine(written, *given, MachineState.STOPPED) == machine
    left = facts.leftover(described, *given, "RegionOne")
    assert left is not None
    cut = machine.offer.model_copy(update={"machine_type": left.offer.machine_type})
    assert left == machine.model_copy(update={"offer": cut})


@pytest.mark.parametrize("words", ["", "default", "fedspan {}", "fedspan []", "fedspan [1,2]"])
def test_what_others_wrote_is_no_machine(words: str) -> None:
    assert facts.leftover(words, "fedspan_a", "fedspan", "seoul", "RegionOne") is None
    said = {"fedspan-owner": "fedspan", "fedspan-key": "a", "fedspan-offer-0": words}
    assert facts.machine(said, "fedspan_a", "fedspan", "seoul", MachineState.RUNNING) is None
