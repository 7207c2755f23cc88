"""One round: whom to ask, what to ask, what to make of the answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from flwr.app import Array, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedspan.domain.reports import AggregatorManifest
from fedspan.domain.rounds import AWAY, Metrics, Participation, Status
from fedspan.domain.seeds import derive
from fedspan.errors import ParticipantsMissing, TrainingFailed
from fedspan.flower import strategies
from fedspan.flower.board import Board
from fedspan.flower.files import WorkFolder
from fedspan.flower.folding import Flat
from fedspan.flower.grid import Arrival, Watch, choose, exchange, gate
from fedspan.flower.partials import Partial
from fedspan.flower.wire import (
    PROGRAM,
    Evaluated,
    Task,
    arrays,
    evaluated_of,
    program_record,
    trained_of,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rounds of a job share. `manifest` is that of the start; `watch` gives today's."""

    grid: Grid
    folder: WorkFolder
    watch: Watch
    board: Board
    manifest: AggregatorManifest
    program: bytes | None = None

    def task(self, number: int) -> Task:
        one = self.manifest
        return Task(
            job=one.job,
            round=number,
            spec=one.spec,
            features=one.features,
            classes=one.classes,
        )

    def connected(self, grace: float = 0.0, without: Collection[str] = ()) -> dict[str, int]:
        """A quorum's nodes by participant; waits for them. See `gate`."""
        return gate(self.grid, self.folder, self.watch, grace, without)

    def gathering(self, order: Sequence[str], like: Flat) -> strategies.Gathering:
        name = self.manifest.spec.strategy.name
        return strategies.gathering(name, order, like, self.folder.path / "replies")

    def chosen(self, nodes: Mapping[str, int], what: str, number: int) -> dict[str, int]:
        """The share of `nodes` the strategy's options ask for, the same in every attempt."""
        spec = self.manifest.spec
        fraction = spec.strategy.options.get(f"fraction_{what}", 1.0)
        seed = derive(spec.seed, "sample", what, number)
        return choose(nodes, fraction, spec.needed, seed)

    def ask(self, messages: Sequence[Message], nodes: Mapping[str, int]) -> Iterator[Arrival]:
        """Send `messages`, the model's program with them, and yield what comes of each."""
        names = {node: name for name, node in nodes.items()}
        ordered = sorted(messages, key=lambda one: names[one.metadata.dst_node_id])
        for message in ordered:
            if self.program is not None:
                message.content[PROGRAM] = program_record(self.program)
        seconds = self.manifest.spec.limits.round
        return exchange(self.grid, ordered, names, seconds, self.watch, self.folder)

    def require(self, number: int, what: str, replies: int) -> None:
        """Raise `ParticipantsMissing`, with everyone's reason, for less than a quorum."""
        needed = self.manifest.spec.needed
        if replies < needed:
            reasons = [f"{name}: {one.message}" for name, one in self.board.people.items()]
            told = "; ".join(one for one in reasons if not one.endswith(": "))
            raise ParticipantsMissing(
                f"round {number}: {replies} of {needed} needed participants {what}; {told}"
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a round asks to train: in `order` their replies are summed, and `nodes` are those of
    whom nothing is `gathered` yet."""

    order: tuple[str, ...]
    nodes: dict[str, int]
    gathered: strategies.Gathering


ABSENT: Final = Participation(status=Status.FAILED, message=AWAY)


def opened(setting: Setting, number: int, like: Flat) -> Asked:
    """A round from its beginning. Raises `ParticipantsMissing`, `JobCancelled`, `SpotNotice`."""
    board, spec = setting.board, setting.manifest.spec
    connected = setting.connected()
    nodes = setting.chosen(connected, "train", number)
    board.mark(set(spec.participants) - connected.keys(), ABSENT)
    board.mark(connected.keys() - nodes.keys(), Participation(status=Status.SKIPPED))
    return Asked(tuple(nodes), nodes, setting.gathering(tuple(nodes), like))


def reopened(
    setting: Setting, like: Flat, partial: Partial, part: Callable[[str], Flat]
) -> Asked | None:
    """A round as far as an earlier incarnation kept it: of its participants those are asked who
    had not replied. None when a quorum could not come of it, as others may make one.

    Raises:
        Corrupt, NotFound: of a part.
        ParticipantsMissing, JobCancelled, SpotNotice
    """
    connected, board = setting.connected(), setting.board
    due = [one for one in partial.order if partial.people[one].status is Status.TRAINING]
    nodes = {one: connected[one] for one in due if one in connected}
    if partial.kept is None or partial.done + len(nodes) < setting.manifest.spec.needed:
        return None
    gathered = setting.gathering(partial.order, like)
    gathered.restore(partial.kept, part)
    board.people |= partial.people
    for absent in [one for one in due if one not in nodes]:
        gathered.skip(absent)
        board.mark([absent], ABSENT)
    return Asked(partial.order, nodes, gathered)


def train(setting: Setting, strategy: FedAvg, number: int, flat: Flat, asked: Asked) -> Flat:
    """The packed model `flat` after everyone's training and the strategy's aggregation.

    Raises:
        ParticipantsMissing, TrainingFailed, JobCancelled
        SpotNotice: what was gathered until then is in `asked`.
    """
    board, nodes = setting.board, asked.nodes
    if nodes:
        record, config = arrays(Array(flat)), setting.task(number).record()
        messages = strategies.configure(strategy, number, record, config, nodes.values())
        board.mark(nodes, Participation(status=Status.TRAINING))
        for arrival in setting.ask(messages, nodes):
            participation = _gather(arrival, flat, asked.gathered)
            board.mark([arrival.participant], participation)
            del arrival  # or its model would stay while the next one is pulled
    replies = [one for one in board.people.values() if one.status is Status.DONE]
    setting.require(number, "trained", len(replies))
    return strategies.aggregate(strategy, number, asked.gathered, flat)


def evaluate(setting: Setting, strategy: FedAvg, number: int, flat: Flat) -> Metrics:
    """Metrics of the packed model `flat`, from counts summed over all held-out rows.

    Whoever failed to train is not asked, since it may still be busy. The limit of a round counts
    for its training and its evaluation each.

    Raises:
        ParticipantsMissing, JobCancelled, SpotNotice
    """
    board, manifest = setting.board, setting.manifest
    failed = [name for name, one in board.people.items() if one.status is Status.FAILED]
    nodes = setting.chosen(setting.connected(without=failed), "evaluate", number)
    record, config = arrays(Array(flat)), setting.task(number).record()
    board.evaluate(nodes)
    messages = strategies.configure_evaluation(strategy, number, record, config, nodes.values())
    counted: dict[str, Evaluated] = {}
    for arrival in setting.ask(messages, nodes):
        name = arrival.participant
        try:
            counted[name] = evaluated_of(_reply(arrival), len(manifest.classes))
        except TrainingFailed as exc:
            told = {"message": f"not evaluated: {exc}"}
            board.mark([name], board.people[name].model_copy(update=told))
    setting.require(number, "evaluated", len(counted))
    ordered = [counted[name] for name in sorted(counted)]
    confusion = np.sum([one.confusion for one in ordered], axis=0).tolist()
    loss_sum = sum(one.loss_sum for one in ordered)
    return Metrics.of(confusion, loss_sum, manifest.classes, manifest.spec.data.positive)


def _gather(arrival: Arrival, like: Flat, gathered: strategies.Gathering) -> Participation:
    """Put a reply to its like, or skip its sender; and what the sender did."""
    try:
        reply = trained_of(_reply(arrival), like)
    except TrainingFailed as exc:
        gathered.skip(arrival.participant)
        return Participation(status=Status.FAILED, message=str(exc))
    gathered.add(arrival.participant, reply)
    return Participation(
        status=Status.DONE,
        examples=reply.examples,
        seconds=round(reply.seconds, 3),
        loss=reply.loss,
    )


def _reply(arrival: Arrival) -> Message:
    if arrival.message is None:
        raise TrainingFailed(arrival.missing)
    return arrival.message
