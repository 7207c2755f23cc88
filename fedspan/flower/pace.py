"""How long Flower's processes wait for each other: as short as can be, and free when idle.

Stock Flower sleeps and asks again. Between two processes of one machine a pipe says when there
is work (`Bell`). Over the network the SuperLink holds an empty answer back until there is
something to ask for (`Held`), so that a SuperNode asks seldom and learns at once. It is the empty
answer that waits, never a message: one that left on a connection which died meanwhile would be
lost, while a SuperNode that asks again gets it as from a stock SuperLink.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

HELD_SECONDS: Final = 10.0
"""How long an empty answer may wait: below every time limit on the way."""

SETTLE_SECONDS: Final = 0.01
"""Objects follow their message one by one; asking before they are there costs a retry."""

ASKS_FOR_WORK: Final = "/v1/fleet/pull-messages"
BRINGS_WORK: Final = frozenset({"/v1/runtime/push-messages", "/v1/runtime/push-object"})

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[None]]


class Bell:
    """A pipe between two children of one parent: `ring` in one ends `wait` in the other."""

    def __init__(self) -> None:
        self.heard, self.rung = os.pipe()
        os.set_blocking(self.heard, False)
        os.set_blocking(self.rung, False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.rung, b"!")

    def wait(self, seconds: float) -> None:
        """Until it rings, or `seconds` have passed."""
        if select.select([self.heard], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self.heard, 4096)

    def close(self) -> None:
        os.close(self.heard)
        os.close(self.rung)


class SuperNodePauses:
    """Takes the place of ``time.sleep`` in the SuperNode's loop.

    The loop sleeps for seconds when the SuperLink had no message for it, and for less while it
    waits for the ClientApp's reply. The wait grows with the time already waited, so that a
    trivial model costs milliseconds and hours of training cost nothing.
    """

    _ASKED_LONG: Final = 0.25
    _GAP: Final = 0.003

    def __init__(self, work_is_here: Callable[[], None]) -> None:
        self._work_is_here = work_is_here
        self._resumed = self._awaited = self._busy = time.monotonic()

    def sleep(self, seconds: float) -> None:
        now = time.monotonic()
        between = now - self._resumed
        time.sleep(self._idle(now, between) if seconds >= 1 else self._reply(now, between))
        self._resumed = time.monotonic()

    def _idle(self, now: float, asked_for: float) -> float:
        """A SuperLink that held the answer was asked long; a stock one needs a pause."""
        if asked_for >= self._ASKED_LONG:
            return 0.0
        return min(1.0, max(0.02, (now - self._busy) / 50))

    def _reply(self, now: float, between: float) -> float:
        if between > self._GAP:  # since the last pause a message was fetched
            self._awaited = now
            self._work_is_here()
        self._busy = now
        return min(0.5, max(0.004, (now - self._awaited) / 50))


class Held:
    """ASGI middleware of the SuperLink: an empty answer waits until it may no longer be one.

    Only what the SuperLink itself answered with 200 is held, so no stranger can make it wait.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._work = _News()

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == ASKS_FOR_WORK:
            send = _held(send, self._work)
        await self._app(scope, receive, send)
        if path in BRINGS_WORK:
            self._work.tell()


class Only:
    """ASGI middleware that is asked about the paths it is for, and costs nothing on others.

    Flower passes each request through nine, and most look at its path and pass it on: a quarter
    of a millisecond each, for every object of every participant.
    """

    def __init__(self, app: App, prefix: str, inner: Callable[[App], App]) -> None:
        self._prefix = prefix
        self._without = app
        self._with = inner(app)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        concerned = str(scope.get("path", "")).startswith(self._prefix)
        await (self._with if concerned else self._without)(scope, receive, send)


class _News:
    """Waiters are woken a moment after the last `tell`."""

    def __init__(self) -> None:
        self.count = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._due: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        self.count += 1
        if self._due:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._wake)

    async def wait(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _held(send: Send, news: _News) -> Send:
    """`send`, but an empty 200 leaves only when there is news since now, or after a
    while."""
    before = news.count
    start: Event | None = None

    async def sending(event: Event) -> None:
        nonlocal start
        if event["type"] == "http.response.start" and event["status"] == 200:
            start = event
            return
        if start is not None:
            empty = not event.get("body") and not event.get("more_body")
            if empty and news.count == before:
                await news.wait(HELD_SECONDS)
            held, start = start, None
            await send(held)
        await send(event)

    return sending
