"""Datasets: described, loaded, split the same way every time; what is wrong is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.spec import DataSpec
from fedspan.errors import InvalidDataset
from fedspan.learning.datasets import describe, load

CSV = "a,kind,b\n1,dog,2\n3,cat,4.5\n\n5,dog,-6e1\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str):
        path = tmp_path / "t.csv"
        path.write_text(text)
        return path

    return write


def arrays(path, labels, features=3):
    rows = np.arange(len(labels) * features, dtype=np.float64).reshape(-1, features)
    np.savez(path, x=rows, y=np.array(labels))
    return path


def data(**told):
    return DataSpec(dataset="d", **told)


def test_a_table_is_described(table):
    path = table(CSV)

    described = describe("animals", path, "kind")

    assert described.name == "animals"
    assert described.path == str(path)
    assert described.features == (2,)
    assert described.classes == ("cat", "dog")
    assert described.examples == 3


def test_columns_keep_their_order_without_the_target(table):
    described = describe("animals", table(CSV), "kind")

    split = load(described, data(target="kind", holdout=0.01), 7, "seoul")

    assert split.train_x.tolist() == [[1, 2], [3, 4.5], [5, -60]]
    assert split.train_y.tolist() == [1, 0, 1]
    assert split.train_x.dtype == np.float32
    assert split.train_y.dtype == np.int64


def test_arrays_are_described_and_their_numbers_ordered_as_numbers(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 1, 8, 8)), y=np.array([10, 2, 2, 9]))

    described = describe("digits", tmp_path / "d.npz", "target")

    assert described.features == (1, 8, 8)
    assert described.classes == ("2", "9", "10")


def test_one_and_one_point_zero_are_one_class(tmp_path):
    described = describe("d", arrays(tmp_path / "d.npz", [0.0, 1.0, 1.0]), "target")

    assert described.classes == ("0", "1")


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=60).filter(lambda one: len(set(one)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 2**63 - 1),
)
def test_every_row_is_trained_on_or_held_out_in_the_share_of_its_class(
    tmp_path_factory, labels, holdout, seed
):
    path = arrays(tmp_path_factory.mktemp("d") / "d.npz", labels, features=1)
    described = describe("d", path, "target")

    split = load(described, data(holdout=holdout), seed, "seoul")

    rows = [*split.train_x[:, 0].tolist(), *split.held_x[:, 0].tolist()]
    assert sorted(rows) == list(range(len(labels)))
    for x, y in ((split.train_x, split.train_y), (split.held_x, split.held_y)):
        assert [described.classes[one] for one in y] == [str(labels[int(row)]) for row in x[:, 0]]
    for index, name in enumerate(described.classes):
        total = labels.count(int(name))
        held = int((split.held_y == index).sum())
        assert held == min(int(holdout * total + 0.5), total - 1)


def test_the_split_depends_on_seed_and_participant_alone(tmp_path):
    described = describe("d", arrays(tmp_path / "d.npz", [0, 1] * 30), "target")

    def held(seed, participant):
        return load(described, data(), seed, participant).held_x.tolist()

    assert held(7, "seoul") == held(7, "seoul")
    assert held(7, "seoul") != held(8, "seoul")
    assert held(7, "seoul") != held(7, "busan")


def test_a_class_with_one_row_stays_in_training(tmp_path):
    described = describe("d", arrays(tmp_path / "d.npz", [0, 1, 1, 1]), "target")

    split = load(described, data(holdout=0.9), 7, "seoul")

    assert 0 in split.train_y
    assert 0 not in split.held_y


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "t.csv: row 1 has no column 'kind'"),
        ("a,kinds\n1,x\n", "t.csv: row 1 has no column 'kind'; did you mean 'kinds'?"),
        ("a,a,kind\n1,2,x\n", "t.csv: row 1 names column 'a' twice"),
        ("a,kind\n", "t.csv: has no examples"),
        ("kind\nx\ny\n", "t.csv: has no examples, or examples without features"),
        ("a,kind\n1,x\n2,x\n", "t.csv: kind is always 'x'; want two classes"),
        ("a,b,kind\n1,2,x\n1,two,y\n", "t.csv: row 3, column 'b': 'two' is no number"),
        ("a,b,kind\n1,2,x\n1,,y\n", "t.csv: row 3, column 'b': '' is no number"),
        ("a,b,kind\n1,2,x\n1,nan,y\n", "t.csv: example 2, feature 2 is no number"),
        ("a,b,kind\n1,2,x\n1,1e99,y\n", "t.csv: example 2, feature 2 is no number"),
        ("a,b,kind\n1,2\n", "t.csv: row 2 has 2 columns, the header 3"),
        ("a,kind\n1,x\n2, \n", "t.csv: row 3, column 'kind': is empty"),
        ('a,kind\n1,"x\n', "t.csv: no CSV text in UTF-8"),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(table, text, says):
    path = table(text)

    with pytest.raises(InvalidDataset) as refused:
        describe("d", path, "kind")

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,Kim\n1,x\n", "row 1 has no column 'kind'"),
        ("Kim,Kim,kind\n1,2,x\n", "row 1 names column 1 twice"),
        ("a,kind,b\n1,x,Kim\n", "row 2, column 3 is no number"),
        ("a,kind,Kim\n1,x,2\n1,,2\n", "row 3, column 2 is empty"),
        ("a,kind,b\n1,Kim,2\n", "example 1 is of a class it was not described with"),
        ('a,kind,b\n1,"Kim\n', "no CSV text in UTF-8"),
    ],
)
def test_what_is_said_of_data_in_a_job_has_no_value_of_it(table, text, says):
    described = describe("animals", table(CSV), "kind")
    table(text)

    with pytest.raises(InvalidDataset) as refused:
        load(described, data(target="kind"), 7, "seoul")

    assert str(refused.value) == f"dataset 'animals': {says}"
    assert refused.value.__cause__ is not None


def test_text_of_another_encoding_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,kind\n1,é\n".encode("latin-1"))

    with pytest.raises(InvalidDataset, match="no CSV text in UTF-8"):
        describe("d", tmp_path / "t.csv", "kind")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"x": np.zeros((2, 3))}, "lacks the array 'y'"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3)}, "want numbers x of shape"),
        ({"x": np.zeros(2), "y": np.zeros(2)}, "want numbers x of shape"),
        ({"x": np.array([["a"], ["b"]]), "y": np.zeros(2)}, "want numbers x of shape"),
        ({"x": np.zeros((2, 0)), "y": np.arange(2)}, "examples without features"),
        ({"x": np.full((2, 1), np.inf), "y": np.arange(2)}, "example 1, feature 1 is no number"),
        ({"x": np.full((2, 1), 1e300), "y": np.arange(2)}, "example 1, feature 1 is no number"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, held, says):
    np.savez(tmp_path / "d.npz", **held)

    with pytest.raises(InvalidDataset) as refused:
        describe("d", tmp_path / "d.npz", "target")

    assert says in str(refused.value)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_arrays_that_are_pickles_are_not_unpickled(tmp_path):
    marker = tmp_path / "ran"
    np.savez(tmp_path / "d.npz", x=np.array([Evil(marker)], object), y=np.zeros(1))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Evil(marker)))

    for name in ("d.npz", "raw.npz"):
        with pytest.raises(InvalidDataset):
            describe("d", tmp_path / name, "target")

    assert not marker.exists()


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InvalidDataset, match="there is no such file"):
        describe("d", tmp_path / "none.csv", "kind")
    with pytest.raises(InvalidDataset, match=r"want a \.csv or \.npz file"):
        describe("d", tmp_path / "t.parquet", "kind")


def test_data_that_changed_since_it_was_described_is_refused(table):
    described = describe("animals", table(CSV), "kind")

    table(CSV.replace("cat", "cow"))
    with pytest.raises(InvalidDataset, match="example 2 is of a class it was not") as refused:
        load(described, data(target="kind"), 7, "seoul")
    assert "example 2 is of class 'cow'" in str(refused.value.__cause__)
    table("a,kind\n1,dog\n2,cat\n")
    with pytest.raises(InvalidDataset, match="described as"):
        load(described, data(target="kind"), 7, "seoul")
