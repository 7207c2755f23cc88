"""How a job is changed: load, decide, write all or nothing, and again when someone was faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from fedspan.app import App
from fedspan.domain.events import Event, Level
from fedspan.domain.jobs import MOVES, Job, JobState, move
from fedspan.errors import Conflict, JobCancelled
from fedspan.stores.base import MAX_CHANGES, Change

ATTEMPTS: Final = 20
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """A job as it should be, what people should hear of it, and what is written with it."""

    job: Job
    events: tuple[Event, ...] = ()
    also: tuple[Change, ...] = field(default=())


def change(app: App, job_id: str, decide: Callable[[Job], Step]) -> Job:
    """Write what `decide` makes of the job, with its events, in one transaction.

    `decide` may run several times; it changes nothing itself.

    Raises:
        NotFound: no such job.
        Conflict: others were faster each time; try again.
    """
    for _ in range(ATTEMPTS):
        found = app.jobs.get(job_id)
        step = decide(found.value)
        if step.job == found.value and not step.events and not step.also:
            return step.job
        put = app.jobs.put(step.job, job_id, expected=found.version)
        try:
            app.store.write([put, *_numbered(app, step.events, found.version + 1), *step.also])
        except Conflict:
            continue
        for event in step.events:
            log.info(event.code, job=job_id, message=event.message, site=event.site)
        return step.job
    raise Conflict(f"job {job_id} is being changed by others; try again")


def write_all(app: App, changes: Sequence[Change]) -> None:
    """Write `changes` that may come one after another, as many at a time as a store takes."""
    for start in range(0, len(changes), MAX_CHANGES):
        app.store.write(changes[start : start + MAX_CHANGES])


def _numbered(app: App, events: Sequence[Event], version: int) -> list[Change]:
    """Events lie in the order of the job's versions, so none is written twice."""
    return [
        app.events.put(event, f"{version:08d}-{index:03d}", event.job, expected=0)
        for index, event in enumerate(events)
    ]


def event(
    app: App,
    job: Job,
    code: str,
    message: str,
    *,
    level: Level = Level.INFO,
    site: str | None = None,
    round: int | None = None,
) -> Event:
    return Event(
        at=app.now(), level=level, code=code, message=message, job=job.id, site=site, round=round
    )


def past(job: Job, state: JobState) -> bool:
    """Whether the job has left `state` behind: an execution that was started anew walks through
    the steps that are done without doing them again."""
    return job.outcome is not None or _rank(job.state) > _rank(state)


def _rank(state: JobState) -> float:
    """How far along a state is. Recovering and resting lead to placing, so they come just before
    it."""
    order = list(MOVES)
    if state in (JobState.RECOVERING, JobState.RESTING):
        return order.index(JobState.PLACING) - 0.5
    return order.index(state)


def enter(app: App, job_id: str, state: JobState) -> Job:
    """The job in `state`, or already past it.

    Raises:
        JobCancelled: a person asked for its end.
    """

    def decide(job: Job) -> Step:
        if job.cancel_requested and not past(job, JobState.SAVING):
            raise JobCancelled(f"job {job_id} was cancelled")
        if job.state is state or past(job, state):
            return Step(job)
        return Step(move(job, state, app.now()))

    return change(app, job_id, decide)
