"""Questions to participants and their replies, over any Flower `Grid`.

Flower's own loop polls every three seconds, holds all replies at once, knows no deadline but a
time-out, and waits for ever below its minimum of nodes. This one polls faster the sooner a reply
can be expected, and hands replies over one by one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import Final

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from fedspan.domain.reports import AggregatorManifest, Desired
from fedspan.errors import JobCancelled, ParticipantsMissing, SpotNotice
from fedspan.flower.files import WorkFolder
from fedspan.flower.pulls import LAST_SECONDS, Pulls

POLL_SECONDS: Final = (0.02, 0.5)
"""Between looks: at first and right after a reply; at most."""

GROWTH: Final = 1.25

RETURN_SECONDS: Final = 60.0
"""A machine has so long to connect again after its SuperNode died."""

MOST_TIMES: Final = 5
"""So often a participant is asked the same: it may be the question that kills its workers."""

GONE: Final = frozenset({ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE})
"""The node, or the rest of what it was sending when it died."""

Watch = Callable[[], AggregatorManifest]
"""What the control plane wants now; raises `SpotNotice` when there is no time left for it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """The end of waiting for one participant: its reply, or why there is none; `gone` when its
    node is, before it replied."""

    participant: str
    message: Message | None
    missing: str = ""
    gone: bool = False


def online(grid: Grid, names: Mapping[int, str]) -> dict[str, int]:
    """Participants connected now and their nodes, sorted by name.

    A participant whose machine was replaced may have two nodes for a while: the one `names` has
    last counts.
    """
    connected = set(grid.get_node_ids())
    found = {name: node for node, name in names.items() if node in connected}
    return dict(sorted(found.items()))


def choose(nodes: Mapping[str, int], fraction: float, needed: int, seed: int) -> dict[str, int]:
    """The share `fraction` of `nodes`, at least `needed`, as Flower counts it.

    Which ones follows from `seed` and the names alone, so a round that is done again asks the
    same participants.
    """
    size = min(len(nodes), max(int(len(nodes) * fraction), needed))
    return {name: nodes[name] for name in sorted(Random(seed).sample(sorted(nodes), size))}


def gate(
    grid: Grid, folder: WorkFolder, watch: Watch, grace: float, without: Container[str] = ()
) -> dict[str, int]:
    """Wait until the quorum is connected, and up to `grace` seconds more for everyone else.

    Participants in `without`, and those whose machines are lost, are not waited for; those that
    still train for an earlier incarnation are, until they are done.

    Raises:
        ParticipantsMissing: no quorum within ``limits.node_wait``; naming who is absent.
        JobCancelled, SpotNotice
    """
    started = time.monotonic()
    complete = float("inf")
    while True:
        manifest = attend(watch)
        spec = manifest.spec
        hoped = [one for one in spec.participants if one not in without]
        nodes = {one: node for one, node in online(grid, folder.nodes()).items() if one in hoped}
        now = time.monotonic()
        if {*manifest.busy} & {*hoped} - nodes.keys():
            started, complete = now, float("inf")
        elif len(nodes) >= spec.needed:
            complete = min(complete, now)
            if now >= complete + grace or nodes.keys() | {*manifest.lost} >= {*hoped}:
                return nodes
        elif now >= started + spec.limits.node_wait:
            absent = ", ".join(sorted({*hoped} - nodes.keys()))
            raise ParticipantsMissing(
                f"{len(nodes)} of {spec.needed} needed participants connected within "
                f"{spec.limits.node_wait:g} s; absent: {absent}"
            )
        time.sleep(POLL_SECONDS[1] / 5)


def exchange(
    grid: Grid,
    messages: Sequence[Message],
    names: Mapping[int, str],
    seconds: float,
    watch: Watch,
    folder: WorkFolder,
) -> Iterator[Arrival]:
    """Send `messages` and yield one arrival for each, as it happens.

    `names` tells whose each destination node is. Ends when all have replied, `seconds` are over,
    or all who have not replied are lost for good: silent to the control plane, and no longer
    connected here. A participant whose node went away before it replied is asked again when it is
    back, at another node or at the same, with the same message: what comes of it is the same.

    Raises:
        JobCancelled: the control plane wants the job stopped.
        SpotNotice: the machine is about to be taken back.
    """
    for message in messages:
        message.metadata.ttl = max(1.0, seconds)  # who returns later must not train for nothing
    people = [names[message.metadata.dst_node_id] for message in messages]
    pending, refused = _push(grid, messages, people)
    yield from (Arrival(one, None, "Flower did not take its message") for one in refused)
    absent = Absent(grid, folder, dict(zip(people, messages, strict=True)))
    pulls = Pulls(grid)
    end = time.monotonic() + seconds
    pause = POLL_SECONDS[0]
    while pending or absent:
        started = time.monotonic()
        looked = _arrivals(pulls, pending, list(pending))
        for arrival in chain(looked, _stalled(pulls, pending, absent)):
            if not absent.took(arrival):
                yield arrival
                pause = POLL_SECONDS[0]
            del arrival  # or this model would stay while the next one is pulled
        try:
            manifest = attend(watch)
        except SpotNotice:  # what is there already, and what will be in a moment, is kept
            last = _arrivals(pulls, pending, pulls.finish(LAST_SECONDS))
            yield from (one for one in last if not one.gone)
            raise
        pending |= absent.asked_again(end - time.monotonic())
        yield from absent.given_up(manifest.returning)
        waited, now = {*pending.values(), *absent}, time.monotonic()
        if now >= end or (waited <= {*manifest.lost} and not _connected(grid, folder, waited)):
            break
        # No more than half the time goes into asking, however many participants there are.
        time.sleep(max(0.0, min(max(pause, now - started), end - now)))
        pause = min(POLL_SECONDS[1], pause * GROWTH)
    for participant in (*pending.values(), *absent):
        lost = participant in attend(watch).lost
        why = "its machine stopped speaking" if lost else f"no reply within {seconds:g} s"
        yield Arrival(participant, None, why)


