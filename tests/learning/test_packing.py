"""Packing: whatever a model's tensors are, they come back as they went."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from fedspan.errors import Corrupt, InvalidModel
from fedspan.learning.packing import Layout

shapes = hn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.one_of(
    hn.arrays(np.float32, shapes),
    hn.arrays(np.float16, shapes, elements=st.floats(-8, 8, width=16)),
    hn.arrays(np.int64, shapes, elements=st.integers(-(2**24), 2**24)),
    hn.arrays(np.uint8, shapes),
    hn.arrays(np.bool_, shapes),
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), arrays, max_size=5))
def test_what_is_packed_comes_back(tensors):
    layout = Layout.of(tensors)

    flat = layout.pack(tensors)
    back = layout.unpack(flat)

    assert flat.shape == (layout.size,)
    assert flat.dtype == np.float32
    assert sorted(back) == sorted(tensors)
    for name, one in tensors.items():
        assert back[name].dtype == one.dtype
        np.testing.assert_array_equal(back[name], one, strict=True)


def test_one_double_makes_the_whole_array_double():
    tensors = {"a": np.array([1 / 3]), "b": np.ones(2, np.float32)}

    flat = Layout.of(tensors).pack(tensors)

    assert flat.dtype == np.float64
    assert Layout.of(tensors).unpack(flat)["a"] == 1 / 3


def test_the_layout_does_not_depend_on_the_order_of_the_tensors():
    a, b = np.ones(2, np.float32), np.zeros(3, np.float32)

    assert Layout.of({"a": a, "b": b}) == Layout.of({"b": b, "a": a})


def test_counts_are_rounded_and_flags_too():
    layout = Layout.of({"flag": np.array(True), "seen": np.array(0, np.int64)})

    back = layout.unpack(np.array([0.4, 7.6], np.float32))

    assert back["seen"] == 8
    assert back["flag"] == np.False_


def test_packing_copies_once_and_unpacking_not_at_all():
    tensors = {name: np.ones(1_000_000, np.float32) for name in "abcd"}
    layout = Layout.of(tensors)

    tracemalloc.start()
    flat = layout.pack(tensors)
    packed = tracemalloc.get_traced_memory()[1]
    back = layout.unpack(flat)
    unpacked = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert packed < 1.01 * flat.nbytes
    assert unpacked < 1.01 * flat.nbytes
    assert all(np.shares_memory(one, flat) for one in back.values())


@pytest.mark.parametrize(
    "flat",
    [
        np.zeros(3, np.float32),
        np.zeros(0, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.int64),
    ],
)
def test_an_array_of_another_size_or_kind_is_corrupt(flat):
    layout = Layout.of({"a": np.zeros((2, 2), np.float32)})

    with pytest.raises(Corrupt, match="want 4 floats"):
        layout.unpack(flat)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1.0])
def test_a_count_that_is_no_count_is_corrupt(value):
    layout = Layout.of({"seen": np.zeros(1, np.uint8)})

    with pytest.raises(Corrupt, match="seen holds values that are no uint8"):
        layout.unpack(np.array([value], np.float32))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": np.zeros((4, 1), np.float32)},
        {"b": np.zeros((2, 2), np.float32)},
        {"a": np.zeros((2, 2), np.float32), "b": np.zeros(1, np.float32)},
    ],
)
def test_other_tensors_than_the_layouts_are_refused(tensors):
    layout = Layout.of({"a": np.zeros((2, 2), np.float32)})

    with pytest.raises(InvalidModel):
        layout.pack(tensors)


@pytest.mark.parametrize("dtype", [np.complex64, np.longdouble, "U3", object])
def test_what_is_no_number_cannot_be_packed(dtype):
    with pytest.raises(InvalidModel, match="tensor a: dtype"):
        Layout.of({"a": np.zeros(2, dtype)})
