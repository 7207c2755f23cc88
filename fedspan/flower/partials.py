"""What a machine that is taken back keeps of the round under way, so that nobody trains it twice.

``jobs/<job>/partial/<n>/<sha256>.safetensors``
    parts: the sum so far, replies whose turn had not come, or the model all of them made; of an
    app, each reply;
``jobs/<job>/partial/<n>/<epoch>.json``
    what the parts are, with a hash of itself, created last.

A partial round is a hint, never a commit: one of another round, another model, another format or
another strategy, or with one byte amiss, is as good as none, and the round is done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError

from fedspan.domain.rounds import Checkpoint, Participation, Status
from fedspan.domain.values import Message, Name, Sha256
from fedspan.errors import Conflict, Corrupt, FedspanError, NotFound, StaleEpoch, StoreError
from fedspan.flower import checkpoints
from fedspan.flower.files import scratch
from fedspan.flower.folding import Kept
from fedspan.learning.weights import write_weights
from fedspan.objects.base import Objects

FORMAT: Final = 1

MODEL: Final = "model"
STATE: Final = "state"
"""Parts of a round whose training is over: the packed model, and the strategy's state."""


class Start(Message):
    """What a round goes on from: its replies are of use to another that starts alike."""

    format: int = FORMAT
    job: str
    round: PositiveInt
    strategy: str
    model: Sha256


class Answer(Message):
    """What a participant of an app replied after `seconds`: the part `reply`, to what has the hash
    `question`."""

    participant: Name
    question: Sha256
    reply: Sha256
    seconds: NonNegativeFloat


class Partial(Message):
    """`order` is that of the sum. `kept` says what the parts are; None: of a training that is
    over, `MODEL` and `STATE`. Of an app there are `answers` alone."""

    start: Start
    epoch: PositiveInt
    order: tuple[Name, ...] = ()
    people: dict[Name, Participation] = Field(default_factory=dict)
    kept: Kept | None = None
    answers: tuple[Answer, ...] = ()
    files: dict[str, Checkpoint] = Field(default_factory=dict)

    @property
    def done(self) -> int:
        replied = sum(one.status is Status.DONE for one in self.people.values())
        return replied + len(self.answers)

    @property
    def worth(self) -> tuple[bool, int]:
        """Of two, the better one has more: what more training, or more replies, would not have
        to make again."""
        return self.kept is None, self.done

    def part(self, objects: Objects, name: str) -> dict[str, NDArray[Any]]:
        """Raises `Corrupt`, `NotFound`."""
        if name not in self.files:
            raise Corrupt(f"partial round {self.start.round}: it has no {name}")
        return checkpoints.read(objects, self.files[name])


class _Sealed(Message):
    partial: Partial
    sha256: Sha256


def keep(
    objects: Objects, partial: Partial, parts: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]
) -> None:
    """Store `partial` with its parts by name, beside the files it has; once an incarnation. That
    this fails costs the round, never the job."""
    told = {"job": partial.start.job, "round": partial.start.round, "replies": partial.done}
    try:
        _put(objects, partial, parts)
    except FedspanError as exc:
        structlog.get_logger().warning("partial.lost", **told, why=str(exc))
    else:
        structlog.get_logger().info("partial.kept", **told)


def ignored(start: Start, why: Exception) -> None:
    """Tell that what was kept of a round, or a part of it, is as good as none."""
    told = {"job": start.job, "round": start.round, "why": str(why)}
    structlog.get_logger().warning("partial.ignored", **told)


def find(objects: Objects, start: Start, epoch: int) -> Partial | None:
    """Of what was kept of the round `start`, what has most in it.

    Raises:
        StaleEpoch: a newer incarnation than `epoch` kept something of this very round.
    """
    stem = f"{_folder(start.job)}{start.round:06d}/"
    keys = [one.key for one in objects.list(stem) if one.key.endswith(".json")]
    found = [one for one in (_partial(objects, key) for key in keys) if one and one.start == start]
    for one in found:
        if one.epoch > epoch:
            raise StaleEpoch(
                f"job {start.job}: incarnation {one.epoch}, which has replaced this one, {epoch}, "
                f"kept a part of round {start.round}"
            )
    return max(found, key=lambda one: (one.worth, one.epoch), default=None)


def discard(objects: Objects, job: str, last: int) -> None:
    """Remove what was kept of rounds up to `last`, which are committed. What stays costs its
    room, until the job is forgotten."""
    with suppress(StoreError):
        # Records first: without one the rest counts for nothing.
        keys = [one.key for one in objects.list(_folder(job))]
        for key in sorted(keys, key=lambda key: not key.endswith(".json")):
            number = key.removeprefix(_folder(job)).partition("/")[0]
            if number.isdigit() and int(number) <= last:
                objects.delete(key)


def _put(
    objects: Objects, partial: Partial, parts: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]
) -> None:
    stem = f"{_folder(partial.start.job)}{partial.start.round:06d}"
    files = dict(partial.files)
    with scratch() as folder:
        for name, tensors in parts:
            if not tensors:
                continue
            path = folder / "part"
            sha256, size = write_weights(tensors, path)
            files[name] = Checkpoint(key=f"{stem}/{sha256}.safetensors", sha256=sha256, bytes=size)
            objects.put(files[name].key, path)
    whole = partial.model_copy(update={"files": files})
    sealed = _Sealed(partial=whole, sha256=_seal(whole))
    with suppress(Conflict):
        objects.put(f"{stem}/{partial.epoch:06d}.json", sealed.model_dump_json().encode(), new=True)


def _folder(job: str) -> str:
    return f"jobs/{job}/partial/"


def _partial(objects: Objects, key: str) -> Partial | None:
    try:
        sealed = _Sealed.model_validate_json(objects.get(key))
    except (NotFound, ValidationError):
        return None
    return sealed.partial if sealed.sha256 == _seal(sealed.partial) else None


def _seal(partial: Partial) -> str:
    return hashlib.sha256(partial.model_dump_json().encode()).hexdigest()