class Absent:
    """Participants whose node went away while they owed a reply; `messages` is what each was
    asked. A machine starts a SuperNode that died again by itself, at another node."""

    def __init__(self, grid: Grid, folder: WorkFolder, messages: dict[str, Message]) -> None:
        self._grid, self._folder, self._messages = grid, folder, messages
        self._told: dict[str, tuple[Arrival, float]] = {}
        self._times: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._told))

    def __bool__(self) -> bool:
        return bool(self._told)

    def asked_at(self, participant: str) -> int:
        """The node that owes the reply."""
        return self._messages[participant].metadata.dst_node_id

    def took(self, arrival: Arrival) -> bool:
        """Whether `arrival` is no reply, but word that the node is gone that owed it."""
        if not arrival.gone:
            return False
        self._times[arrival.participant] += 1
        if self._times[arrival.participant] >= MOST_TIMES:
            return False
        self._told[arrival.participant] = arrival, time.monotonic() + RETURN_SECONDS
        return True

    def asked_again(self, seconds: float) -> dict[str, str]:
        """Those who are back, at whichever node, by the ids of the messages that went there."""
        if not self._told:
            return {}
        back = online(self._grid, self._folder.nodes())
        again = [one for one in self._told if one in back]
        for one in again:
            self._messages[one] = _anew(self._messages[one], back[one], max(1.0, seconds))
        taken, _ = _push(self._grid, [self._messages[one] for one in again], again)
        for participant in taken.values():
            del self._told[participant]
        return taken

    def given_up(self, returning: Container[str]) -> Iterator[Arrival]:
        """Those who did not come back for too long, with what was said of them. Whose machine is
        being started again is `returning`."""
        now = time.monotonic()
        late = [one for one, (_, until) in self._told.items() if now >= until]
        for participant in [one for one in late if one not in returning]:
            yield self._told.pop(participant)[0]


def attend(watch: Watch) -> AggregatorManifest:
    """The present manifest. Raises `JobCancelled` when it says stop, and what `watch` raises."""
    manifest = watch()
    if manifest.desired is Desired.STOP:
        raise JobCancelled(f"job {manifest.job}: stopped by the control plane")
    return manifest


def _connected(grid: Grid, folder: WorkFolder, waited: Iterable[str]) -> bool:
    """Whether one of `waited` still has a node: a machine may be cut off from the control plane
    alone."""
    return not online(grid, folder.nodes()).keys().isdisjoint(waited)


def _anew(message: Message, node: int, seconds: float) -> Message:
    """The same question to another node."""
    asked = message.metadata
    return Message(
        message.content,
        dst_node_id=node,
        message_type=asked.message_type,
        ttl=seconds,
        group_id=asked.group_id,
    )


class Shown(Grid):
    """Only the nodes chosen for a round, so that a strategy's sampling takes exactly those."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)

    @property
    def run(self) -> Run:
        raise NotImplementedError("strategies only look at nodes")

    def set_run(self, run: Run) -> None:
        raise NotImplementedError("strategies only look at nodes")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        raise NotImplementedError("strategies only look at nodes")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("strategies only look at nodes")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("strategies only look at nodes")

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        raise NotImplementedError("strategies only look at nodes")


def _arrivals(
    pulls: Pulls, pending: dict[str, str], looked_for: Iterable[str]
) -> Iterator[Arrival]:
    """Of those `looked_for` the replies that are there, which are `pending` no more. Flower builds
    them of what participants sent: what that makes it throw is the participant's failure."""
    for identity in looked_for:
        try:
            message = pulls.look(identity)
        except (ValueError, TypeError, LookupError, AttributeError, DecodeError) as exc:
            why = f"its reply cannot be read: {type(exc).__name__}"
            yield Arrival(pending.pop(identity), None, why)
        else:
            if message is not None:
                gone = message.has_error() and message.error.code in GONE
                yield Arrival(pending.pop(identity), message, gone=gone)
                del message


def _stalled(pulls: Pulls, pending: dict[str, str], absent: Absent) -> Iterator[Arrival]:
    """Of those whose replies will never be whole, which are `pending` no more."""
    senders = {identity: absent.asked_at(pending[identity]) for identity in pulls}
    for identity in pulls.stalled(senders):
        why = "its node went away while it sent its reply"
        yield Arrival(pending.pop(identity), None, why, gone=True)


def _push(
    grid: Grid, messages: Sequence[Message], people: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """(participants by message id, those whose message was not taken)."""
    # Flower answers None for a message it refuses, and nothing at all for a body too large.
    identities: list[str | None] = list(grid.push_messages(messages))
    if len(identities) != len(people):
        return {}, list(people)
    pairs = list(zip(identities, people, strict=True))
    taken = {identity: one for identity, one in pairs if identity is not None}
    return taken, [one for identity, one in pairs if identity is None]
