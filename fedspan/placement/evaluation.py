"""What to expect at each candidate: seconds, dollars, risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.domain.assumed import RECOVERY_S
from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.domain.spec import Purchase
from fedspan.placement.book import Book, Floats
from fedspan.placement.candidates import EVERY, Candidates, Rows, candidates
from fedspan.placement.cost import Bill, Traffic, bill, traffic
from fedspan.placement.duration import (
    NO_OPTIONS,
    Reach,
    Volume,
    reach,
    round_seconds,
    volume,
)
from fedspan.placement.federation import Federation, federation
from fedspan.placement.makespan import (
    HOUR,
    expected_rounds,
    expected_seconds,
    p_interruption,
)

SETUP_S: Final = 180.0
"""From the launch to the first round: the boot of Multi-FedLS' measurements, and linking."""
HERE_SETUP_S: Final = 5.0
HERE_RECOVERY_S: Final = 15.0
"""The same for a machine that is a process of this computer (region without a position)."""
NEGLIGIBLE: Final = 1e-6
"""Interruptions an hour: once in a century."""
OUTAGE_S: Final = 0.0
"""Nobody waits for a region to have machines again: the job goes on in another."""
CHECKPOINT_S: Final = 0.5
CHECKPOINT_BYTES_S: Final = 100e6
"""Writing to object storage, beside a constant for its two requests."""


@dataclass(frozen=True, eq=False)
class Work:
    """The job as placement sees it."""

    rounds: int
    needed: int
    sent: Volume
    every: int
    checkpoint_s: float


@dataclass(frozen=True, eq=False)
class Setting:
    """A question put to a book: everything that single candidates are judged by."""

    book: Book
    table: Candidates
    question: PlacementQuestion
    parties: Federation
    work: Work
    reach: Reach
    flows: Traffic
    hazard: Floats
    """Interruptions an hour, by candidate."""
    setup: Floats
    recovery: Floats
    """Seconds to the first round, and to go on after a loss, by candidate."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """By candidate (or those asked for): seconds of a round and of the job, the bill in
    micro-dollars, and the chance of an interruption."""

    round_s: Floats
    seconds: Floats
    bill: Bill
    p_interruption: Floats

    @property
    def cost(self) -> Floats:
        return self.bill.total


def setting(
    book: Book,
    question: PlacementQuestion,
    participants: Sequence[Participant],
    model_bytes: int,
    program_bytes: int = 0,
) -> Setting:
    """Raises `InvalidRequest` for a region that a participant names and nobody knows."""
    table, parties = candidates(book), federation(book, participants)
    needed = question.quorum or len(participants)
    given = question.placement.interruptions_per_hour
    hazard = table.interruptions if given is None else np.where(table.spot, given, 0.0)
    hazard = np.where(hazard < NEGLIGIBLE, 0.0, hazard)
    options = question.strategy.options if question.strategy else NO_OPTIONS
    sent = volume(len(parties), needed, model_bytes, program_bytes, options)
    here = np.isnan(book.regions.latitude)[table.region]
    work = Work(
        rounds=question.rounds,
        needed=needed,
        sent=sent,
        every=question.placement.checkpoint_every,
        checkpoint_s=CHECKPOINT_S + model_bytes / CHECKPOINT_BYTES_S,
    )
    return Setting(
        book=book,
        table=table,
        question=question,
        parties=parties,
        work=work,
        reach=reach(parties, sent, needed),
        flows=traffic(table, parties),
        hazard=hazard,
        setup=np.where(here, HERE_SETUP_S, SETUP_S),
        recovery=np.where(here, HERE_RECOVERY_S, RECOVERY_S),
    )


def evaluate(on: Setting) -> Evaluation:
    """Every candidate of the book. Where a participant's RTT is unknown, it counts as nothing:
    such candidates are infeasible by that alone. What no float holds meets no deadline."""
    known = np.where(np.isfinite(on.reach.furthest), on.reach.first, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return judged(on, EVERY, first=known[on.table.region], price=on.table.price)


def judged(on: Setting, rows: Rows, *, first: Floats, price: Floats) -> Evaluation:
    """The candidates in `rows`, were their participants done after `first` seconds and their
    price `price` micro-dollars an hour."""
    work, hazard = on.work, on.hazard[rows]
    round_s = rounds_after(on, rows, first)
    seconds = job_seconds(on, rows, round_s)
    begun = np.full(len(round_s), float(work.rounds))
    risky = np.flatnonzero(hazard)
    begun[risky] = expected_rounds(
        work.rounds, work.every, round_s[risky], work.checkpoint_s, hazard[risky]
    )
    return Evaluation(
        round_s=round_s,
        seconds=seconds,
        bill=bill(
            on.table,
            rows,
            on.flows,
            on.question.placement.egress_used_gb,
            price=price,
            seconds=seconds,
            sent=work.sent.mean_down * begun,
            back=work.sent.mean_up * begun,
        ),
        p_interruption=p_interruption(hazard, seconds / HOUR),
    )


def rounds_after(on: Setting, rows: Rows, first: Floats) -> Floats:
    """Seconds of a round on the candidates in `rows`, were participants done after `first`."""
    nic = on.table.nic[rows]
    return round_seconds(first, on.reach.compute, len(on.parties), on.work.sent, nic)


def job_seconds(on: Setting, rows: Rows, round_s: Floats) -> Floats:
    """The job's expected seconds on the candidates in `rows`, whose rounds take `round_s`."""
    work, hazard = on.work, on.hazard[rows]
    setup, recovery = on.setup[rows], on.recovery[rows]
    seconds = undisturbed_seconds(work, setup, round_s)
    risky = np.flatnonzero(hazard)
    seconds[risky] = expected_seconds(
        setup[risky],
        work.rounds,
        work.every,
        round_s[risky],
        work.checkpoint_s,
        hazard[risky],
        recovery[risky],
        OUTAGE_S,
    )
    return seconds


def promised_seconds(on: Setting, found: Evaluation) -> Floats:
    """What a deadline is held against: what is expected. Who goes by the deadline is on spot only
    while it leaves slack, so there it is what on-demand machines alone would take."""
    if on.question.aggregator.purchase is not Purchase.DEADLINE:
        return found.seconds
    alone = undisturbed_seconds(on.work, on.setup, found.round_s)
    return np.where(np.isfinite(found.seconds), alone, np.inf)


def undisturbed_seconds(work: Work, setup: Floats, round_s: Floats) -> Floats:
    """Of a job that nothing interrupts."""
    stretches = -(-work.rounds // work.every)
    seconds: Floats = setup + work.rounds * round_s + stretches * work.checkpoint_s
    return seconds
