"""Flower's own strategies, made from a job's spec, fed in little memory, and kept across crashes.

Their code runs unchanged. Those that see the replies only through the weighted mean are given
one reply, the folded mean (`Averaged`); the rest need every reply (`Collected`), and their
memory grows with the participants. Whom a round asks is ours to choose (`grid.choose`), so a
strategy is built to take all the nodes it is shown.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.common.constant import SType
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
)
from numpy.typing import NDArray

from fedspan.domain.spec import StrategySpec
from fedspan.domain.strategies import AVERAGING, SHARED, STRATEGIES
from fedspan.errors import InvalidRequest, TrainingFailed
from fedspan.flower.folding import Flat, Fold, Kept, Reply, finite, part_of, view
from fedspan.flower.grid import Shown
from fedspan.flower.wire import ARRAYS, EXAMPLES, FLAT, METRICS, Trained, arrays

CLASSES: Final[dict[str, type[FedAvg]]] = {
    one.__name__: one
    for one in (
        FedAvg,
        FedAvgM,
        FedProx,
        FedAdam,
        FedYogi,
        FedAdagrad,
        FedMedian,
        FedTrimmedAvg,
        Krum,
        MultiKrum,
        Bulyan,
        QFedAvg,
    )
}

WHOLE: Final = frozenset({"num_malicious_nodes", "num_nodes_to_select"})
"""Options Flower takes as whole numbers; a spec holds every number as a float."""

OPTIMISER: Final = ("m_t", "v_t", "momentum_vector")
"""What strategies carry from round to round. `current_arrays` is carried too, but always equals
the model of the round, which a checkpoint holds and `configure_train` is given again."""


def build(spec: StrategySpec, needed: int) -> FedAvg:
    """The strategy of `spec`, needing `needed` nodes.

    Raises:
        InvalidRequest: Flower refuses an option's value.
    """
    name, _ = STRATEGIES[spec.name]
    options: dict[str, Any] = {
        key: int(value) if key in WHOLE else value
        for key, value in spec.options.items()
        if key not in SHARED
    }
    try:
        return CLASSES[name](
            min_train_nodes=needed,
            min_evaluate_nodes=needed,
            min_available_nodes=needed,
            **options,
        )
    except ValueError as exc:
        raise InvalidRequest(f"strategy {spec.name}: {exc}") from exc


def state(strategy: FedAvg) -> dict[str, NDArray[Any]]:
    """The arrays a strategy needs, beside the model, to go on as if it had never stopped."""
    kept: dict[str, NDArray[Any]] = {}
    for attribute in OPTIMISER:
        value = getattr(strategy, attribute, None)
        if isinstance(value, dict):
            kept |= {f"{attribute}/{key}": values for key, values in value.items()}
        elif isinstance(value, list):
            kept |= {f"{attribute}.{index}": values for index, values in enumerate(value)}
    return kept


def restore(strategy: FedAvg, kept: Mapping[str, NDArray[Any]]) -> None:
    """Give a new `strategy` what `state` took from the old one."""
    for attribute in OPTIMISER:
        named = {
            key.removeprefix(f"{attribute}/"): values
            for key, values in kept.items()
            if key.startswith(f"{attribute}/")
        }
        numbered = [kept[key] for key in _numbered(attribute, kept)]
        if named or numbered:
            setattr(strategy, attribute, named or numbered)


class Gathering(Protocol):
    """The replies of a round: each participant of it is added or skipped, in any order."""

    def add(self, participant: str, reply: Trained) -> None: ...

    def skip(self, participant: str) -> None: ...

    def replies(self) -> list[Message]:
        """What the strategy is given; once."""

    def kept(self) -> Kept:
        """How far it is; `parts` are the values that belong to it."""

    def parts(self) -> Iterator[tuple[str, Flat]]: ...

    def restore(self, kept: Kept, part: Callable[[str], Flat]) -> None:
        """Be, from the start, where another was of which `kept` and `parts` were taken."""


class Averaged:
    """Replies folded into their mean as they come: one synthetic reply with all examples."""

    def __init__(self, order: Sequence[str], like: Flat, waiting: Path) -> None:
        self._fold = Fold(order, like, waiting)

    def add(self, participant: str, reply: Trained) -> None:
        self._fold.add(participant, reply.flat, reply.examples)

    def skip(self, participant: str) -> None:
        self._fold.skip(participant)

    def kept(self) -> Kept:
        return self._fold.kept()

    def parts(self) -> Iterator[tuple[str, Flat]]:
        return self._fold.parts()

    def restore(self, kept: Kept, part: Callable[[str], Flat]) -> None:
        self._fold.restore(kept, part)

    def replies(self) -> list[Message]:
        mean = arrays(_Held(self._fold.mean()))
        weight = MetricRecord({EXAMPLES: self._fold.total})
        return [Message(RecordDict({ARRAYS: mean, METRICS: weight}), 0, MessageType.TRAIN)]


class Collected:
    """Every reply, sorted by participant."""

    def __init__(self) -> None:
        self._replies: dict[str, Trained] = {}

    def add(self, participant: str, reply: Trained) -> None:
        self._replies[participant] = reply

    def skip(self, participant: str) -> None:
        pass

    def kept(self) -> Kept:
        replies = {
            name: Reply(examples=one.examples, loss=one.loss, seconds=one.seconds)
            for name, one in self._replies.items()
        }
        return Kept(replies=replies)

    def parts(self) -> Iterator[tuple[str, Flat]]:
        for name, one in self._replies.items():
            yield part_of(name), one.flat

    def restore(self, kept: Kept, part: Callable[[str], Flat]) -> None:
        for name, one in kept.replies.items():
            array = Array(part(part_of(name)))
            reply = Trained(array, view(array), one.examples, one.loss, one.seconds)
            self.add(name, reply)

    def replies(self) -> list[Message]:
        ordered = [self._replies.pop(one) for one in sorted(self._replies)]
        return [Message(one.content(), 0, MessageType.TRAIN) for one in ordered]


def gathering(name: str, order: Sequence[str], like: Flat, waiting: Path) -> Gathering:
    """What the replies of `order` are gathered in, for the strategy `name`."""
    return Averaged(order, like, waiting) if name in AVERAGING else Collected()


def configure(
    strategy: FedAvg, number: int, record: ArrayRecord, config: ConfigRecord, nodes: Iterable[int]
) -> list[Message]:
    """Flower's messages that ask `nodes` to train the model `record` in round `number`."""
    if isinstance(strategy, FedAvgM):
        # It then starts from the model it is given, as after a restart, not from its own copy.
        strategy.current_arrays = None
    return list(strategy.configure_train(number, record, config, _all_of(strategy, nodes)))


