"""Replies that take long to arrive, and those whose rest never comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from fedspan.domain.reports import AggregatorManifest
from fedspan.errors import SpotNotice
from fedspan.flower.grid import Arrival, exchange

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedspan.flower.pulls.SOON_SECONDS", 0.05)
    monkeypatch.setattr("fedspan.flower.pulls.STALLED_SECONDS", 0.05)


@pytest.fixture
def rest() -> Iterator[threading.Event]:
    """Set when the rest of a reply shall come."""
    event = threading.Event()
    yield event
    event.set()


def sends(one: Any, name: str, rest: threading.Event, at: int | None = None) -> None:
    """Participant `name` begins to send its reply, and ends when `rest` is set. Only at the node
    `at`, when that is given."""

    def answer(message: Message, context: Context) -> Message:
        if at in (None, message.metadata.dst_node_id):
            rest.wait()
        return Message(RecordDict(), reply_to=message)

    one.grid.answers[name] = answer


def asked(
    one: Any, seconds: float = 3600, watch: Callable[[], AggregatorManifest] | None = None
) -> Iterator[Arrival]:
    """Everyone is asked; all but those told otherwise reply at once."""
    names = {node: name for name, node in one.grid.ids.items()}
    messages = [Message(RecordDict(), node, "train") for node in names]
    one.work.write_nodes(names)
    return exchange(one.grid, messages, names, seconds, watch or (lambda: one.manifest), one.work)


@pytest.fixture
def one(federation: Make) -> Any:
    made, at_once = federation(), threading.Event()
    at_once.set()
    for name in made.grid.ids:
        sends(made, name, at_once)
    return made


def test_others_are_heard_while_a_reply_is_on_its_way(one: Any, rest: threading.Event) -> None:
    sends(one, "a", rest)

    arrivals = asked(one)
    first = [next(arrivals).participant for _ in range(2)]
    rest.set()

    assert (first, [last.participant for last in arrivals]) == (["b", "c"], ["a"])


def test_only_so_many_are_on_their_way_at_once(
    one: Any, rest: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.pulls.AT_ONCE", 1)
    sends(one, "a", rest)
    sends(one, "b", rest)
    begun = []
    pull = one.grid.pull_messages
    one.grid.pull_messages = lambda identities: begun.append(1) or pull(identities)

    arrivals = asked(one, seconds=0.3)

    assert {arrival.participant for arrival in arrivals if arrival.missing} == {"a", "b", "c"}
    assert len(begun) == 1


def test_who_died_while_it_sent_its_reply_is_asked_again(one: Any, rest: threading.Event) -> None:
    """Flower would wait for three minutes."""
    died = one.grid.ids["b"]
    sends(one, "b", rest, at=died)

    one.grid.at_push = lambda kind: one.grid.connected.discard("b")
    arrivals = asked(one)
    before = [next(arrivals).participant for _ in range(2)]
    one.grid.at_push = lambda kind: None
    one.grid.ids["b"] = died + 100
    one.grid.connected.add("b")
    one.work.write_nodes({node: name for name, node in one.grid.ids.items()})

    assert (before, [(last.participant, last.missing) for last in arrivals]) == (
        ["a", "c"],
        [("b", "")],
    )
    assert [name for name, _ in one.grid.asked].count("b") == 2


def test_who_does_not_come_back_is_missing_by_that(
    one: Any, rest: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.grid.RETURN_SECONDS", 0.05)
    sends(one, "b", rest)
    one.grid.at_push = lambda kind: one.grid.connected.discard("b")

    last = [*asked(one)][-1]

    assert (last.participant, last.missing) == ("b", "its node went away while it sent its reply")


def test_who_is_slow_is_waited_for_until_the_round_is_over(one: Any, rest: threading.Event) -> None:
    sends(one, "b", rest)

    last = [*asked(one, seconds=0.3)][-1]

    assert (last.participant, last.missing) == ("b", "no reply within 0.3 s")


class Noticed:
    """Today's manifest, until the machine is about to be taken back."""

    def __init__(self, one: Any) -> None:
        self.one, self.told = one, False

    def __call__(self) -> AggregatorManifest:
        if self.told:
            raise SpotNotice("job-1: its cloud takes this machine back")
        return cast(AggregatorManifest, self.one.manifest)


def kept_at_a_notice(one: Any, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
    """Whose replies came before the exchange left because of a notice, told once all but the one
    of b had come; `meanwhile` happens then."""
    watch, kept = Noticed(one), []
    with pytest.raises(SpotNotice):
        for arrival in asked(one, watch=watch):
            assert not arrival.missing
            kept.append(arrival.participant)
            if len(kept) == 2:
                watch.told = True
                meanwhile()
    return kept


def test_a_notice_is_heard_while_a_reply_is_on_its_way(
    one: Any, rest: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedspan.flower.grid.LAST_SECONDS", 0.05)
    sends(one, "b", rest)

    assert kept_at_a_notice(one) == ["a", "c"]


def test_what_arrives_in_the_moment_of_a_notice_is_kept(one: Any, rest: threading.Event) -> None:
    sends(one, "b", rest)

    assert kept_at_a_notice(one, rest.set) == ["a", "c", "b"]


def test_who_goes_away_in_the_moment_of_a_notice_has_not_failed(
    one: Any, rest: threading.Event
) -> None:
    """The next incarnation asks it again."""

    def answer(message: Message, context: Context) -> Message:
        rest.wait()
        return Message(Error(ErrorCode.NODE_UNAVAILABLE, "unavailable"), reply_to=message)

    one.grid.answers["b"] = answer

    assert kept_at_a_notice(one, rest.set) == ["a", "c"]
