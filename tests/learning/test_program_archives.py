"""The archives of programs: whole, of the right version, and with known entries only."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.learning.program_archives import copy_cleaned
from tests.learning.archives import (
    CONSTANTS,
    GRAPH,
    SAMPLE,
    WEIGHTS,
    archived,
    edited,
    entries,
    refused,
)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "data/../../evil", "data\\evil", "data/weights/weight_x", "a.py", ""],
)
def test_an_entry_that_no_program_has_is_refused(tmp_path, honest, name):
    path = archived({**entries(honest), name: b"x"}, tmp_path / "m.pt2")

    refused(path, says="that no such program has")


def test_entries_beside_the_root_are_refused(tmp_path, honest):
    path = archived(entries(honest), tmp_path / "m.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil", b"x")

    refused(path, says="that no such program has")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_entries_of_one_name_are_refused(tmp_path, honest):
    path = archived(entries(honest), tmp_path / "m.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"m/{GRAPH}", b"{}")

    refused(path, says="two entries of one name")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("archive_format", b"aoti", "its archive_format is not 'pt2'"),
        ("archive_version", b"1", "its archive_version is not '0'"),
        ("byteorder", b"big", "its byteorder is not 'little'"),
        ("data/aotinductor/model/a.so", b"\x7fELF", "is compiled code"),
        ("constants.pkl", b"", "is a TorchScript file, which holds pickles"),
        ("serialized_exported_program.json", b"{}", "a program of an older torch"),
        ("data/weights/model.pt", b"", "that no such program has"),
        ("extra/notes.txt", b"", "that no such program has"),
        (GRAPH, b"not json", "its models/model.json cannot be read"),
        (GRAPH, b"[1]", "its models/model.json cannot be read"),
        (GRAPH, b"[" * 100_000, "its models/model.json cannot be read"),
        (WEIGHTS, b"{}", "model_weights_config.json cannot be read"),
        (CONSTANTS, b'{"config": []}', "model_constants_config.json cannot be read"),
        (SAMPLE, b"not a zip", "its sample inputs cannot be read"),
    ],
)
def test_an_archive_of_another_kind_or_version_is_refused(tmp_path, honest, name, data, says):
    path = archived({**entries(honest), name: data}, tmp_path / "m.pt2")

    refused(path, says=says)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, CONSTANTS, SAMPLE, "archive_version"])
def test_an_archive_that_lacks_an_entry_is_refused(tmp_path, honest, name):
    held = entries(honest)
    del held[name]

    refused(archived(held, tmp_path / "m.pt2"), says="lacks")


def test_an_archive_that_unfolds_is_refused(tmp_path, honest):
    held = {**entries(honest), "data/weights/weight_0": bytes(50_000_000)}
    path = archived(held, tmp_path / "m.pt2", compression=zipfile.ZIP_DEFLATED)

    refused(path, says="is compressed, which torch never does")


def test_sample_inputs_that_unfold_are_refused(tmp_path, honest):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    path = archived({**entries(honest), SAMPLE: buffer.getvalue()}, tmp_path / "m.pt2")

    refused(path, says="its sample inputs are compressed")


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_anywhere_is_refused(tmp_path_factory, honest, share):
    data = honest.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "m.pt2"
    path.write_bytes(data[: int(share * len(data))])

    refused(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_weight_with_a_flipped_bit_is_refused(tmp_path_factory, honest, data):
    held = entries(honest)
    start = honest.read_bytes().index(held["data/weights/weight_2"])
    at = start + data.draw(st.integers(0, len(held["data/weights/weight_2"]) - 1))
    damaged = bytearray(honest.read_bytes())
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("flip") / "m.pt2"
    path.write_bytes(damaged)

    refused(path)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"sizes": [{"as_int": 10**6}]}, "reaches beyond"),
        ({"sizes": [{"as_int": -1}]}, "has sizes [-1]"),
        ({"storage_offset": {"as_int": 10**9}}, "reaches beyond"),
        ({"strides": [{"as_int": 10**9}]}, "reaches beyond"),
        ({"strides": []}, "and strides []"),
        ({"sizes": [{"as_expr": "x"}]}, "cannot be read"),
        ({"dtype": 13}, "of a dtype that cannot be trained; use float32"),
        ({"dtype": "x"}, "of a dtype that cannot be trained"),
    ],
)
def test_a_weight_that_lies_about_its_size_is_refused(tmp_path, honest, told, says):
    def change(config):
        next(iter(config["config"].values()))["tensor_meta"].update(told)

    path = archived(edited(entries(honest), WEIGHTS, change), tmp_path / "m.pt2")

    refused(path, says=says)


@pytest.mark.parametrize("where", ["../../../etc/passwd", "weight_99", "tensor_0", ""])
def test_a_weight_that_lies_elsewhere_is_refused(tmp_path, honest, where):
    def change(config):
        next(iter(config["config"].values()))["path_name"] = where

    refused(archived(edited(entries(honest), WEIGHTS, change), tmp_path / "m.pt2"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.pt2", says="cannot be read: No such file")


def test_the_copy_torch_reads_holds_no_pickle(tmp_path, honest):
    copy_cleaned(honest, tmp_path / "copy.pt2")

    held = entries(tmp_path / "copy.pt2")
    assert held[SAMPLE] == b""
    assert "metadata" not in json.loads(held[GRAPH]) or not json.loads(held[GRAPH])["metadata"]
    assert b"stack_trace" not in held[GRAPH]
