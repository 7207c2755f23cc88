"""A job and its lifecycle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from fedspan.domain.machines import Offer
from fedspan.domain.placements import Candidate, PlacementAnswer
from fedspan.domain.rates import hourly
from fedspan.domain.rounds import Participation
from fedspan.domain.selection import Selection
from fedspan.domain.spec import JobSpec
from fedspan.domain.values import Instant, MicroUsd, Name, Value
from fedspan.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    IllegalMove,
    JobError,
    NoQualifyingRound,
)


class JobState(StrEnum):
    SUBMITTED = "submitted"
    CHECKING = "checking"
    PLACING = "placing"
    WAITING_APPROVAL = "waiting_approval"
    LAUNCHING = "launching"
    LINKING = "linking"
    TRAINING = "training"
    RECOVERING = "recovering"
    RESTING = "resting"
    """Its participants train for so long that there is no aggregator meanwhile."""
    SELECTING = "selecting"
    SAVING = "saving"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = JobState
MOVES: Final[Mapping[JobState, frozenset[JobState]]] = {
    S.SUBMITTED: frozenset({S.CHECKING, S.STOPPING}),
    S.CHECKING: frozenset({S.PLACING, S.STOPPING}),
    S.PLACING: frozenset({S.WAITING_APPROVAL, S.LAUNCHING, S.STOPPING}),
    S.WAITING_APPROVAL: frozenset({S.LAUNCHING, S.STOPPING}),
    S.LAUNCHING: frozenset({S.LINKING, S.RECOVERING, S.STOPPING}),
    S.LINKING: frozenset({S.TRAINING, S.RECOVERING, S.STOPPING}),
    S.TRAINING: frozenset({S.SELECTING, S.RECOVERING, S.RESTING, S.STOPPING}),
    S.RECOVERING: frozenset({S.PLACING, S.STOPPING}),
    S.RESTING: frozenset({S.PLACING, S.STOPPING}),
    S.SELECTING: frozenset({S.SAVING, S.STOPPING}),
    S.SAVING: frozenset({S.STOPPING}),
    S.STOPPING: frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}
LEAVING: Final = timedelta(seconds=120)
"""Until the machine of a job that must end is gone, though it be silent just then: paid for like
any other."""
ENDED: Final = frozenset(state for state, onward in MOVES.items() if not onward)
RUNNING: Final = frozenset({S.LAUNCHING, S.LINKING, S.TRAINING})
"""From the launch of an aggregator to its last round, or its loss."""
del S


class Outcome(Value):
    """How a job ended. `code` is ``Completed`` or a class name of our error tree."""

    state: JobState
    code: str
    message: str = ""


class Aggregator(Value):
    """The present incarnation of a job's aggregator, as far as it has told us. `begun` is when it
    told of the round that is under way, `first` when it told of its first; `sent` are the bytes its
    complete rounds sent, by the flows of its `Rates`; `traffic` is what all it sent costs,
    `settled` that of complete rounds."""

    epoch: PositiveInt
    offer: Offer
    launched: Instant | None = None
    stopped: Instant | None = None
    seen: Instant | None = None
    seq: NonNegativeInt = 0
    address: str | None = Field(default=None, description="host:port of its Fleet API")
    certificate: str | None = Field(default=None, description="PEM of the CA that signed it")
    linked: tuple[Name, ...] = Field(default=(), description="participants it will let in")
    zone: str = Field(default="", description="of its machine, as far as its cloud tells")
    refused: str = Field(default="", description="class name of why its cloud started no machine")
    notice: Instant | None = Field(default=None, description="when its cloud takes it back")
    wake: Instant | None = Field(
        default=None, description="when the next one is to be back, if this one is to rest"
    )
    left: bool = Field(default=False, description="that it has, with what it had of its round")
    waiting: str = Field(default="", description="what its training stands still for")
    begun: Instant | None = None
    first: Instant | None = None
    sent: tuple[NonNegativeInt, ...] = ()
    traffic: MicroUsd = 0
    settled: MicroUsd = 0


class Leaving(Value):
    """A replaced incarnation whose machine may stay until `until`: it keeps what it has of its
    round."""

    epoch: PositiveInt
    until: Instant


class Loss(Value):
    """An incarnation of the aggregator that could not go on: `code` is a class name of our error
    tree, `cause` that of a cloud's refusal, `rounds_done` what the job had by then. `zone` is where
    its machine was, if another can be had."""

    epoch: PositiveInt
    code: str
    cause: str = ""
    offer: Offer
    zone: str = ""
    at: Instant
    rounds_done: NonNegativeInt


class Approval(Value):
    """A person's word on a job's place, `offer`. `candidate` counts from 1 in the list they were
    shown, `by` is the caller's role."""

    candidate: PositiveInt
    offer: Offer
    by: str
    at: Instant


class Approving(Value):
    """What a person says. `candidate` counts from 1, as the list does that they were shown."""

    candidate: PositiveInt = 1


class Placement(Value):
    """Where the aggregator of this epoch could go when that was asked, and where it goes.
    `chosen` is an index into the candidates; none while a person is waited for. An approval
    stays when an aggregator is replaced: it is of the job."""

    epoch: PositiveInt
    answer: PlacementAnswer
    chosen: NonNegativeInt | None = None
    approval: Approval | None = None

    @property
    def candidate(self) -> Candidate | None:
        """The place that was taken."""
        return None if self.chosen is None else self.answer.candidates[self.chosen]


