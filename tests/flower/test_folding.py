"""The weighted mean: Flower's value, its own bits whatever the order of arrival, little memory."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedspan.flower.folding import CHUNK, Flat, Fold, finite, view

NAMES = ("a", "b", "c", "d")
SIZE = 2 * CHUNK + 17
WEIGHTS = (5, 300, 1, 42)


def models(size: int = SIZE, dtype: type[np.floating] = np.float32) -> dict[str, Flat]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(size).astype(dtype) for name in NAMES}


def folded(order: tuple[str, ...], flats: dict[str, Flat], waiting: Path) -> Flat:
    fold = Fold(NAMES, flats["a"], waiting)
    for name in order:
        fold.add(name, flats[name], WEIGHTS[NAMES.index(name)])
    return fold.mean()


def flowers_mean(flats: dict[str, Flat]) -> Flat:
    messages = [
        Message(
            RecordDict(
                {
                    "arrays": ArrayRecord({"flat": Array(flat)}),
                    "metrics": MetricRecord({"num-examples": weight}),
                }
            ),
            0,
            MessageType.TRAIN,
        )
        for flat, weight in zip(flats.values(), WEIGHTS, strict=True)
    ]
    mean, _ = FedAvg().aggregate_train(1, messages)
    assert mean is not None
    return mean["flat"].numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_is_that_of_flowers_fedavg(tmp_path: Path, dtype: type[np.floating]) -> None:
    flats = models(dtype=dtype)

    mean = folded(NAMES, flats, tmp_path / "waiting")

    assert mean.dtype == dtype
    np.testing.assert_allclose(mean, flowers_mean(flats), rtol=1e-5, atol=1e-6)


def test_every_order_of_arrival_gives_the_same_bits(tmp_path: Path) -> None:
    flats = models()

    means = [
        folded(order, flats, tmp_path / "waiting").tobytes()
        for order in itertools.permutations(NAMES)
    ]

    assert len(set(means)) == 1


def test_a_lone_participants_model_comes_out_as_it_went_in(tmp_path: Path) -> None:
    fold, flat = Fold(["a"], models()["a"], tmp_path / "waiting"), models()["a"]
    fold.add("a", flat, 569)

    assert fold.mean().tobytes() == flat.tobytes()


@pytest.mark.parametrize("absent", NAMES)
def test_who_is_skipped_leaves_the_mean_of_the_others(tmp_path: Path, absent: str) -> None:
    flats = models(1000)
    fold = Fold(NAMES, flats["a"], tmp_path / "waiting")
    present = [name for name in reversed(NAMES) if name != absent]
    fold.skip(absent)
    for name in present:
        fold.add(name, flats[name], 3)

    assert fold.total == 9
    np.testing.assert_allclose(
        fold.mean(), np.mean([flats[name] for name in present], axis=0), rtol=1e-5, atol=1e-6
    )


def test_replies_that_came_too_early_leave_no_files_behind(tmp_path: Path) -> None:
    folded(("d", "c", "b", "a"), models(), tmp_path / "waiting")

    assert list(tmp_path.iterdir()) == []


def test_files_of_an_aggregator_that_died_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "waiting").mkdir()
    (tmp_path / "waiting" / "b").write_bytes(b"stale")
    flats = models(100)

    mean = folded(("b", "a", "d", "c"), flats, tmp_path / "waiting")

    assert mean.tobytes() == folded(NAMES, flats, tmp_path / "waiting").tobytes()


@pytest.mark.parametrize(
    ("flat", "examples"),
    [(np.zeros(9, np.float32), 1), (np.zeros(10), 1), (np.zeros(10, np.float32), 0)],
)
def test_a_reply_that_cannot_count_is_refused(tmp_path: Path, flat: Flat, examples: int) -> None:
    fold = Fold(["a"], np.zeros(10, np.float32), tmp_path / "waiting")

    with pytest.raises(ValueError, match="cannot count"):
        fold.add("a", flat, examples)


def test_there_is_no_mean_before_all_had_their_turn(tmp_path: Path) -> None:
    fold = Fold(["a", "b"], np.zeros(10, np.float32), tmp_path / "waiting")
    fold.add("b", np.ones(10, np.float32), 1)

    with pytest.raises(ValueError, match="no mean yet"):
        fold.mean()


def test_folding_takes_no_memory_for_another_model(tmp_path: Path) -> None:
    flats = models(8 * CHUNK)
    fold = Fold(NAMES, flats["a"], tmp_path / "waiting")
    tracemalloc.start()
    for name in reversed(NAMES):
        fold.add(name, flats[name], 2)
    mean = fold.mean()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < mean.nbytes / 4


@settings(max_examples=50, deadline=None)
@given(
    values=arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    fortran=st.booleans(),
)
def test_a_view_has_the_values_flower_would_copy(values: Flat, fortran: bool) -> None:
    array = Array(np.asfortranarray(values) if fortran else np.asarray(values))

    seen = view(array)

    np.testing.assert_array_equal(seen, array.numpy())
    assert seen.dtype == values.dtype
    assert not seen.flags.writeable


def test_a_view_shares_the_memory_of_the_array() -> None:
    array = Array(np.arange(1000, dtype=np.float32))

    seen = view(array)

    assert np.shares_memory(seen, np.frombuffer(array.data, np.uint8))


@pytest.mark.parametrize("data", [b"", b"not a file of numpy's", b"\x93NUMPY\x01\x00v\x00{'descr"])
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        view(Array("float32", (1,), "numpy.ndarray", data))


def test_objects_are_refused() -> None:
    whole = Array(np.zeros(4, np.float64))
    pickled = whole.data.replace(b"'<f8'", b"'|O' ")

    with pytest.raises(ValueError, match="OBJECT"):
        view(Array("object", (4,), "numpy.ndarray", pickled))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, SIZE - 1])
def test_one_value_that_is_no_number_is_found(bad: float, place: int) -> None:
    flat = np.zeros(SIZE, np.float32)
    flat[place] = bad

    assert not finite(flat)


def test_huge_values_are_finite_though_their_squares_are_not() -> None:
    assert finite(np.full(100, np.finfo(np.float32).max, np.float32))
