"""Replies of participants who are broken or hostile: their failure, whatever they send."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedspan.errors import InvalidDataset, TrainingFailed
from fedspan.flower.folding import view
from fedspan.flower.grid import exchange
from fedspan.flower.wire import MOST, evaluated_of, failure, trained_of

LIKE = np.zeros(4, np.float32)
GOOD = {"num-examples": 3, "train_loss": 0.5, "seconds": 1.0}
COUNTED = {"confusion": [1, 2, 3, 4], "loss_sum": 0.5, "num-examples": 10}


def question() -> Message:
    made = Message(RecordDict({"config": ConfigRecord()}), 1, "train")
    made.metadata.__dict__["_message_id"] = "m"
    return made


def reply(array: Array | None = None, **metrics: Any) -> Message:
    records = {"arrays": ArrayRecord(), "metrics": MetricRecord(metrics)}
    records["arrays"]["flat"] = Array(LIKE) if array is None else array
    return Message(RecordDict(records), reply_to=question())


def npy(header: bytes) -> Array:
    return Array(
        "float32",
        (4,),
        "numpy.ndarray",
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + LIKE.tobytes(),
    )


HEADERS = [
    b"{'descr': (",
    b"-" * 3000 + b"1",
    b"(" * 500,
    b"{'descr': [], 'fortran_order': False, 'shape': (4,)}",
    b"{'descr': [(1, 2, 3, 4)], 'fortran_order': False, 'shape': (4,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 40 + b",)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,)}",
    b"{'descr': '\x1b[2J', 'fortran_order': False, 'shape': (4,)}",
    b"\xff\x00",
]


def test_a_sound_reply_is_read() -> None:
    assert trained_of(reply(**GOOD), LIKE).examples == 3
    assert evaluated_of(reply(**COUNTED), 2).confusion.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_is_none_is_its_senders_failure(header: bytes) -> None:
    with pytest.raises(TrainingFailed, match=r"^its (reply cannot be read: |model is )") as failed:
        trained_of(reply(npy(header), **GOOD), LIKE)

    assert str(failed.value).isprintable() and len(str(failed.value)) < 600


@pytest.mark.parametrize("header", HEADERS[:3])
def test_a_view_throws_nothing_but_what_it_says(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        view(npy(header))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num-examples", 0),
        ("num-examples", -1),
        ("num-examples", 3.0),
        ("num-examples", float("nan")),
        ("num-examples", 1e30),
        ("num-examples", MOST + 1),
        ("num-examples", 2**63 - 1),
        ("num-examples", [3]),
        ("train_loss", float("nan")),
        ("train_loss", float("inf")),
        ("train_loss", 1e308),
        ("train_loss", 10**400),
        ("train_loss", [0.5]),
        ("seconds", float("inf")),
        ("seconds", []),
    ],
)
def test_numbers_that_make_no_sense_are_their_senders_failure(key: str, value: Any) -> None:
    with pytest.raises(TrainingFailed, match=f"^its ({key} is|reply cannot be read: Overflow)"):
        trained_of(reply(**{**GOOD, key: value}), LIKE)


@pytest.mark.parametrize("key", GOOD)
def test_numbers_that_are_missing_are_their_senders_failure(key: str) -> None:
    with pytest.raises(TrainingFailed, match=f"^its {key} is no"):
        trained_of(reply(**{name: value for name, value in GOOD.items() if name != key}), LIKE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confusion", [1, 2, 3]),
        ("confusion", 4),
        ("confusion", []),
        ("confusion", [1, 2, 3, -4]),
        ("confusion", [1, 2, 3, 2**63 - 1]),
        ("confusion", [1.0, 2.0, 3.0, 4.0]),
        ("confusion", [float("nan")] * 4),
        ("confusion", [1e30] * 4),
        ("loss_sum", float("nan")),
        ("loss_sum", 1e308),
        ("loss_sum", [1.0]),
    ],
)
def test_counts_that_make_no_sense_are_their_senders_failure(key: str, value: Any) -> None:
    with pytest.raises(TrainingFailed, match=r"^its (counts are not|loss_sum is)"):
        evaluated_of(reply(**{**COUNTED, key: value}), 2)


def test_a_reply_without_records_is_its_senders_failure() -> None:
    empty = Message(RecordDict(), reply_to=question())

    with pytest.raises(TrainingFailed, match="one packed array"):
        trained_of(empty, LIKE)
    with pytest.raises(TrainingFailed, match="its counts"):
        evaluated_of(empty, 2)


@pytest.mark.parametrize(
    "reason", ["\x1b[2J\x00no\x9b31m data", "<class 'a.B'>:<'\x1b[2J\r\nno\x85 data'>"]
)
def test_what_a_participant_tells_commands_no_terminal(reason: str) -> None:
    told = Message(Error(code=2, reason=reason), reply_to=question())

    with pytest.raises(TrainingFailed) as failed:
        trained_of(told, LIKE)
    assert str(failed.value).isprintable() and "data" in str(failed.value)


def test_errors_of_ours_are_told_and_the_text_of_others_is_not() -> None:
    ours = failure(question(), InvalidDataset("row 3\x1b, column 2 is no number"))
    other = failure(question(), ValueError("could not convert 'Kim Min-su'"))

    assert ours.error.reason == "InvalidDataset: row 3, column 2 is no number"
    assert other.error.reason == "ValueError"


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_a_reply_flower_cannot_build_is_its_senders_failure(
    federation: Any, error: type[Exception]
) -> None:
    one = federation()
    pull = one.grid.pull_messages

    def pulled(identities: list[str]) -> Any:
        replies = list(pull(identities))
        if any(reply.metadata.src_node_id == one.grid.ids["b"] for reply in replies):
            raise error("\x1b[2J")
        return replies

    one.grid.pull_messages = pulled
    asked = [Message(RecordDict(), node, "train") for node in one.grid.ids.values()]
    for name, node in one.grid.ids.items():
        one.grid.answers[name] = lambda message, context, node=node: _from(message, node)
    names = {node: name for name, node in one.grid.ids.items()}
    arrivals = list(exchange(one.grid, asked, names, 30, lambda: one.manifest, one.work))

    missing = {arrival.participant: arrival.missing for arrival in arrivals}
    assert missing == {"a": "", "b": f"its reply cannot be read: {error.__name__}", "c": ""}


def _from(message: Message, node: int) -> Message:
    made = Message(RecordDict(), reply_to=message)
    made.metadata.__dict__["_src_node_id"] = node
    return made