def configure_evaluation(
    strategy: FedAvg, number: int, record: ArrayRecord, config: ConfigRecord, nodes: Iterable[int]
) -> list[Message]:
    """Flower's messages that ask `nodes` to evaluate the model `record`."""
    return list(strategy.configure_evaluate(number, record, config, _all_of(strategy, nodes)))


def _all_of(strategy: FedAvg, nodes: Iterable[int]) -> Shown:
    """`nodes`, of which the strategy takes all and waits for no more: where replies were kept,
    those still asked are fewer than a quorum."""
    shown = list(nodes)
    strategy.min_available_nodes = len(shown)
    strategy.min_train_nodes = strategy.min_evaluate_nodes = len(shown)
    return Shown(shown)


def aggregate(strategy: FedAvg, number: int, gathered: Gathering, like: Flat) -> Flat:
    """The packed model after round `number`, by Flower's code, in the dtype of `like`.

    FedAdam and q-FedAvg answer in float64, for want of a cast; a model stays what it was.

    Raises:
        TrainingFailed: the strategy makes no model of these replies, or one that is not finite.
    """
    replies = gathered.replies()
    count = len(replies)
    name = type(strategy).__name__
    try:
        aggregated, _ = strategy.aggregate_train(number, replies)
    except (AggregationError, InconsistentMessageReplies) as exc:
        raise TrainingFailed(f"round {number}: {name}: {exc}") from exc
    if aggregated is None:
        raise TrainingFailed(f"round {number}: {name} makes no model of {count} replies")
    del replies
    gc.collect()  # Flower's records hold each other in cycles, and a whole model with them
    flat: Flat = view(aggregated[FLAT]).astype(like.dtype, copy=False)
    if not finite(flat):
        raise TrainingFailed(f"round {number}: {name} arrived at parameters that are not finite")
    return flat


class _Held(Array):
    """An array that never leaves this process. Flower asks for its values once, and is handed
    the values themselves: neither a copy is made nor the original kept."""

    def __init__(self, values: Flat) -> None:
        super().__init__(str(values.dtype), values.shape, SType.NUMPY, b"")
        self._values = [values]

    def numpy(self) -> Flat:
        return self._values.pop()


def _numbered(attribute: str, kept: Mapping[str, NDArray[Any]]) -> list[str]:
    keys = [key for key in kept if key.startswith(f"{attribute}.")]
    return sorted(keys, key=lambda key: int(key.rpartition(".")[2]))
