"""A short storm, drawn from a seed that is printed, and a control plane that dies at every step
there is; ``make chaos`` is the long storm."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import pytest

from fedspan.errors import NotRunning
from tests.chaos.attacks import ATTACKS, killed
from tests.chaos.federation import Federation, federation, watched
from tests.chaos.reference import reference
from tests.chaos.storm import Storm, stormed, wrong
from tests.support.installation import until

pytestmark = pytest.mark.timeout(1800)
"""A minute or so each on a machine with nothing else to do."""

SEED = 20261129
ROUNDS = 24
SHORT = (
    "aggregator machine, SIGKILL",
    "SuperNode, SIGKILL",
    "ClientApp, SIGKILL",
    "client machine, SIGKILL",
    "client and API, cut",
    "control plane, SIGKILL",
)
BEFORE = ("check", "place", "launch", "await_ready", "link", "await_trained")
AFTER = ("select", "save", "tear_down", "notify", "finish")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return reference(tmp_path_factory.mktemp("reference"), ROUNDS)


def test_a_job_that_is_hurt_at_random_instants_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: str
) -> None:
    print(f"SEED={SEED}")
    attacks = [one for one in ATTACKS if one.name in SHORT]
    outcome = stormed(tmp_path, Storm(Random(SEED), attacks), len(SHORT), ROUNDS, undisturbed)

    assert sorted(one.what for one in outcome.kills) == sorted(SHORT)
    assert outcome.wrong == []


def test_a_job_outlives_a_control_plane_that_dies_at_every_step(
    tmp_path: Path, undisturbed: str
) -> None:
    random = Random(SEED)
    with federation(tmp_path) as here:
        here.down()
        here.up_until(BEFORE[0], "after")
        with contextlib.suppress(NotRunning):  # it dies before or after it has answered
            here.submit(ROUNDS)
        here.plane.wait()
        [job] = here.open_jobs()
        for step in BEFORE[1:]:
            _dies(here, step, random)
        here.up_until("recover", random.choice(("before", "after")))
        killed("aggregator")(here, random)
        here.plane.wait()
        for step in AFTER:
            _dies(here, step, random)
        here.up()
        with watched(here, job) as seen:
            until(lambda: seen.now().ended, "the job has ended")
            until(lambda: not here.left(), "nothing is left")
            found = list(wrong(here, seen, [], undisturbed))
            attempts = seen.now().attempt

    assert found == []
    assert attempts == 1 + len(BEFORE) + 1 + len(AFTER)


def _dies(here: Federation, step: str, random: Random) -> None:
    """A control plane that goes on until it dies at `step`."""
    here.up_until(step, random.choice(("before", "after")))
    assert here.plane.wait(240) < 0
