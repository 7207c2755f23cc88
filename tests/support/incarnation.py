"""An incarnation of an aggregator whose every step a test decides: the product's own ServerApp,
over participants and an object store that wait to be let on.

It runs in one thread at a time: that of its ServerApp, or that of a pull while the ServerApp waits
for it. So `fedspan.flower.pulls.SOON_SECONDS` must be as long as a test may take to let it on.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, Message

from fedspan.domain.reports import AggregatorManifest, AggregatorReport, Notice, Phase
from fedspan.flower.files import ServerStatus, WorkFolder
from fedspan.flower.folding import Flat
from fedspan.flower.server import serve
from fedspan.flower.wire import Evaluated, Trained, flat_of, task_of
from tests.support.grids import PushPullGrid
from tests.support.world import aggregator_says


def lineage(flat: Flat, number: int) -> float:
    """What stands first in every model of round `number` that was trained from `flat`."""
    digest = hashlib.sha256(number.to_bytes(4, "big") + flat.tobytes()).digest()
    return float(int.from_bytes(digest[:4], "big") % 2**20)


class Killed(BaseException):
    """What ends the thread of an incarnation that was killed."""


class Gate:
    """Where a thread waits for the test; killed, it never goes on."""

    def __init__(self) -> None:
        self.killed = False
        self._arrived, self._go = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self) -> None:
        if not self.killed:
            self._arrived.release()
            self._go.acquire()
        if self.killed:
            raise Killed

    def let_on(self) -> None:
        """Up to its next wait, or its end."""
        self._go.release()
        self._arrived.acquire()

    def arrive(self) -> None:
        self._arrived.release()


class Gated:
    """The object store as an incarnation sees it: each call waits."""

    def __init__(self, objects: Any, gate: Gate) -> None:
        self._objects, self._gate = objects, gate

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._gate.wait()
            return getattr(self._objects, name)(*args, **kwargs)

        return call


class Sites(PushPullGrid):
    """The participants: each reply waits, and none can be made twice. So rounds of two
    incarnations that got mixed are seen, and by `lineage` what each was trained from."""

    def __init__(self, names: Iterable[str], gate: Gate, news: Iterator[int]) -> None:
        self.ids = dict(enumerate(names, 1))
        self._gate, self._news = gate, news
        self._pending: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = {f"{one.metadata.dst_node_id}": one for one in messages}
        self._pending |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self._gate.wait()
        return [self._answer(self._pending.pop(one)) for one in message_ids]

    def _answer(self, message: Message) -> Message:
        if message.metadata.message_type == "train":
            made = flat_of(message).copy()
            made[:2] = lineage(made, task_of(message).round), next(self._news)
            return Message(Trained(Array(made), made, 1, 0.1, 0.5).content(), reply_to=message)
        confusion = np.array([[45, 5], [5, 45]], np.int64)
        return Message(Evaluated(confusion, 10.0).content(), reply_to=message)


class Incarnation:
    """A machine of an aggregator. Its ServerApp starts with the first manifest and stops before
    every call to the object store and every look for replies."""

    news = itertools.count(1)

    def __init__(self, job: str, epoch: int, folder: Path, objects: Any) -> None:
        self.job, self.epoch = job, epoch
        self.killed = False
        self._folder, self._objects = WorkFolder(folder), objects
        self._seq, self._acknowledged = 0, 0
        self._notice: Notice | None = None
        self._gate = Gate()
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def trains(self) -> bool:
        return self._thread is not None and not self._over and not self.killed

    @property
    def status(self) -> ServerStatus:
        return self._folder.status() or ServerStatus()

    def step(self, calls: int = 1) -> None:
        for _ in range(calls):
            if self.trains:
                self._gate.let_on()

    def kill(self) -> None:
        if self.trains:
            self._gate.killed = True
            self._gate.let_on()
        self.killed = True
        if self._thread is not None:
            self._thread.join()

    def notice(self, notice: Notice) -> None:
        """Its machine is about to be taken back."""
        self._notice = notice
        self._folder.write_notice(notice)

    def says(self) -> AggregatorReport:
        """As the supervisor puts it."""
        self._seq += 1
        status = self.status
        started = self._thread is not None
        return aggregator_says(
            self.job,
            self._seq,
            Phase.READY if started and status.phase is Phase.STARTING else status.phase,
            epoch=self.epoch,
            address="127.0.0.1:9" if started else None,
            certificate="CA" if started else None,
            progress=status.progress,
            rounds=tuple(one for one in status.rounds if one.number > self._acknowledged),
            fault=status.fault,
            notice=self._notice,
        )

    def told(self, manifest: AggregatorManifest) -> None:
        """The answer to a report."""
        if self.killed:
            return
        self._acknowledged = max(self._acknowledged, manifest.acknowledged)
        self._folder.write_desired(manifest)
        if self._thread is None:
            sites = Sites(manifest.spec.participants, self._gate, self.news)
            self._folder.write_nodes(sites.ids)
            self._thread = threading.Thread(target=self._run, args=(sites,), daemon=True)
            self._thread.start()
            self._gate._arrived.acquire()

    def _run(self, sites: Sites) -> None:
        try:
            serve(sites, self._folder, Gated(self._objects, self._gate), grace=0.0)
        except Killed:
            pass
        finally:
            self._over = True
            self._gate.arrive()
