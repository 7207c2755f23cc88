"""Metrics from summed confusion counts, and the choice of a round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from fedspan.domain.rounds import Checkpoint, Metrics, Participation, Round, Status
from fedspan.domain.selection import select
from fedspan.domain.spec import Metric, SelectionSpec


def confusion(true: list[int], predicted: list[int], classes: int) -> list[list[int]]:
    counts = np.zeros((classes, classes), dtype=int)
    for t, p in zip(true, predicted, strict=True):
        counts[t, p] += 1
    return [[int(one) for one in row] for row in counts]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    classes = draw(st.integers(2, 5))
    size = draw(st.integers(1, 60))
    labels = st.lists(st.integers(0, classes - 1), min_size=size, max_size=size)
    return classes, draw(labels), draw(labels)


@given(predictions())
def test_metrics_agree_with_scikit_learn(case: tuple[int, list[int], list[int]]) -> None:
    classes, true, predicted = case
    names = [f"c{index}" for index in range(classes)]
    ours = Metrics.of(confusion(true, predicted, classes), 12.5, names)
    average = "binary" if classes == 2 else "macro"
    theirs = precision_recall_fscore_support(
        true, predicted, labels=list(range(classes)), average=average, zero_division=0
    )

    assert ours.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3])
    assert ours.loss == pytest.approx(12.5 / len(true))
    assert ours.examples == len(true)


@given(st.lists(predictions(), min_size=1, max_size=4))
def test_summing_counts_is_the_same_as_looking_at_all_rows(
    cases: list[tuple[int, list[int], list[int]]],
) -> None:
    names = [f"c{index}" for index in range(5)]
    summed = sum(np.array(confusion(t, p, 5)) for _, t, p in cases)
    rows = [row for _, t, _ in cases for row in t], [row for _, _, p in cases for row in p]
    whole = Metrics.of(confusion(*rows, 5), 1.0, names)

    assert Metrics.of([[int(x) for x in row] for row in summed], 1.0, names) == whole


def test_the_positive_class_is_the_one_named() -> None:
    counts = [[8, 2], [4, 6]]
    good = Metrics.of(counts, 0.0, ["bad", "good"])
    bad = Metrics.of(counts, 0.0, ["bad", "good"], positive="bad")

    assert good.recall == 0.6
    assert bad.recall == 0.8


def test_no_rows_are_zeros_and_no_error() -> None:
    assert Metrics.of([[0, 0], [0, 0]], 0.0, ["a", "b"]).f1 == 0.0


def a_round(number: int, right: int | None, loss: float = 1.0) -> Round:
    metrics = None
    if right is not None:
        metrics = Metrics.of([[right, 50 - right], [50 - right, right]], loss * 100, ["a", "b"])
    return Round(
        job="j",
        number=number,
        epoch=1,
        seconds=1.0,
        metrics=metrics,
        participants={"seoul": Participation(status=Status.DONE)},
        parameters=1,
        checkpoint=Checkpoint(key="k", sha256="0" * 64, bytes=1),
    )


@pytest.mark.parametrize("metric", Metric)
def test_the_best_round_by_the_metric_is_chosen(metric: Metric) -> None:
    rounds = [a_round(1, 40), a_round(2, 48), a_round(3, 44)]
    found = select(rounds, SelectionSpec(metric=metric, at_least=0.9))

    assert found is not None
    assert (found.round, found.metric, found.value) == (2, metric.value, 0.96)
    assert found.qualifies


def test_a_tie_goes_to_the_lower_loss_and_then_to_the_earlier_round() -> None:
    rounds = [a_round(1, 45, loss=0.5), a_round(2, 45, loss=0.4), a_round(3, 45, loss=0.4)]
    found = select(rounds, SelectionSpec())

    assert found is not None and found.round == 2


def test_below_the_threshold_the_best_is_still_told() -> None:
    found = select([a_round(1, 40)], SelectionSpec(metric=Metric.F1, at_least=0.9))

    assert found is not None and not found.qualifies and found.value == 0.8


@pytest.mark.parametrize("rounds", [[], [a_round(1, None)]])
def test_without_an_evaluated_round_nothing_is_chosen(rounds: list[Any]) -> None:
    assert select(rounds, SelectionSpec()) is None
