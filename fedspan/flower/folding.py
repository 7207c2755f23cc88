"""The weighted mean of many models in the memory of two.

Replies are folded one by one, in place, into one accumulator: memory is the accumulator and the
reply at hand, however many participants there are. The order of the sum is fixed beforehand,
because float addition is not associative: a reply that comes before its turn waits as a file, so
the bits of the mean do not depend on who was quickest. The mean is that of Flower's `FedAvg`,
``sum(w_i * x_i) / sum(w_i)``, with weights counted in those of the first participant: a lone
participant's model comes out as it went in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from fedspan.domain.values import Message
from fedspan.errors import DiskFull
from fedspan.objects.files import writing

Flat = NDArray[Any]
"""All parameters of a model in one array of one dimension, float32 (float64 if one of them is)."""

CHUNK: Final = 256 * 1024
"""Floats a step: a chunk of the accumulator and the scratch stay in a core's cache."""


def view(array: Array) -> NDArray[Any]:
    """The values of a Flower array without a copy; read-only.

    Flower carries an array as a .npy file in memory, and `Array.numpy` copies it twice.

    Raises:
        ValueError: it is no .npy file, or one of objects.
    """
    try:
        return _view(array)
    except ValueError:
        raise
    except Exception as exc:  # a header is Python: hostile ones make its parsers throw anything
        raise ValueError(f"no header of a .npy file ({type(exc).__name__})") from exc


def _view(array: Array) -> NDArray[Any]:
    head = BytesIO(array.data[:4096])
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(head)
    if min(shape, default=0) < 0:
        raise ValueError("a dimension of it is negative")
    count = int(np.prod(shape, dtype=np.int64))
    values = np.frombuffer(array.data, dtype=dtype, count=count, offset=head.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def finite(flat: Flat) -> bool:
    """Whether no value is NaN or infinite. Reads memory once and writes none of it."""
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk in _chunks(flat):
            # A dot product is the fastest pass there is; huge finite values overflow it.
            if not np.isfinite(np.dot(chunk, chunk)) and not np.isfinite(chunk).all():
                return False
    return True


class Reply(Message):
    """A reply that is kept, beside its parameters."""

    examples: PositiveInt
    loss: float = 0.0
    seconds: float = 0.0


class Kept(Message):
    """What there is of a round's replies, beside their parameters: a sum of `total` examples,
    counted in those of the `first`, and replies that are in no sum. Those in `due` are in none
    yet, those of them in `skipped` never will."""

    due: tuple[str, ...] = ()
    total: NonNegativeInt = 0
    first: NonNegativeInt = 0
    skipped: tuple[str, ...] = ()
    replies: dict[str, Reply] = Field(default_factory=dict)


SUM: Final = "sum"


def part_of(participant: str) -> str:
    """The name of the part that holds a participant's parameters."""
    return f"reply/{participant}"


class Fold:
    """The mean of one model like `like` from each of `order`, summed in that order.

    Each participant is either added or skipped, at any time; `waiting` (a folder made here, and
    removed by `mean`) holds what came too early. The disk may need one model a participant, when
    they reply in reverse.
    """

    def __init__(self, order: Sequence[str], like: Flat, waiting: Path) -> None:
        self.total = 0
        self._due = list(order)
        self._early: dict[str, int | None] = {}
        self._first = 0
        self._sum: Flat = np.empty_like(like)
        self._scratch: Flat = np.empty(min(CHUNK, len(like)), like.dtype)
        self._waiting = waiting
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir(parents=True)

    def add(self, participant: str, flat: Flat, examples: int) -> None:
        """Fold in a reply of weight `examples`; `flat` is not kept.

        Raises:
            ValueError: another length or dtype than the model has, or no examples.
            DiskFull: no room for what came too early.
        """
        alike = (flat.shape, flat.dtype) == (self._sum.shape, self._sum.dtype)
        if not alike or examples < 1:
            raise ValueError(f"{participant}: {examples} examples of {flat.shape} cannot count")
        if self._due[0] == participant:
            self._fold(_chunks(flat), examples)
            self._due.pop(0)
            self._catch_up()
        else:
            self._wait(participant, flat, examples)

    def skip(self, participant: str) -> None:
        """`participant` has no reply in this round."""
        self._early[participant] = None
        self._catch_up()

    def kept(self) -> Kept:
        """How far it is; `parts` are the values that belong to it."""
        early = {one: Reply(examples=count) for one, count in self._early.items() if count}
        skipped = tuple(one for one, count in self._early.items() if count is None)
        return Kept(
            due=tuple(self._due),
            total=self.total,
            first=self._first,
            skipped=skipped,
            replies=early,
        )

    def parts(self) -> Iterator[tuple[str, Flat]]:
        """The sum and the replies that wait, one by one."""
        if self.total:
            yield SUM, self._sum
        for participant, examples in self._early.items():
            if examples is not None:
                yield (
                    part_of(participant),
                    np.fromfile(self._waiting / participant, self._sum.dtype),
                )

    def restore(self, kept: Kept, part: Callable[[str], Flat]) -> None:
        """Be as far as another fold was; to be called once, before anything else. `part` has what
        that one's `parts` were; what it raises leaves this one of no use."""
        if kept.total:
            np.copyto(self._sum, part(SUM))
        self._due, self.total, self._first = list(kept.due), kept.total, kept.first
        self._early = dict.fromkeys(kept.skipped)
        for participant, reply in kept.replies.items():
            self._wait(participant, part(part_of(participant)), reply.examples)

    def mean(self) -> Flat:
        """The mean of all that was added, handed over: call it once, when all had their turn."""
        if self._due or not self.total:
            raise ValueError(f"no mean yet: still due are {self._due}, {self.total} examples")
        shutil.rmtree(self._waiting)
        mean, self._sum = self._sum, np.empty_like(self._sum[:0])
        mean *= mean.dtype.type(self._first / self.total)
        return mean

    def _wait(self, participant: str, flat: Flat, examples: int) -> None:
        path = self._waiting / participant
        # Not `tofile`, which does not say that a disk is full.
        with writing(str(path), DiskFull), path.open("wb") as file:
            file.write(flat.data)
        self._early[participant] = examples

    def _catch_up(self) -> None:
        while self._due and self._due[0] in self._early:
            participant = self._due.pop(0)
            examples = self._early.pop(participant)
            if examples is not None:
                path = self._waiting / participant
                self._fold(self._stored(path), examples)
                path.unlink()

    def _stored(self, path: Path) -> Iterator[Flat]:
        """The chunks of a reply that waited; each is valid until the next is asked for."""
        buffer = np.empty_like(self._scratch)
        with path.open("rb") as file:
            for start in range(0, len(self._sum), CHUNK):
                part = buffer[: len(self._sum) - start]
                file.readinto(part.data)
                yield part

    def _fold(self, chunks: Iterator[Flat], examples: int) -> None:
        if not self.total:
            self._first = examples
        factor = self._sum.dtype.type(examples / self._first)
        for into, chunk in zip(_chunks(self._sum), chunks, strict=True):
            if not self.total:
                np.copyto(into, chunk)
            else:
                scaled = self._scratch[: len(chunk)]
                np.multiply(chunk, factor, out=scaled)
                np.add(into, scaled, out=into)
        self.total += examples


def _chunks(flat: Flat) -> Iterator[Flat]:
    for start in range(0, len(flat), CHUNK):
        yield flat[start : start + CHUNK]