class Progress(Value):
    """The round under way."""

    round: NonNegativeInt = 0
    participants: dict[Name, Participation] = Field(default_factory=dict)


class Pace(Value):
    """What the next round is expected to take, by the latest."""

    seconds: NonNegativeFloat
    traffic: MicroUsd = Field(description="micro-dollars for what it sends")


class Job(Value):
    """What is known of a job. `epoch` counts the incarnations of its aggregator, `attempt`
    the executions of its state machine, `phases` the seconds spent in each state so far."""

    id: str
    spec: JobSpec
    state: JobState = JobState.SUBMITTED
    features: tuple[PositiveInt, ...] = Field(description="the shape of one example")
    classes: tuple[str, ...]
    submitted: Instant
    since: Instant
    epoch: PositiveInt = 1
    attempt: PositiveInt = 1
    placement: Placement | None = None
    aggregator: Aggregator | None = None
    progress: Progress = Progress()
    rounds_done: NonNegativeInt = 0
    selected: Selection | None = None
    model: str | None = None
    outcome: Outcome | None = None
    cancel_requested: bool = False
    losses: tuple[Loss, ...] = Field(default=(), description="the latest, oldest first")
    leaving: Leaving | None = None
    teardowns: NonNegativeInt = 0
    spent: MicroUsd = Field(default=0, description="on earlier incarnations of the aggregator")
    cost: MicroUsd = 0
    pace: Pace | None = None
    rests: NonNegativeInt = Field(
        default=0, description="how often its aggregator was given back between rounds"
    )
    wake: Instant | None = Field(default=None, description="when its latest rest was to end")
    comeback: NonNegativeFloat | None = Field(
        default=None, description="the fewest seconds from a launch to the first round"
    )
    warned: bool = Field(default=False, description="that its budget is nearly used up")
    phases: dict[str, NonNegativeFloat] = Field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def needs_machines(self) -> bool:
        """Whether those of its present incarnation, whose launch is over, have rounds to do."""
        there = self.aggregator is not None and self.aggregator.launched is not None
        return there and self.outcome is None and self.rounds_done < self.spec.rounds

    @property
    def asks_approval(self) -> bool:
        """Whether a person must confirm its place first. Once is enough, however often its
        aggregator is replaced."""
        approved = self.placement is not None and self.placement.approval is not None
        return self.spec.aggregator.approve and not approved and self.outcome is None


def move(job: Job, to: JobState, now: datetime) -> Job:
    """`job` in state `to`, its time in the old one added to `phases`.

    Raises:
        IllegalMove: the lifecycle has no such step.
    """
    if to not in MOVES[job.state]:
        raise IllegalMove(f"job {job.id}: {job.state} cannot become {to}")
    spent = job.phases.get(job.state, 0.0) + max(0.0, (now - job.since).total_seconds())
    phases = {**job.phases, job.state.value: round(spent, 3)}
    return job.model_copy(update={"state": to, "since": now, "phases": phases})


def salvageable(job: Job) -> bool:
    """Whether it failed with rounds of which none was looked at to be kept. What a person
    cancelled they do not want."""
    if job.state is not JobState.STOPPING or job.outcome is None or job.cancel_requested:
        return False
    looked_at = job.model is not None or job.outcome.code == NoQualifyingRound.__name__
    return job.outcome.state is JobState.FAILED and job.rounds_done > 0 and not looked_at


def address_price(job: Job) -> int:
    """Micro-dollars an hour for the public address of its aggregator."""
    taken = job.placement.candidate if job.placement else None
    return round(taken.address_usd_hour * 1_000_000) if taken else 0


def cost_at(job: Job, now: datetime) -> int:
    """Micro-dollars for the aggregator's machines, their addresses and what they sent, until
    `now`."""
    running = job.aggregator
    if running is None or running.launched is None:
        return job.spent
    lasted = (running.stopped or now) - running.launched
    hourly_prices = (running.offer.price, address_price(job))
    return job.spent + sum(hourly(one, lasted) for one in hourly_prices) + running.traffic


def seconds_left(job: Job, now: datetime) -> float:
    """Until the deadline of its spec; negative past it."""
    return job.spec.limits.deadline - (now - job.submitted).total_seconds()


def overrun(job: Job, now: datetime) -> JobError | None:
    """Which limit of its spec the job has passed, if one."""
    limits = job.spec.limits
    if seconds_left(job, now) <= 0 and job.state is JobState.WAITING_APPROVAL:
        return DeadlineExceeded(
            f"nobody approved its place within {limits.deadline:g} s; allow more in limits.deadline"
        )
    if seconds_left(job, now) <= 0:
        return DeadlineExceeded(
            f"not done within {limits.deadline:g} s; {job.rounds_done} of {job.spec.rounds} "
            "rounds are kept as checkpoints; allow more in limits.deadline"
        )
    budget = limits.budget_usd if job.rounds_done < job.spec.rounds else None
    if budget is not None and cost_at(job, now + LEAVING) >= budget * 1_000_000:
        return BudgetExceeded(
            f"the cost is ${cost_at(job, now) / 1_000_000:.6g} and reaches the budget of "
            f"${budget:g} by the time its machine is gone; {job.rounds_done} of "
            f"{job.spec.rounds} rounds are kept as checkpoints; allow more in limits.budget_usd"
        )
    return None
