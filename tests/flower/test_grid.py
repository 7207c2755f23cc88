"""Questions and replies over a grid that honours Flower's interface."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Context, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode

from fedspan.domain.reports import Desired
from fedspan.domain.spec import StrategySpec
from fedspan.errors import JobCancelled, ParticipantsMissing
from fedspan.flower.grid import MOST_TIMES, Arrival, Shown, choose, exchange, gate, online
from fedspan.flower.strategies import build, configure
from fedspan.flower.wire import Task, arrays, trained_of

Make = Callable[..., Any]


def ask(one: Any, seconds: float = 30.0) -> list[Arrival]:
    """Ask every node of the federation `one` to train its first round."""
    grid, manifest = one.grid, one.manifest
    task = Task(
        job=manifest.job,
        round=1,
        spec=one.spec,
        features=manifest.features,
        classes=manifest.classes,
    )
    strategy = build(one.spec.strategy, 1)
    messages = configure(strategy, 1, arrays(Array(start())), task.record(), grid.get_node_ids())
    names = {node: name for name, node in grid.ids.items()}
    one.work.write_nodes(names)
    return list(exchange(grid, messages, names, seconds, lambda: one.manifest, one.work))


def start() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The parameters of the federation's model: 4 x 8 + 8 + 8 x 2 + 2."""
    return np.zeros(58, np.float32)


def reasons(arrivals: list[Arrival]) -> dict[str, str]:
    return {one.participant: one.missing for one in arrivals if one.message is None}


def silent(message: Message, context: object) -> None:
    """A node that never replies."""


def test_every_reply_arrives_once(federation: Make) -> None:
    one = federation()

    arrivals = ask(one)

    assert sorted(arrival.participant for arrival in arrivals) == ["a", "b", "c"]
    assert {
        arrival.participant: trained_of(arrival.message, start()).examples for arrival in arrivals
    } == {"a": 24, "b": 32, "c": 40}


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_replies_come_in_the_order_they_are_ready(federation: Make, order: str) -> None:
    one = federation()
    one.grid.order = list(order)

    assert [arrival.participant for arrival in ask(one)] == list(order)


def test_who_does_not_reply_in_time_is_missing(federation: Make) -> None:
    one = federation()
    one.grid.answers["b"] = silent

    arrivals = ask(one, seconds=0.3)

    assert arrivals[-1].participant == "b"
    assert reasons(arrivals) == {"b": "no reply within 0.3 s"}


def test_nobody_waits_for_machines_that_are_lost(federation: Make) -> None:
    one = federation()
    one.grid.answers["b"] = one.grid.answers["c"] = silent
    one.grid.at_push = lambda _: one.grid.connected.intersection_update("a")
    one.want(lost=("b", "c"))

    arrivals = ask(one, seconds=3600)

    lost = "its machine stopped speaking"
    assert reasons(arrivals) == {"b": lost, "c": lost}


def test_one_lost_machine_does_not_cut_off_the_slow_ones(federation: Make) -> None:
    one = federation()
    one.grid.answers["b"] = silent
    one.grid.at_push = lambda _: one.grid.connected.discard("b")
    one.grid.answers["c"] = late(one, "c", 3)
    one.want(lost=("b",))

    assert reasons(ask(one, seconds=3600)) == {"b": "its machine stopped speaking"}


def late(one: Any, name: str, looks: int) -> Any:
    """The real reply of `name`, ready at the look after so many."""
    real, asked = one.real(name), []

    def answer(message: Message, context: Context) -> Message | None:
        asked.append(1)
        return cast(Message, real(message, context)) if len(asked) > looks else None

    return answer


@pytest.mark.parametrize("lost", [("b",), ("a", "b", "c")])
def test_who_is_cut_off_from_the_control_plane_alone_is_waited_for(
    federation: Make, lost: tuple[str, ...]
) -> None:
    one = federation()
    one.grid.answers["b"] = late(one, "b", 5)
    one.want(lost=lost)

    assert reasons(ask(one, seconds=3600)) == {}


def dies(one: Any, name: str, *, back: bool) -> None:
    """The next message to `name` finds its node gone, and another one in its place if it is
    `back`."""
    real, gone = one.real(name), one.grid.ids[name]

    def answer(message: Message, context: Context) -> Message:
        if message.metadata.dst_node_id != gone:
            return cast(Message, real(message, context))
        if back:
            one.grid.ids[name] = 2**62 + 100
            one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
        else:
            one.grid.connected.discard(name)
        return Message(Error(ErrorCode.NODE_UNAVAILABLE, "node unavailable"), reply_to=message)

    one.grid.answers[name] = answer


