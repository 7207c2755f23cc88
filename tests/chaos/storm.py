"""Jobs that are hurt at random instants: ``make chaos KILLS=25 SEED=…``.

Each job begins on a Fedspan of its own. When a round is done, chance says how long to wait and
what to hurt; the next wound comes when a round has been done since. At its end every job must
have succeeded with the very model of one that nothing disturbed, must have done no more than one
round again for each incarnation of its aggregator that it lost, and must have left nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Final

from fedspan import wiring
from tests.chaos.attacks import ATTACKS, Attack, NotThere
from tests.chaos.federation import Federation, Watched, federation, watched
from tests.chaos.reference import reference

ROUNDS: Final = 20
SPREAD_SECONDS: Final = 2.5
MOST_SECONDS: Final = 240.0
"""For the next round after a wound; a job that takes longer hangs."""
KILLS_A_JOB: Final = 5


@dataclass(frozen=True, slots=True)
class Kill:
    """A wound and what came of it. `seconds` is the time to the next whole round; none for a job
    that ended otherwise."""

    what: str
    at: float
    round: int
    epoch: int
    seconds: float | None
    lost: int
    again: int

    def line(self) -> str:
        after = "no round after it" if self.seconds is None else f"next after {self.seconds:4.1f} s"
        lost = f"{self.lost} lost, {self.again} again"
        return f"{self.at:6.1f} s  {self.what:27}  round {self.round:2}  {after}  {lost}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, and what is wrong with that."""

    kills: Sequence[Kill]
    wrong: Sequence[str]


@dataclass
class Storm:
    """Draws what comes next from one seed."""

    random: Random
    attacks: Sequence[Attack] = ATTACKS
    _deck: list[Attack] = field(default_factory=list)

    def next(self) -> Attack:
        """Every attack comes once before any comes twice."""
        if not self._deck:
            self._deck = self.random.sample(self.attacks, len(self.attacks))
        return self._deck.pop()

    def pause(self) -> float:
        return self.random.uniform(0.0, SPREAD_SECONDS)


def hurt(here: Federation, seen: Watched, storm: Storm, kills: int) -> Iterator[Kill]:
    """Wound the job up to `kills` times, each time after a round was done."""
    started = time.monotonic()
    for _ in range(kills):
        done = seen.now().rounds_done
        time.sleep(storm.pause())
        attack = storm.next()
        before, at, moment = seen.now(), wiring.now(), time.monotonic() - started
        if before.rounds_done >= before.spec.rounds - 1 or before.ended:
            return
        missed: list[str] = []
        wounding = threading.Thread(target=_wound, args=(attack, here, storm.random, missed))
        wounding.start()
        number = max(done, before.rounds_done)
        over = _next_round(seen, at, number)
        wounding.join()
        if missed:
            print(f"LEFT OUT: {attack.name}: {missed[0]}", flush=True)
            continue
        after = seen.now()
        yield Kill(
            what=attack.name,
            at=round(moment, 1),
            round=max(before.progress.round, before.rounds_done),
            epoch=after.epoch,
            seconds=None if over is None else round((over - at).total_seconds(), 1),
            lost=after.epoch - before.epoch,
            again=seen.again(before.epoch, after.epoch),
        )


def _wound(attack: Attack, here: Federation, random: Random, missed: list[str]) -> None:
    try:
        attack.wound(here, random)
    except NotThere as exc:
        missed.append(str(exc))


def _next_round(seen: Watched, at: datetime, number: int) -> datetime | None:
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        found = seen.round_after(at, number)
        if found is not None or seen.now().ended:
            return found
        time.sleep(0.1)
    return None


def stormed(folder: Path, storm: Storm, kills: int, rounds: int, sha256: str) -> Outcome:
    """One job, hurt up to `kills` times and held against the undisturbed one."""
    with federation(folder) as here:
        job = here.submit(rounds)
        with watched(here, job) as seen:
            _until(lambda: seen.now().rounds_done >= 1 or seen.now().ended)
            suffered = []
            for kill in hurt(here, seen, storm, kills):
                print(kill.line(), flush=True)
                suffered.append(kill)
            _until(lambda: seen.now().ended)
            return Outcome(suffered, list(wrong(here, seen, suffered, sha256)))


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + MOST_SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)


def wrong(here: Federation, seen: Watched, kills: Sequence[Kill], sha256: str) -> Iterator[str]:
    """What is wrong with a job that should have ended well."""
    job = seen.now()
    if job.outcome is None or job.outcome.code != "Completed":
        yield f"job {job.id} ended {job.state}: {job.outcome}"
    elif seen.records.model(job.id).sha256 != sha256:
        yield f"job {job.id} has another model than the undisturbed one"
    for one in kills:
        if one.again > one.lost:
            yield f"{one.what}: {one.again} rounds done again for {one.lost} lost aggregators"
    yield from (f"job {job.id} left {one}" for one in here.left())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="attacks with one of A|B in their names")
    given = parser.parse_args()
    print(f"KILLS={given.kills} SEED={given.seed}", flush=True)
    chosen = [one for one in ATTACKS if any(part in one.name for part in given.only.split("|"))]
    storm = Storm(Random(given.seed), chosen)
    with tempfile.TemporaryDirectory(prefix="fedspan-chaos-") as folder:
        outcomes = list(_jobs(Path(folder), storm, given.kills, given.rounds))
    return summary(outcomes, given.seed)


def _jobs(folder: Path, storm: Storm, kills: int, rounds: int) -> Iterator[Outcome]:
    sha256 = reference(folder / "reference", rounds)
    print(f"undisturbed: {sha256}", flush=True)
    number = 0
    while kills > 0:
        number += 1
        print(f"job {number}", flush=True)
        one = stormed(folder / f"{number}", storm, min(kills, KILLS_A_JOB), rounds, sha256)
        for what in one.wrong:
            print(f"WRONG  {what}", flush=True)
        kills -= max(1, len(one.kills))
        yield one


def summary(outcomes: Sequence[Outcome], seed: int) -> int:
    """Print the JSON line; the exit code."""
    kills = [kill for one in outcomes for kill in one.kills]
    found = [what for one in outcomes for what in one.wrong]
    seconds = sorted(one.seconds for one in kills if one.seconds is not None)
    document = {
        "seed": seed,
        "jobs": len(outcomes),
        "kills": len(kills),
        "aggregators_lost": sum(one.lost for one in kills),
        "rounds_done_again": sum(one.again for one in kills),
        "seconds_to_next_round": {
            "median": seconds[len(seconds) // 2] if seconds else None,
            "most": seconds[-1] if seconds else None,
        },
        "wrong": found,
        "each": [asdict(one) for one in kills],
    }
    print(json.dumps(document))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
