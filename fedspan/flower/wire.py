"""What aggregator and participant send each other inside Flower's messages.

All parameters travel as one flat array: Flower moves every array as two or more objects,
so a model of 400 tensors costs minutes over a WAN, packed seconds. A task says everything a
participant needs, so a ClientApp holds nothing between messages. What arrives is checked here,
once; a reply that fails the check is that participant's failure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeGuard, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray
from pydantic import PositiveInt

from fedspan.domain import values
from fedspan.domain.spec import JobSpec
from fedspan.domain.texts import brief
from fedspan.errors import FedspanError, TrainingFailed
from fedspan.flower.folding import Flat, finite, view

ARRAYS: Final = "arrays"
CONFIG: Final = "config"
METRICS: Final = "metrics"
PROGRAM: Final = "program"
FLAT: Final = "flat"
TASK: Final = "task"
EXAMPLES: Final = "num-examples"
LOSS: Final = "train_loss"
SECONDS: Final = "seconds"
CONFUSION: Final = "confusion"
LOSS_SUM: Final = "loss_sum"

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)

_RAISED = re.compile(r"<class '(?:.*\.)?(\w+)'>:<'(.*)'>", re.DOTALL)
"""How Flower tells of an exception of a ClientApp."""

MOST: Final = 2**31
"""Rows one participant can have; sums over all participants stay far below 2**63."""

_HUGE: Final = 1e100
"""No loss and no time is larger, and no sum of such numbers is infinite."""


class Task(values.Message):
    """What a participant is asked to do, beside the parameters."""

    job: str
    round: PositiveInt
    spec: JobSpec
    features: tuple[PositiveInt, ...]
    classes: tuple[str, ...]

    def record(self) -> ConfigRecord:
        return ConfigRecord({TASK: self.model_dump_json()})


@dataclass(frozen=True, slots=True)
class Trained:
    """A participant's model of a round; `array` is `flat` as Flower holds it."""

    array: Array
    flat: Flat
    examples: int
    loss: float
    seconds: float

    def content(self) -> RecordDict:
        metrics = MetricRecord({EXAMPLES: self.examples, LOSS: self.loss, SECONDS: self.seconds})
        return RecordDict({ARRAYS: arrays(self.array), METRICS: metrics})


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Counts over a participant's held-out rows: `confusion[true][predicted]`."""

    confusion: NDArray[np.int64]
    loss_sum: float

    def content(self) -> RecordDict:
        metrics = MetricRecord(
            {
                CONFUSION: [int(count) for count in self.confusion.flat],
                LOSS_SUM: self.loss_sum,
                EXAMPLES: int(self.confusion.sum()),
            }
        )
        return RecordDict({METRICS: metrics})


def arrays(array: Array) -> ArrayRecord:
    """The record of a packed model, around `array` itself."""
    record = ArrayRecord()
    record[FLAT] = array
    return record


def program_record(program: bytes) -> ArrayRecord:
    """A torch.export program as a record beside the parameters."""
    record = ArrayRecord()
    record[PROGRAM] = Array(np.frombuffer(program, np.uint8))
    return record


def task_of(message: Message) -> Task:
    return Task.model_validate_json(str(config_of(message)[TASK]))


def config_of(message: Message) -> ConfigRecord:
    return _the(ConfigRecord, message.content)


def flat_of(message: Message) -> Flat:
    """The parameters in `message`, without a copy."""
    return view(_the(ArrayRecord, message.content)[FLAT])


def program_of(message: Message) -> bytes | None:
    record = message.content.get(PROGRAM)
    return view(record[PROGRAM]).tobytes() if isinstance(record, ArrayRecord) else None


def trained_of(message: Message, like: Flat) -> Trained:
    """The reply to a train message about the model `like`.

    Raises:
        TrainingFailed: it is an error, another shape or dtype, holds NaN, or makes no sense at
            all; in a sentence.
    """
    with _reading():
        metrics = _metrics(message)
        record = _the(ArrayRecord, message.content)
        if list(record) != [FLAT]:
            raise TrainingFailed("its reply does not hold one packed array")
        flat = view(record[FLAT])
        if (flat.shape, flat.dtype) != (like.shape, like.dtype):
            want, given = f"{like.dtype}{like.shape}", f"{flat.dtype}{flat.shape}"
            raise TrainingFailed(brief(f"its model is {given}, the job's is {want}"))
        loss, examples = _number(metrics, LOSS), metrics.get(EXAMPLES)
        if not finite(flat):
            raise TrainingFailed("its parameters are not finite")
        if not _is_count(examples) or not examples:
            raise TrainingFailed(f"its {EXAMPLES} is no whole number from 1 to {MOST}")
        seconds = max(0.0, _number(metrics, SECONDS))
        return Trained(record[FLAT], flat, examples, loss, seconds)


def evaluated_of(message: Message, classes: int) -> Evaluated:
    """The reply to an evaluate message.

    Raises:
        TrainingFailed: it is an error, counts other classes, its loss is not finite, or it makes
            no sense at all.
    """
    with _reading():
        metrics = _metrics(message)
        counts = metrics.get(CONFUSION)
        if not isinstance(counts, list) or len(counts) != classes**2:
            raise TrainingFailed(f"its counts are not those of {classes} classes")
        if not all(map(_is_count, counts)):
            raise TrainingFailed(f"its counts are not all whole numbers from 0 to {MOST}")
        confusion = np.array(counts, np.int64).reshape(classes, classes)
        return Evaluated(confusion, _number(metrics, LOSS_SUM))


def failure(message: Message, exc: Exception) -> Message:
    """The reply that tells the aggregator of `exc`, in words it shows to people.

    What reads data raises errors of ours without values of it. Any other exception may quote
    them, so its name alone is told.
    """
    name = type(exc).__name__
    reason = brief(f"{name}: {exc}") if isinstance(exc, FedspanError) else name
    error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
    return Message(error, reply_to=message)


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever a reply makes its reader throw is its sender's failure, never the job's."""
    try:
        yield
    except TrainingFailed:
        raise
    except Exception as exc:
        told = str(exc) if isinstance(exc, ValueError) else type(exc).__name__
        raise TrainingFailed(brief(f"its reply cannot be read: {told}")) from exc


def _metrics(message: Message) -> MetricRecord:
    if message.has_error():
        raise TrainingFailed(reason(message.error))
    return _the(MetricRecord, message.content)


def _the(kind: type[R], content: RecordDict) -> R:
    """The record of its kind in `content`; empty if there is none, the first if there are more.

    Flower's own `content.array_records` makes a reference cycle, which keeps the whole model in
    memory until the garbage collector comes by.
    """
    return next((one for one in content.values() if isinstance(one, kind)), kind())


def reason(error: Error) -> str:
    """What a reply that is an error says, for people."""
    said = (error.reason or f"Flower error {error.code}").strip()
    raised = _RAISED.fullmatch(said)
    return brief(f"{raised[1]}: {raised[2]}" if raised else said)


def _number(metrics: MetricRecord, key: str) -> float:
    value = metrics.get(key)
    if not isinstance(value, int | float):
        raise TrainingFailed(f"its {key} is no number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > _HUGE:
        raise TrainingFailed(f"its {key} is {number}")
    return number


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST
