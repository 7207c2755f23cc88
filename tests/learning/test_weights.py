"""Weights: the same tensors give the same bytes, and the library reads what we write."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from fedspan.errors import Corrupt, InvalidModel
from fedspan.learning.weights import DTYPES, read_weights, sha256_of, write_weights

arrays = st.one_of(
    hn.arrays(np.dtype(name), hn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    for name in DTYPES
)
TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int64)}


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["C"]), min_size=1), arrays))
def test_the_safetensors_library_reads_what_is_written(tmp_path_factory, tensors):
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"

    sha256, size = write_weights(tensors, path)

    back = read_weights(path)
    assert sorted(back) == sorted(tensors)
    for name, one in tensors.items():
        np.testing.assert_array_equal(back[name], one, strict=True)
    assert (sha256, size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    assert sha256_of(path) == sha256


def test_the_order_of_the_tensors_changes_no_byte(tmp_path):
    one = write_weights(TENSORS, tmp_path / "one")

    other = write_weights(dict(reversed(TENSORS.items())), tmp_path / "other")

    assert one == other
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_bytes_are_those_of_the_first_version(tmp_path):
    sha256, size = write_weights(TENSORS, tmp_path / "w")

    assert size == 152
    assert sha256 == "162c1b8cb9dc49944189fb55818766d729fdaf2862faa2b7b06306790c2fe666"


def test_a_view_is_written_as_what_it_shows(tmp_path):
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T

    write_weights({"a": view}, tmp_path / "w")

    np.testing.assert_array_equal(read_weights(tmp_path / "w")["a"], view)


def test_nothing_half_written_stays_behind(tmp_path):
    write_weights(TENSORS, tmp_path / "w")

    assert [one.name for one in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("keep", [0, 4, 8, 30, -1])
def test_a_file_cut_short_is_corrupt(tmp_path, keep):
    write_weights(TENSORS, tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:keep])

    with pytest.raises(Corrupt, match="w is no safetensors file"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": 1}),
        b"\xff" * 64,
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_another_file_is_corrupt(tmp_path, data):
    (tmp_path / "w").write_bytes(data)

    with pytest.raises(Corrupt):
        read_weights(tmp_path / "w")


def test_a_dtype_numpy_lacks_is_corrupt(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")

    with pytest.raises(Corrupt):
        read_weights(tmp_path / "w")


def test_a_dtype_that_cannot_be_stored_is_refused(tmp_path):
    with pytest.raises(InvalidModel, match="tensor a: dtype complex64 cannot be stored"):
        write_weights({"a": np.zeros(2, np.complex64)}, tmp_path / "w")


def test_files_of_the_library_are_read(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "w")

    assert sorted(read_weights(tmp_path / "w")) == ["a", "b"]
