"""Following a job to its end, and what Ctrl-C means meanwhile."""

from __future__ import annotations

import contextlib
import signal
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, Self

from fedspan.cli.api import Api
from fedspan.cli.session import Interrupted, Session
from fedspan.cli.view import Seen, view_on
from fedspan.domain.jobs import Job, JobState
from fedspan.errors import FedspanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedspan.domain.events import Event
    from fedspan.domain.rounds import Round

LOOK_SECONDS: Final = 0.25
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Presses:
    """Counts Ctrl-C (and SIGTERM) while the block runs, so that none falls between a job's
    creation and the moment we know its id. A terminal that closes counts as the first press
    only, for it may say so twice; under ``nohup`` it does not count."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        heard = [one for one in SIGNALS if one != signal.SIGHUP or not _ignored(one)]
        self._before = {one: signal.signal(one, self._press) for one in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.count = max(self.count, 1) if number == signal.SIGHUP else self.count + 1


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def watch(session: Session, api: Api, id: str) -> Job:
    """Show the job until it ends; Ctrl-C leaves it running."""
    try:
        return _follow(session, api, id, None)
    except KeyboardInterrupt:
        raise Interrupted(
            f"job {id} goes on; `fedspan job watch {id}` shows it again, "
            f"`fedspan job cancel {id}` ends it"
        ) from None


def watch_ours(session: Session, api: Api, id: str, presses: Presses) -> Job:
    """Show a job that is this command's own, and goes with it: Ctrl-C cancels it, as does all
    else that ends the watching early, be it a reader that left. Either way its machines are
    waited for; a second Ctrl-C gives up waiting.

    Raises:
        Interrupted: on the second.
    """
    try:
        return _follow(session, api, id, presses)
    except Interrupted:
        raise
    except BaseException:
        _end_unseen(api, id, presses)
        raise


def _end_unseen(api: Api, id: str, presses: Presses) -> None:
    """Without a word: whoever listened may be gone."""
    with contextlib.suppress(FedspanError):  # the first error is the one to tell
        api.cancel(id)
        while not api.job(id).ended and presses.count < 2:
            time.sleep(LOOK_SECONDS)


def _follow(session: Session, api: Api, id: str, presses: Presses | None) -> Job:
    look = _Look(api, id)
    asked = cancelled = False
    with view_on(session.screen) as view:
        while True:
            seen = look(ending=cancelled)
            view.show(seen)
            if seen.job.state is JobState.WAITING_APPROVAL and not asked:
                _ask(session, seen.job)
                asked = True
            if seen.job.ended:
                return seen.job
            if presses is not None and presses.count >= 2:
                raise Interrupted(_still_ending(session, seen.job))
            if presses is not None and presses.count == 1 and not cancelled:
                session.say(f"cancelling job {id}; its machines are taken down first")
                _cancel(session, api, seen.job)
                cancelled = True
            time.sleep(LOOK_SECONDS)


def _ask(session: Session, job: Job) -> None:
    from fedspan.cli import render

    for one in render.places(job):
        session.screen.print(one)
    session.say(render.approval(job, session.path))


def _cancel(session: Session, api: Api, job: Job) -> None:
    try:
        api.cancel(job.id)
    except FedspanError:
        session.say(_still_ending(session, job))
        raise


def _still_ending(session: Session, job: Job) -> str:
    return (
        f"job {job.id} has not ended ({job.state}), and its machines may run; "
        f"`fedspan up --home {session.path}` carries its end on, "
        f"`fedspan job show {job.id} --home {session.path}` tells what is left"
    )


class _Look:
    """Asks for rounds and events only when the job has changed."""

    def __init__(self, api: Api, id: str) -> None:
        self._api = api
        self._id = id
        self._job: Job | None = None
        self._rounds: Sequence[Round] = ()
        self._events: Sequence[Event] = ()

    def __call__(self, *, ending: bool) -> Seen:
        job, before = self._api.job(self._id), self._job
        if before is None or job.rounds_done != before.rounds_done:
            self._rounds = self._api.rounds(self._id)
        if before is None or _told(job) != _told(before):
            self._events = self._api.events(self._id)
        self._job = job
        return Seen(job, self._rounds, self._events, ending or job.cancel_requested)


def _told(job: Job) -> tuple[object, ...]:
    """What does not change without an event; heartbeats do."""
    statuses = [(name, part.status) for name, part in job.progress.participants.items()]
    return job.state, job.epoch, job.rounds_done, job.outcome, job.cancel_requested, statuses
