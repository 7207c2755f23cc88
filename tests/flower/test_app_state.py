"""What is kept of a strategy, and what is named because it is not."""

from __future__ import annotations

import collections
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
)

from fedspan.errors import Corrupt
from fedspan.flower.app_state import DOCUMENT, Kept, NotKept, as_kept, dump, load
from fedspan.learning.weights import read_weights, write_weights

VALUES: list[Any] = [
    None,
    True,
    2**70,
    "text",
    0.1,
    -math.inf,
    b"\x00\xff",
    [1, (2.5, "x"), {3}],
    {"a": {1: [None]}, (1, 2): False},
    MetricRecord({"loss": 0.5, "counts": [1, 2]}),
    ConfigRecord({"rate": 0.1, "name": "sgd", "raw": b"x"}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was(value: Any, tmp_path: Path) -> None:
    write_weights(dump(value), tmp_path / "state")
    found = load(read_weights(tmp_path / "state"))

    assert found == value and type(found) is type(value)


def test_arrays_come_back_with_their_types_and_their_order(tmp_path: Path) -> None:
    record = ArrayRecord({"z": Array(np.float64([[1, 2]])), "a": Array(np.array(7))})
    write_weights(dump({"record": record, "scalar": np.float32(0.1)}), tmp_path / "state")
    found = load(read_weights(tmp_path / "state"))

    assert list(found["record"]) == ["z", "a"]
    assert [one.numpy().dtype for one in found["record"].values()] == [np.float64, np.int64]
    assert found["scalar"] == np.float32(0.1) and type(found["scalar"]) is np.float32


def test_what_a_model_is_sent_as_is_the_same_from_its_checkpoint(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    arrays = {
        "c": values,
        "f": np.asfortranarray(values),
        "big": values.astype(">f4"),
        "0": values[0, 1],
    }
    record = as_kept(ArrayRecord({name: Array(np.asarray(one)) for name, one in arrays.items()}))
    write_weights({name: one.numpy() for name, one in record.items()}, tmp_path / "model")
    found = read_weights(tmp_path / "model")

    assert record.object_id == ArrayRecord({name: Array(found[name]) for name in arrays}).object_id
    assert all(np.array_equal(record[name].numpy(), one) for name, one in arrays.items())


class Deeper(dict[str, int]):
    """More than its values, for all we know."""


@pytest.mark.parametrize(
    "value",
    [object(), collections.deque([1]), Deeper(), np.array(["word"]), {"inner": [object()]}],
    ids=["object", "deque", "subclass", "words", "inner"],  # the same in every process
)
def test_what_is_not_written_is_never_guessed(value: Any) -> None:
    with pytest.raises(NotKept):
        dump(value)


def test_a_value_that_holds_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(NotKept, match="nested too deeply"):
        dump(endless)


@pytest.mark.parametrize("document", [b"", b"[", b'["ndarray","000009"]', b'["pickle","x"]'])
def test_a_state_that_is_damaged_is_corrupt(document: bytes) -> None:
    with pytest.raises(Corrupt):
        load({DOCUMENT: np.frombuffer(document, np.uint8)})


class Remembering(FedAvg):
    def __init__(self) -> None:
        super().__init__()
        self.folder = "/runs/today"
        self.seen: list[int] = []
        self.log = logging.getLogger("app")
        self.where = Path("x")
        self.queue = collections.deque([1])


def test_only_what_has_changed_is_kept_and_the_rest_is_as_it_is_made_anew() -> None:
    one, other = Remembering(), Remembering()
    kept = Kept(one)
    one.seen.append(3)
    other.folder = "/runs/tomorrow"
    Kept(other).restore(kept.changed())

    assert kept.changed() == {"seen": [3]}
    assert (other.seen, other.folder) == ([3], "/runs/tomorrow")
    assert kept.hidden() == ("strategy.queue (deque)",)


@pytest.mark.parametrize(
    "strategy", [FedAvg(), FedAvgM(), FedAdam()], ids=lambda one: str(type(one))
)
def test_nothing_of_flowers_own_strategies_is_hidden(strategy: FedAvg) -> None:
    kept = Kept(strategy)

    assert kept.hidden() == () and kept.changed() == {}


def test_the_optimiser_of_a_wrapped_strategy_is_kept_too() -> None:
    def wrapped() -> Any:
        return DifferentialPrivacyServerSideFixedClipping(FedAdam(), 0.1, 1.0, 2)

    one, other = wrapped(), wrapped()
    kept = Kept(one)
    one.strategy.m_t = {"w": np.ones(2)}
    one.strategy.current_arrays = {"w": np.ones(2)}
    Kept(other).restore(kept.changed())

    assert list(kept.changed()) == ["strategy.m_t"]
    assert other.strategy.m_t["w"].tolist() == [1.0, 1.0]
