"""The grid as a Flower app sees it: the same participants in the same order, whoever answers first.

Node ids are drawn anew for each incarnation of an aggregator, and replies come as they come. An
app's strategy samples the one and sums the other, so both are put in the order of the
participants' names. Waiting has the limits that the job's spec sets; Flower's has none. Whose
reply an earlier incarnation kept is not asked again (`fedspan.flower.app_replies`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedspan.domain.rounds import Participation, Status
from fedspan.errors import ParticipantsMissing, TrainingFailed
from fedspan.flower.app_replies import Replies, question_of
from fedspan.flower.grid import Arrival, exchange
from fedspan.flower.rounds import Setting
from fedspan.flower.wire import reason

TRAIN = "train"


class AppGrid(Grid):
    """Over the grid of `setting`. `used` says whether an app has sent messages outside of a
    round, where nothing is kept of what comes back; `kept` has the replies of a round."""

    def __init__(self, setting: Setting, kept: Replies) -> None:
        self.used = False
        self.weighted_by = ""
        self.kept = kept
        self._setting = setting
        self._number = 0
        self._asked = 0.0

    def open_phase(self, number: int, weighted_by: str) -> None:
        """Round `number` is about to ask for nodes; 0 is outside of any."""
        self._number, self.weighted_by, self._asked = number, weighted_by, time.monotonic()
        self.kept.open(number)

    def get_node_ids(self) -> Iterable[int]:
        """Those of the quorum at least, in the order of their participants' names.

        Raises:
            ParticipantsMissing, JobCancelled
        """
        nodes = self._setting.connected()
        waited = self._setting.manifest.spec.limits.node_wait
        if self._number and time.monotonic() > self._asked + waited:
            raise ParticipantsMissing(
                f"round {self._number}: the app's strategy waits for more nodes than the "
                f"{len(nodes)} that connected within {waited:g} s"
            )
        return list(nodes.values())

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """The replies, in the order of their senders' names.

        Raises:
            ParticipantsMissing, TrainingFailed, JobCancelled
            SpotNotice, BetweenRounds: what came until then is in `kept`.
        """
        self.used |= not self._number
        names = self._setting.folder.nodes()
        sent = list(messages)
        strangers = [one for one in sent if one.metadata.dst_node_id not in names]
        if strangers:
            raise TrainingFailed(f"the app asks {len(strangers)} nodes that do not take part")
        ordered = sorted(sent, key=lambda one: names[one.metadata.dst_node_id])
        if not ordered:
            return []
        training = ordered[0].metadata.message_type.startswith(TRAIN)
        asked = {names[one.metadata.dst_node_id] for one in ordered}
        self._open(asked, training)
        limit, replies = min(self._setting.manifest.spec.limits.round, timeout or inf), []
        for arrival, seconds in self._arrivals(ordered, names, limit):
            self._mark(arrival, training, seconds)
            if arrival.message is not None:
                replies.append((arrival.participant, arrival.message))
        self._require(asked, replies, training)
        return [message for _, message in sorted(replies, key=lambda one: one[0])]

    def _arrivals(
        self, messages: Sequence[Message], names: Mapping[int, str], limit: float
    ) -> Iterator[tuple[Arrival, float]]:
        """The replies that were kept, then those that come; with the seconds each took."""
        people, due = [names[one.metadata.dst_node_id] for one in messages], []
        # Of who is asked several things at once nobody can tell which a reply is to.
        once = {name for name, times in Counter(people).items() if times == 1 and self._number}
        for name, message in zip(people, messages, strict=True):
            found = self.kept.take(name, message) if name in once else None
            if found is None:
                due.append(message)
            else:
                yield Arrival(name, found[0]), found[1]
        if not due:
            return
        asked = {names[one.metadata.dst_node_id]: question_of(one) for one in due}
        one, began = self._setting, time.monotonic()
        for arrival in exchange(one.grid, due, names, limit, one.watch, one.folder):
            seconds, name, reply = time.monotonic() - began, arrival.participant, arrival.message
            if name in once and reply is not None and reply.has_content():
                self.kept.add(name, asked[name], reply.content, seconds)
            yield arrival, seconds

    def _open(self, asked: set[str], training: bool) -> None:
        board, spec = self._setting.board, self._setting.manifest.spec
        if not self._number:
            return
        if not training:
            board.evaluate(asked)
        else:
            board.mark({*spec.participants} - asked, Participation(status=Status.SKIPPED))
            board.mark(asked, Participation(status=Status.TRAINING))

    def _mark(self, arrival: Arrival, training: bool, seconds: float) -> None:
        board, name = self._setting.board, arrival.participant
        why = _failure(arrival)
        if not self._number or name not in board.people:
            return
        if not training:
            if why:
                told = {"message": f"not evaluated: {why}"}
                board.mark([name], board.people[name].model_copy(update=told))
            return
        if why:
            board.mark([name], Participation(status=Status.FAILED, message=why))
            return
        examples = _examples(arrival.message, self.weighted_by)
        done = Participation(status=Status.DONE, examples=examples, seconds=round(seconds, 3))
        board.mark([name], done)

    def _require(self, asked: set[str], replies: list[tuple[str, Message]], training: bool) -> None:
        """Of whom the strategy asked, as many as the job needs."""
        valid = {name for name, message in replies if not message.has_error()}
        needed = min(self._setting.manifest.spec.needed, len(asked))
        if self._number and len(valid) < needed:
            self._setting.require(self._number, "trained" if training else "evaluated", len(valid))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.used = True
        return self._setting.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._setting.grid.pull_messages(message_ids)

    @property
    def run(self) -> Run:
        return self._setting.grid.run

    def set_run(self, run: Run) -> None:
        self._setting.grid.set_run(run)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self._setting.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def __getattr__(self, name: str) -> Any:
        """What a grid of Flower's has beside the interface."""
        return getattr(self._setting.grid, name)


def _failure(arrival: Arrival) -> str:
    """Why a participant gave nothing; empty when it did."""
    message = arrival.message
    if message is None:
        return arrival.missing
    return reason(message.error) if message.has_error() else ""


def _examples(message: Message | None, key: str) -> int:
    """What the reply is weighted by, where that is a number of examples."""
    records = message.content.metric_records.values() if message else ()
    found = next((record[key] for record in records if key in record), 0)
    return found if isinstance(found, int) and found >= 0 else 0
