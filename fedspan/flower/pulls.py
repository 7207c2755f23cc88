"""Replies on their way.

Flower tells of a reply as soon as its sender begins to send it, and its `pull_messages` then waits
for the rest: as long as a slow link takes, and three minutes for a sender that died meanwhile. So
each is pulled in a thread of its own. When that takes longer than what is there already would,
the exchange goes on without it, for other replies, a spot notice, or the end of the round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

from flwr.app import Message
from flwr.serverapp import Grid

SOON_SECONDS: Final = 1.0
"""A reply that is there whole is pulled within this, or soon after: models are large."""

STALLED_SECONDS: Final = 5.0
"""What is pulled for so long from a node that is gone will not come any more."""

LAST_SECONDS: Final = 5.0
"""A machine that is taken back has at least 30 s; so long it waits for what is under way."""

AT_ONCE: Final = 8
"""Slow replies under way at a time: each may take as much memory as a model."""


class Pulls:
    """The pulls over `grid`, by the ids of the messages that are replied to."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._running: dict[str, _Pull] = {}

    def __iter__(self) -> Iterator[str]:
        """Those that take long."""
        return iter(tuple(self._running))

    def look(self, identity: str) -> Message | None:
        """The reply, once it is there whole. Raises what Flower does."""
        one = self._running.get(identity)
        if one is None:
            if len(self._running) >= AT_ONCE:
                return None
            one = self._running[identity] = _Pull(self._grid, identity)
            one.over.wait(SOON_SECONDS)
        if not one.over.is_set():
            return None
        del self._running[identity]
        return one.result()

    def stalled(self, nodes: dict[str, int]) -> list[str]:
        """Those whose rest will not come; they are let go. `nodes` is who sends each."""
        late = time.monotonic() - STALLED_SECONDS
        old = [identity for identity, one in self._running.items() if one.began < late]
        connected = {*self._grid.get_node_ids()} if old else set()
        gone = [identity for identity in old if nodes[identity] not in connected]
        for identity in gone:
            del self._running[identity]
        return gone

    def finish(self, seconds: float) -> list[str]:
        """Those that are there within `seconds`; none is begun any more."""
        end = time.monotonic() + seconds
        return [
            identity
            for identity, one in self._running.items()
            if one.over.wait(max(0.0, end - time.monotonic()))
        ]


class _Pull:
    """One call of Flower's. Nothing waits for its thread: what is let go ends by itself."""

    def __init__(self, grid: Grid, identity: str) -> None:
        self.began = time.monotonic()
        self.over = threading.Event()
        self._messages: Iterable[Message] = ()
        self._fault: BaseException | None = None
        threading.Thread(target=self._run, args=(grid, identity), daemon=True).start()

    def result(self) -> Message | None:
        if self._fault is not None:
            raise self._fault
        return next(iter(self._messages), None)

    def _run(self, grid: Grid, identity: str) -> None:
        try:
            self._messages = list(grid.pull_messages([identity]))
        except BaseException as exc:  # raised where the reply is looked for
            self._fault = exc
        finally:
            self.over.set()
