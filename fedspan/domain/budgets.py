"""Whether a job's next round still fits its budget."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from fedspan.domain.jobs import LEAVING, Job, cost_at
from fedspan.errors import BudgetExceeded

NEARLY: Final = 0.8
"""The share of a budget from which on people are warned."""


def warning(job: Job, now: datetime) -> str:
    """What people should hear once most of the budget is used; else empty."""
    budget, cost = job.spec.limits.budget_usd, cost_at(job, now) / 1_000_000
    if budget is None or job.warned or cost < NEARLY * budget:
        return ""
    return (
        f"${cost:.6g} of the budget of ${budget:g} are used ({cost / budget:.0%}), with "
        f"{job.rounds_done} of {job.spec.rounds} rounds done; the job ends before it is passed"
    )


def next_round(job: Job, now: datetime) -> BudgetExceeded | None:
    """Why the round under way, or the next one, must not be: it would take the cost past the
    budget if it takes what the latest one did, and the machine's end what that takes."""
    running, pace, budget = job.aggregator, job.pace, job.spec.limits.budget_usd
    if running is None or pace is None or budget is None or job.rounds_done >= job.spec.rounds:
        return None
    ready = max(now, (running.begun or now) + timedelta(seconds=pace.seconds))
    sent = max(running.traffic, running.settled + pace.traffic)
    then = job.model_copy(update={"aggregator": running.model_copy(update={"traffic": sent})})
    expected = cost_at(then, ready + LEAVING) / 1_000_000
    if expected <= budget:
        return None
    return BudgetExceeded(
        f"round {job.rounds_done + 1} would take the cost from ${cost_at(job, now) / 1e6:.6g} to "
        f"about ${expected:.6g}, past the budget of ${budget:g}; {job.rounds_done} of "
        f"{job.spec.rounds} rounds are kept as checkpoints; allow more in limits.budget_usd"
    )