def test_a_participant_whose_node_died_is_asked_again_at_its_next_one(federation: Make) -> None:
    one = federation()
    dies(one, "b", back=True)

    arrivals = ask(one)

    assert reasons(arrivals) == {}
    assert sorted(name for name, _ in one.grid.asked) == ["a", "b", "b", "c"]
    assert trained_of(arrivals[-1].message, start()).examples == 32


@pytest.mark.parametrize("when", ["train", "evaluate"])
def test_a_node_that_dies_in_a_round_changes_no_bit_of_the_model(
    federation: Make, when: str
) -> None:
    calm, hurt = federation(), federation()
    calm.run()
    struck: list[str] = []

    def strike(kind: str) -> None:
        if kind == when and not struck:
            struck.append(kind)
            dies(hurt, "b", back=True)

    hurt.grid.at_push = strike
    status = hurt.run()

    assert status.fault is None
    assert len(hurt.grid.asked) == len(calm.grid.asked) + 1
    assert hurt.sha256() == calm.sha256()


def test_who_does_not_come_back_is_missing_by_what_was_said_of_it(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.grid.RETURN_SECONDS", 0.05)
    one = federation()
    dies(one, "b", back=False)

    last = ask(one)[-1]

    assert last.participant == "b" and last.message is not None
    assert last.message.error.reason == "node unavailable"


def test_a_question_that_kills_whoever_is_asked_is_not_asked_for_ever(federation: Make) -> None:
    one = federation()

    def answer(message: Message, context: Context) -> Message:
        one.grid.ids["b"] += 100
        one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
        return Message(Error(ErrorCode.NODE_UNAVAILABLE, "node unavailable"), reply_to=message)

    one.grid.answers["b"] = answer
    ask(one, seconds=3600)

    assert [name for name, _ in one.grid.asked].count("b") == MOST_TIMES


def test_a_participant_that_was_given_another_node_is_asked_there(federation: Make) -> None:
    """The one it had is registered no more."""
    one = federation()
    real, gone = one.real("b"), one.grid.ids["b"]

    def answer(message: Message, context: Context) -> Message | None:
        if message.metadata.dst_node_id != gone:
            return cast(Message, real(message, context))
        one.grid.ids["b"] = 2**62 + 100
        one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
        return None

    one.grid.answers["b"] = answer

    assert reasons(ask(one, seconds=3600)) == {}


def test_the_return_of_a_machine_that_is_started_again_is_waited_for(
    federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.grid.RETURN_SECONDS", 0.0)
    one = federation()
    dies(one, "b", back=False)
    one.want(returning=("b",))

    assert reasons(ask(one, seconds=0.3)) == {"b": "no reply within 0.3 s"}


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE])
def test_a_node_that_was_away_for_a_while_is_asked_again(federation: Make, code: int) -> None:
    """Or that died while it sent its reply."""
    one = federation()
    real, asked = one.real("b"), []

    def answer(message: Message, context: Context) -> Message:
        asked.append(1)
        if len(asked) > 1:
            return cast(Message, real(message, context))
        return Message(Error(code, "unavailable"), reply_to=message)

    one.grid.answers["b"] = answer

    assert reasons(ask(one)) == {}
    assert len(asked) == 2


def test_nobody_waits_for_the_return_of_a_machine_that_is_lost(federation: Make) -> None:
    one = federation()
    dies(one, "b", back=False)
    one.want(lost=("b",))

    assert reasons(ask(one, seconds=3600)) == {"b": "its machine stopped speaking"}


def test_a_job_that_is_stopped_stops_waiting(federation: Make) -> None:
    one = federation()
    one.grid.answers["b"] = silent
    one.want(desired=Desired.STOP)

    with pytest.raises(JobCancelled, match="job-1"):
        ask(one, seconds=3600)


def test_a_message_the_grid_refuses_is_that_participants_failure(federation: Make) -> None:
    one = federation()
    push = one.grid.push_messages
    one.grid.push_messages = lambda messages: [
        None if index == 1 else identity for index, identity in enumerate(push(messages))
    ]
    refused = ask(one)
    one.grid.push_messages = lambda messages: []
    too_large = ask(one)

    assert len(refused) == len(too_large) == 3
    assert list(reasons(refused).values()) == ["Flower did not take its message"]
    assert len(reasons(too_large)) == 3


