"""The demo's hospitals: unequal, disjoint, and able to learn together."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from fedspan.domain.layers import architecture
from fedspan.domain.parsing import parsed
from fedspan.domain.rounds import Metrics
from fedspan.domain.seeds import derive
from fedspan.domain.spec import JobSpec
from fedspan.learning.datasets import load
from fedspan.learning.initial import initial_tensors
from fedspan.learning.modules import build, dump_tensors, load_tensors
from fedspan.learning.packing import Layout
from fedspan.learning.training import evaluate, train
from fedspan.local.hospitals import TARGET, demo_spec, write_hospitals

CLASSES = ("benign", "malignant")


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return write_hospitals(tmp_path_factory.mktemp("hospitals"))


def table(site):
    with Path(site.datasets[0].path).open(newline="") as file:
        return list(csv.DictReader(file))


def federate(spec, sites):
    """Plain weighted FedAvg in this process; the metrics of each round."""
    data = {site.name: load(site.datasets[0], spec.data, spec.seed, site.name) for site in sites}
    first = initial_tensors(spec.model, (30,), 2, spec.seed)
    layout, module = Layout.of(first), build(spec.model, (30,), 2)
    flat = layout.pack(first)
    for number in range(1, spec.rounds + 1):
        total, weight = np.zeros(layout.size), 0
        for name, split in data.items():
            load_tensors(module, layout.unpack(flat))
            done = train(module, split, spec.training, derive(spec.seed, "train", number, name))
            total += done.examples * layout.pack(dump_tensors(module))
            weight += done.examples
        flat = (total / weight).astype(np.float32)
        load_tensors(module, layout.unpack(flat))
        seen = [evaluate(module, one.held_x, one.held_y, 2) for one in data.values()]
        confusion = np.sum([one.confusion for one in seen], axis=0).tolist()
        loss_sum = sum(one.loss_sum for one in seen)
        yield Metrics.of(confusion, loss_sum, CLASSES, spec.data.positive)


def test_three_hospitals_of_unequal_size_and_case_mix(sites):
    described = [site.datasets[0] for site in sites]
    malignant = [sum(row[TARGET] == "malignant" for row in table(site)) for site in sites]

    assert [site.name for site in sites] == ["seoul", "busan", "daejeon"]
    assert [one.examples for one in described] == [288, 160, 121]
    assert malignant == [127, 53, 32]
    assert {one.classes for one in described} == {CLASSES}
    assert {one.features for one in described} == {(30,)}
    assert all(site.country == "KR" and site.latitude and site.longitude for site in sites)


def test_every_patient_is_in_one_hospital(sites):
    rows = [
        tuple(float(v) for k, v in row.items() if k != TARGET) for s in sites for row in table(s)
    ]

    assert sorted(rows) == sorted(map(tuple, load_breast_cancer().data.tolist()))


def test_writing_twice_changes_nothing_and_another_seed_deals_otherwise(tmp_path):
    first = write_hospitals(tmp_path)
    path = tmp_path / "seoul.csv"
    before = (path.read_bytes(), path.stat().st_mtime_ns)

    again = write_hospitals(tmp_path)

    assert again == first
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "busan.csv",
        "daejeon.csv",
        "seoul.csv",
    ]
    write_hospitals(tmp_path / "other", seed=8)
    assert (tmp_path / "other" / "seoul.csv").read_bytes() != before[0]


def test_the_demos_job_is_valid_and_normalises_first():
    spec = parsed(JobSpec, demo_spec(5, 3))

    assert (spec.rounds, spec.seed) == (5, 3)
    assert spec.model.layers is not None
    assert spec.model.layers[0].kind == "batch_norm"
    assert architecture(spec.model.layers, (30,), 2).parameters == 1118


def test_together_they_learn_to_tell_malignant_from_benign(sites):
    last = [[*federate(parsed(JobSpec, demo_spec(10, seed)), sites)][-1] for seed in range(5)]

    scores = [one.f1 for one in last]
    assert min(scores) > 0.9
    assert median(scores) > 0.95
    assert median(one.loss for one in last) < 0.15


def test_a_run_repeats_to_the_bit(sites):
    spec = parsed(JobSpec, demo_spec(2, 7))

    assert [*federate(spec, sites)] == [*federate(spec, sites)]
