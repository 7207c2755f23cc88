"""What is kept of a job's aggregators, so that its bill is right however many were lost."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from fedspan.app import App
from fedspan.domain.bills import Bill, Incarnation, bill
from fedspan.domain.jobs import Job, Pace, address_price
from fedspan.domain.rates import Messages, Rates
from fedspan.domain.rounds import Round, Status
from fedspan.errors import BetweenRounds, FedspanError, SpotNotice
from fedspan.stores.base import Change

log = structlog.get_logger()
KEPT: Final = frozenset({SpotNotice.__name__, BetweenRounds.__name__})
"""A machine that was told to leave kept the replies it had: nobody is asked again for them, and
the round that is completed with them counts them."""


def incarnation_row(app: App, job: Job, stopped: datetime, code: str) -> tuple[Change, ...]:
    """What is written with the end of a job's present aggregator, `code` being why it ended.
    Nothing where there is none, or where that was written."""
    if job.aggregator is None or job.aggregator.stopped is not None:
        return ()
    row = _incarnation(job, stopped, code)
    return (app.incarnations.put(row, _row(row.epoch), job.id, expected=0),)


def job_bill(app: App, job_id: str) -> Bill:
    """What the job has cost until now, or in all when it has ended.

    Raises:
        NotFound: no such job.
    """
    return bill_of(app, app.jobs.get(job_id).value)


def bill_of(app: App, job: Job) -> Bill:
    known = {one.epoch: one for _, one in app.incarnations.all(job.id)}
    if job.aggregator is not None and job.aggregator.epoch not in known:
        stopped = job.aggregator.stopped or app.now()
        known[job.aggregator.epoch] = _incarnation(job, stopped, "")
    rates = dict(app.rates.all(job.id))
    paired = [(one, rates.get(_row(one.epoch), Rates())) for one in known.values()]
    rounds = (one for _, one in app.rounds.all(job.id))
    until = job.since if job.ended else app.now()
    return bill(job.id, paired, rounds, settled=job.ended, until=until)


def with_traffic(app: App, job: Job, rounds: list[Round]) -> tuple[Job, tuple[Change, ...]]:
    """`job`, whose aggregator has just reported, with what its traffic costs and since when its
    round is under way, and what is written with it; `rounds` are those that were reported."""
    running = job.aggregator
    assert running is not None
    going = job.progress.round > job.rounds_done
    fresh = job.pace is not None and not running.sent  # its next round may cost more than the last
    if not rounds and not going and not fresh:
        quiet = {"begun": None, "traffic": running.settled}
        return job.model_copy(update={"aggregator": running.model_copy(update=quiet)}), ()
    rates, row = _rates(app, job)
    sent = running.sent or rates.counted()
    for one in rounds:
        if one.epoch == job.epoch:
            sent = rates.counted(sent, _messages(job, one))
    settled = traffic = rates.charge(sent)
    if going:
        model, program = _sizes(job)
        told = Messages.of(job.progress.participants, model, program)
        traffic = rates.charge(rates.counted(sent, told))
    begun = (None if rounds else running.begun) or app.now()
    after = {
        "sent": sent,
        "settled": settled,
        "traffic": traffic,
        "begun": begun if going else None,
    }
    pace = _pace(job, rounds, rates, sent)
    changed = {"aggregator": running.model_copy(update=after), "pace": pace}
    return job.model_copy(update=changed), row


def _pace(job: Job, rounds: list[Round], rates: Rates, sent: tuple[int, ...]) -> Pace | None:
    """What the next round is expected to take: as long as the latest, or its slowest participant
    where the aggregator was away meanwhile, and its messages at what they cost after those `sent`.
    Before an aggregator's first round, everybody is sent them."""
    if rounds:
        latest = rounds[-1]
        trained = max((one.seconds for one in latest.participants.values()), default=0.0)
        told, seconds = _messages(job, latest), max(latest.seconds, trained)
    elif job.pace is not None and not any(sent):
        everybody = job.spec.participants
        told = Messages((*everybody, *everybody), everybody, *_sizes(job))
        seconds = job.pace.seconds
    else:
        return job.pace
    more = rates.charge(rates.counted(sent, told)) - rates.charge(sent)
    return Pace(seconds=seconds, traffic=more)


def _messages(job: Job, one: Round) -> Messages:
    return Messages.of(one.participants, one.checkpoint.bytes, _sizes(job)[1])


def _incarnation(job: Job, stopped: datetime, code: str) -> Incarnation:
    running = job.aggregator
    assert running is not None
    begun, (model, program) = running.begun, _sizes(job)
    people = job.progress.participants if begun else {}
    asked = {name for name, part in people.items() if part.asked}
    replied = {name for name, part in people.items() if part.status is Status.DONE}
    if code in KEPT:
        asked, replied = asked - replied, set()
    return Incarnation(
        epoch=running.epoch,
        offer=running.offer,
        address=address_price(job),
        launched=running.launched,
        stopped=stopped,
        code=code,
        begun=begun,
        round=job.progress.round if begun else 0,
        asked=tuple(sorted(asked)),
        replied=tuple(sorted(replied)),
        evaluated=tuple(sorted(name for name, part in people.items() if part.evaluated)),
        bytes=model,
        program=program,
        sent=running.sent,
    )


def _sizes(job: Job) -> tuple[int, int]:
    """Bytes of its model, and of the program that travels with it."""
    if job.placement is None:
        return 0, 0
    return job.placement.answer.model_bytes, job.placement.answer.program_bytes


def _rates(app: App, job: Job) -> tuple[Rates, tuple[Change, ...]]:
    """How this incarnation's traffic is billed, and the row to be written where it is not: read
    from the book once, so that a newer one changes no bill. A job is not lost because the book
    cannot be read; its traffic then counts as nothing until it can."""
    found = app.rates.find(_row(job.epoch), job.id)
    if found is not None:
        return found.value, ()
    try:
        made = _from_book(app, job)
    except FedspanError as exc:
        error = f"{type(exc).__name__}: {exc}"
        log.warning("RatesUnknown", job=job.id, epoch=job.epoch, error=error)
        return Rates(), ()
    return made, (app.rates.put(made, _row(job.epoch), job.id, expected=0),)


def _from_book(app: App, job: Job) -> Rates:
    from fedspan.placement.rates import earlier, rates  # NumPy loads where the book is read
    from fedspan.services import books
    from fedspan.services.participants import participants_of

    assert job.aggregator is not None
    book, before = books.current(app), dict(app.rates.all(job.id))
    sent = [(before[id], one.sent) for id, one in app.incarnations.all(job.id) if id in before]
    return rates(
        book,
        job.aggregator.offer,
        participants_of(app, job.spec, book),
        used_gb=job.spec.placement.egress_used_gb,
        earlier=earlier(sent),
    )


def _row(epoch: int) -> str:
    return f"{epoch:06d}"
