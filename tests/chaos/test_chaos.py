"""A short storm, drawn from a seed that is printed; ``make chaos`` is the long one."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.chaos.attacks import ATTACKS
from tests.chaos.federation import reference
from tests.chaos.storm import Storm, stormed

SEED = 20261129
ROUNDS = 16
SHORT = (
    "aggregator machine, SIGKILL",
    "SuperNode, SIGKILL",
    "control plane, SIGKILL",
    "client and API, cut",
)


def test_a_job_that_is_hurt_at_random_instants_ends_with_the_same_bits(tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    attacks = [one for one in ATTACKS if one.name in SHORT]
    sha256 = reference(tmp_path / "reference", ROUNDS)
    storm = Storm(Random(SEED), attacks)
    outcome = stormed(tmp_path / "hurt", storm, len(SHORT), ROUNDS, sha256)

    assert sorted(one.what for one in outcome.kills) == sorted(SHORT)
    assert outcome.wrong == []