def test_a_message_is_void_when_its_round_is_over(federation: Make) -> None:
    one = federation()
    seen = []
    one.grid.answers["a"] = lambda message, context: seen.append(message.metadata.ttl)
    ask(one, seconds=2.0)

    assert seen and set(seen) == {2.0}


def test_nodes_are_sorted_by_participant_and_the_newest_counts(federation: Make) -> None:
    grid = federation().grid
    ids = grid.ids
    gone = 5
    names = {gone: "a", ids["c"]: "b", ids["b"]: "b", ids["a"]: "a"}

    assert list(online(grid, names).items()) == [("a", ids["a"]), ("b", ids["b"])]


@pytest.mark.parametrize(("fraction", "needed", "size"), [(1.0, 1, 10), (0.5, 1, 5), (0.1, 4, 4)])
def test_a_sample_has_flowers_size_and_depends_on_names_alone(
    fraction: float, needed: int, size: int
) -> None:
    nodes = {f"p{index}": index for index in range(10)}
    shuffled = dict(random.Random(3).sample(sorted(nodes.items()), 10))
    renumbered = {name: node + 100 for name, node in nodes.items()}

    chosen = choose(nodes, fraction, needed, 42)

    assert len(chosen) == size
    assert list(chosen) == sorted(chosen)
    assert choose(shuffled, fraction, needed, 42) == chosen
    assert choose(renumbered, fraction, needed, 42).keys() == chosen.keys()


def test_samples_of_different_rounds_differ() -> None:
    nodes = {f"p{index}": index for index in range(10)}

    assert len({tuple(choose(nodes, 0.5, 1, seed)) for seed in range(20)}) > 10


def test_the_gate_opens_when_everyone_is_there(federation: Make) -> None:
    one = federation()
    one.work.write_nodes({node: name for name, node in one.grid.ids.items()})

    assert gate(one.grid, one.work, lambda: one.manifest, grace=3600) == one.grid.ids


def test_the_gate_does_not_wait_for_the_lost(federation: Make) -> None:
    one = federation(quorum=2)
    one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
    one.grid.connected = {"a", "c"}
    one.want(lost=("b",))

    assert list(gate(one.grid, one.work, lambda: one.manifest, grace=3600)) == ["a", "c"]


def test_the_gate_opens_for_the_quorum_when_grace_is_over(federation: Make) -> None:
    one = federation(quorum=2)
    one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
    one.grid.connected = {"a", "c"}

    assert list(gate(one.grid, one.work, lambda: one.manifest, grace=0.3)) == ["a", "c"]


def test_the_gate_waits_for_those_that_still_train_for_an_earlier_incarnation(
    federation: Make,
) -> None:
    one = federation(quorum=2, limits={"node_wait": 0.01})
    one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
    one.grid.connected = {"a"}
    one.want(busy=("b", "c"))
    looks = []

    def watch() -> Any:
        looks.append(1)
        if len(looks) == 5:  # both are done, but one connects a moment later
            one.want(busy=())
            one.grid.connected = {"a", "b"}
        if len(looks) == 7:
            one.grid.connected = {"a", "b", "c"}
        return one.manifest

    assert gate(one.grid, one.work, watch, grace=60) == one.grid.ids
    assert len(looks) == 7


def test_the_gate_names_who_never_came(federation: Make) -> None:
    one = federation()
    one.work.write_nodes({one.grid.ids["b"]: "b"})

    with pytest.raises(ParticipantsMissing, match=r"1 of 3 needed .*absent: a, c$"):
        gate(one.grid, one.work, lambda: one.manifest, grace=0)


def test_a_strategy_takes_exactly_the_nodes_it_is_shown() -> None:
    messages = configure(
        build(StrategySpec(), 2), 1, arrays(Array(start())), ConfigRecord(), [7, 8, 9]
    )

    assert sorted(one.metadata.dst_node_id for one in messages) == [7, 8, 9]


@pytest.mark.parametrize(
    "use",
    [
        lambda grid: grid.run,
        lambda grid: grid.set_run(None),
        lambda grid: grid.create_message(RecordDict(), MessageType.TRAIN, 1, ""),
        lambda grid: grid.push_messages([]),
        lambda grid: grid.pull_messages([]),
        lambda grid: grid.send_and_receive([]),
    ],
)
def test_a_strategy_cannot_talk_past_the_exchange(use: Callable[[Shown], object]) -> None:
    with pytest.raises(NotImplementedError):
        use(Shown([1]))
