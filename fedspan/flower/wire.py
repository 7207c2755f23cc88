"""What aggregator and participant send each other inside Flower's messages.

All parameters travel as one flat array: Flower moves every array as two or more objects,
so a model of 400 tensors costs minutes over a WAN, packed seconds. A task says everything a
participant needs, so a ClientApp holds nothing between messages. What arrives is checked here,
once; a reply that fails the check is that participant's failure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray
from pydantic import PositiveInt

from fedspan.domain import values
from fedspan.domain.spec import JobSpec
from fedspan.errors import TrainingFailed
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

_REASON_CHARACTERS: Final = 500


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
        TrainingFailed: it is an error, another shape or dtype, or holds NaN; in a sentence.
    """
    metrics = _metrics(message)
    record = _the(ArrayRecord, message.content)
    if list(record) != [FLAT]:
        raise TrainingFailed("its reply does not hold one packed array")
    try:
        flat = view(record[FLAT])
    except ValueError as exc:
        raise TrainingFailed(f"its parameters cannot be read: {exc}") from exc
    if (flat.shape, flat.dtype) != (like.shape, like.dtype):
        want, given = f"{like.dtype}{like.shape}", f"{flat.dtype}{flat.shape}"
        raise TrainingFailed(f"its model is {given}, the job's is {want}")
    loss, examples = _number(metrics, LOSS), int(_number(metrics, EXAMPLES))
    if not finite(flat):
        raise TrainingFailed("its parameters are not finite")
    if examples < 1:
        raise TrainingFailed("it trained on no examples")
    seconds = max(0.0, _number(metrics, SECONDS))
    return Trained(record[FLAT], flat, examples, loss, seconds)


def evaluated_of(message: Message, classes: int) -> Evaluated:
    """The reply to an evaluate message.

    Raises:
        TrainingFailed: it is an error, counts other classes, or its loss is not finite.
    """
    metrics = _metrics(message)
    counts = metrics.get(CONFUSION)
    if not isinstance(counts, list) or len(counts) != classes**2 or min(counts) < 0:
        raise TrainingFailed(f"its counts are not those of {classes} classes")
    confusion = np.array(counts, np.int64).reshape(classes, classes)
    return Evaluated(confusion, _number(metrics, LOSS_SUM))


def failure(message: Message, exc: Exception) -> Message:
    """The reply that tells the aggregator of `exc`, in words it shows to people."""
    reason = f"{type(exc).__name__}: {exc}"[:_REASON_CHARACTERS]
    error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
    return Message(error, reply_to=message)


def _metrics(message: Message) -> MetricRecord:
    if message.has_error():
        raise TrainingFailed(_told(message.error))
    return _the(MetricRecord, message.content)


def _the(kind: type[R], content: RecordDict) -> R:
    """The record of its kind in `content`; empty if there is none, the first if there are more.

    Flower's own `content.array_records` makes a reference cycle, which keeps the whole model in
    memory until the garbage collector comes by.
    """
    return next((one for one in content.values() if isinstance(one, kind)), kind())


def _told(error: Error) -> str:
    reason = (error.reason or f"Flower error {error.code}").strip()
    raised = _RAISED.fullmatch(reason)
    return (f"{raised[1]}: {raised[2]}" if raised else reason)[:_REASON_CHARACTERS]


def _number(metrics: MetricRecord, key: str) -> float:
    value = metrics.get(key)
    if isinstance(value, list) or value is None or not math.isfinite(value):
        raise TrainingFailed(f"its {key} is {value}")
    return float(value)
