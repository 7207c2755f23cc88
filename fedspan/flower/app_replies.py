"""The replies of an app's round under way, so that a machine that is taken back can keep them.

What an app's strategy makes of replies is its own affair, so nothing of that is kept. The next
incarnation runs the round's code again; of whom that asks what an earlier one asked, the reply is
taken from the store, and is as the participant's present node would have sent it. What was asked
counts by its hash, which has neither nodes nor messages in it: these are others each time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, RecordDict
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray

from fedspan.domain.reports import AggregatorManifest
from fedspan.errors import Corrupt, NotFound
from fedspan.flower import internals, partials
from fedspan.flower.partials import Answer, Partial, Start
from fedspan.flower.replies import name_of
from fedspan.objects.base import Objects


@dataclass(frozen=True, slots=True)
class _Came:
    """A reply of this incarnation's own."""

    participant: str
    question: str
    seconds: float
    content: RecordDict


class Replies:
    """Those of one round of a job at a time. `_kept` is what earlier incarnations left of it,
    `_due` what of that was not taken yet."""

    def __init__(self, manifest: AggregatorManifest, objects: Objects) -> None:
        self._manifest, self._objects = manifest, objects
        self._number = 0
        self._held: Partial | None = None
        self._kept: list[Answer] = []
        self._due: list[Answer] = []
        self._came: list[_Came] = []

    def resume(self, done: int) -> None:
        """Look for what was kept of the round after `done`; of those before it nothing is of use.

        Raises:
            StaleEpoch
        """
        manifest = self._manifest
        partials.discard(self._objects, manifest.job, done)
        self._open(done + 1)
        self._held = partials.find(self._objects, self._start(), manifest.epoch)
        self._kept = list(self._held.answers) if self._held else []
        self._due = list(self._kept)

    def open(self, number: int) -> None:
        """Round `number` goes on; another one begins without replies."""
        if number != self._number:
            self._open(number)

    def take(self, participant: str, asked: Message) -> tuple[Message, float] | None:
        """The reply to `asked` that was kept, and after how many seconds it had come."""
        question = question_of(asked)
        while one := self._next(participant, question):
            self._due.remove(one)
            try:
                content = self._read(one.reply)
            except (Corrupt, NotFound) as exc:
                self._kept.remove(one)
                partials.ignored(self._start(), exc)
            else:
                return _reply(content, asked), one.seconds
        return None

    def add(self, participant: str, question: str, content: RecordDict, seconds: float) -> None:
        """A reply has come. Whatever the app does to it, here it stays as it is."""
        self._came.append(_Came(participant, question, seconds, _copy(content)))

    def keep(self) -> None:
        """Store what there is of the round, if that is more than was kept of it before."""
        if not self._came:
            return
        came = [(one, one.content.object_id) for one in self._came]
        files = self._held.files if self._held else {}
        answers = [
            Answer(
                participant=one.participant,
                question=one.question,
                reply=reply,
                seconds=one.seconds,
            )
            for one, reply in came
        ]
        partial = Partial(
            start=self._start(),
            epoch=self._manifest.epoch,
            answers=(*self._kept, *answers),
            files={one.reply: files[one.reply] for one in self._kept},
        )
        parts = ((reply, _deflated(one.content)) for one, reply in came)
        partials.keep(self._objects, partial, parts)

    def _open(self, number: int) -> None:
        self._number, self._held = number, None
        self._kept, self._due, self._came = [], [], []

    def _start(self) -> Start:
        """Of an app's round the questions say the rest."""
        manifest = self._manifest
        bundle = manifest.spec.model.sha256
        assert bundle is not None
        return Start(job=manifest.job, round=self._number, strategy="", model=bundle)

    def _next(self, participant: str, question: str) -> Answer | None:
        wanted = participant, question
        return next((one for one in self._due if (one.participant, one.question) == wanted), None)

    def _read(self, reply: str) -> RecordDict:
        """Raises `Corrupt`, `NotFound`."""
        assert self._held is not None
        return _inflated(reply, self._held.part(self._objects, reply))


def question_of(message: Message) -> str:
    """A hash of what a participant is asked."""
    asked = message.metadata
    return name_of([asked.message_type, asked.group_id, message.content.object_id])


def _reply(content: RecordDict, asked: Message) -> Message:
    """As from the node that is `asked`; Flower's grid sets both ids in this way."""
    vars(asked.metadata)["_message_id"] = asked.object_id
    reply = Message(content, reply_to=asked)
    vars(reply.metadata)["_message_id"] = reply.object_id
    return reply


def _copy(content: RecordDict) -> RecordDict:
    """The same values in records of its own; those of arrays are not copied, as nobody can change
    them in place."""
    return RecordDict(
        {
            name: ArrayRecord({key: _array(one) for key, one in record.items()})
            if isinstance(record, ArrayRecord)
            else copy.deepcopy(record)
            for name, record in content.items()
        }
    )


def _array(one: Array) -> Array:
    return Array(one.dtype, one.shape, one.stype, one.data)


def _deflated(content: RecordDict) -> dict[str, NDArray[Any]]:
    """What Flower would send, by its hash. Raises `Corrupt`."""
    with _flowers(content.object_id):
        nested = internals.call(internals.NESTED)(content)
        return {name: np.frombuffer(one.deflate(), np.uint8) for name, one in nested.items()}


def _inflated(reply: str, parts: Mapping[str, NDArray[Any]]) -> RecordDict:
    """What `_deflated` was given. Raises `Corrupt`."""
    with _flowers(reply):
        contents = {name: one.tobytes() for name, one in parts.items()}
        found = internals.call(internals.INFLATE)(reply, contents)
        if not isinstance(found, RecordDict):
            raise TypeError(type(found).__name__)
        return found


@contextmanager
def _flowers(reply: str) -> Iterator[None]:
    """Whatever Flower throws at a reply."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, DecodeError) as exc:
        raise Corrupt(f"reply {reply}: {type(exc).__name__}: {exc}") from exc
