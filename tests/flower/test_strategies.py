"""Flower's strategies, as the spec names them, and their state across a crash."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import flwr.serverapp.strategy
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedspan.domain.spec import StrategySpec
from fedspan.domain.strategies import AVERAGING, REQUIRED, SHARED, STRATEGIES
from fedspan.errors import InvalidRequest, TrainingFailed
from fedspan.flower.strategies import (
    CLASSES,
    WHOLE,
    aggregate,
    build,
    configure,
    gathering,
    restore,
    state,
)
from fedspan.flower.wire import Trained, arrays

OPTIONS = {
    "fedavgm": {"server_momentum": 0.9, "server_learning_rate": 0.7},
    "fedprox": {"proximal_mu": 0.1},
    "fedtrimmedavg": {"beta": 0.2},
    "multikrum": {"num_nodes_to_select": 3, "num_malicious_nodes": 1},
    "krum": {"num_malicious_nodes": 1},
    "bulyan": {"num_malicious_nodes": 1},
    "qfedavg": {"client_learning_rate": 0.1, "q": 0.2},
}
PEOPLE = [f"p{index}" for index in range(7)]
ROUNDS, CRASH = 4, 2


def made(name: str) -> FedAvg:
    return build(StrategySpec(name=name, options=OPTIONS.get(name, {})), len(PEOPLE))


def reply(flat: NDArray[Any], number: int, index: int) -> Trained:
    """A participant's model: the global one, moved by something of its own."""
    random = np.random.default_rng([number, index])
    moved = flat + random.standard_normal(flat.size).astype(flat.dtype) / 10
    return Trained(Array(moved), moved, 10 + index, 0.5 + index / 10, 1.0)


def one_round(strategy: FedAvg, name: str, number: int, flat: NDArray[Any]) -> NDArray[Any]:
    record = arrays(Array(flat))
    messages = configure(strategy, number, record, ConfigRecord(), range(len(PEOPLE)))
    assert len(messages) == len(PEOPLE)
    with tempfile.TemporaryDirectory() as folder:
        gathered = gathering(name, PEOPLE, flat, Path(folder, "waiting"))
        for index, participant in reversed(list(enumerate(PEOPLE))):
            gathered.add(participant, reply(flat, number, index))
        return aggregate(strategy, number, gathered, flat)


def first() -> NDArray[Any]:
    return np.random.default_rng(1).standard_normal(500).astype(np.float32)


def plain(value: object) -> object:
    """An attribute of a strategy as something that can be compared bit by bit."""
    match value:
        case ArrayRecord():
            return {key: array.data for key, array in value.items()}
        case dict():
            return {key: one.tobytes() for key, one in value.items()}
        case list():
            return [one.tobytes() for one in value]
        case _:
            return value


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_restored_after_a_crash_ends_with_the_same_bits(name: str) -> None:
    straight, flat = made(name), first()
    for number in range(1, ROUNDS + 1):
        flat = one_round(straight, name, number, flat)

    before, resumed = made(name), first()
    for number in range(1, CRASH + 1):
        resumed = one_round(before, name, number, resumed)
    after = made(name)
    restore(after, {key: values.copy() for key, values in state(before).items()})
    del before
    for number in range(CRASH + 1, ROUNDS + 1):
        resumed = one_round(after, name, number, resumed)

    assert resumed.dtype == np.float32
    assert resumed.tobytes() == flat.tobytes()
    assert {key: plain(one) for key, one in vars(after).items()} == {
        key: plain(one) for key, one in vars(straight).items()
    }


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_without_its_state_a_server_optimiser_would_end_elsewhere(name: str) -> None:
    straight, forgetful = made(name), made(name)
    flat = one_round(straight, name, 1, first())

    assert state(straight)
    assert (
        one_round(straight, name, 2, flat).tobytes()
        != one_round(forgetful, name, 2, flat).tobytes()
    )


@pytest.mark.parametrize("name", sorted(AVERAGING))
def test_folded_replies_give_what_flower_makes_of_all_of_them(name: str) -> None:
    whole = made(name)
    list(configure(whole, 1, arrays(Array(first())), ConfigRecord(), range(len(PEOPLE))))
    gathered = gathering("fedmedian", PEOPLE, first(), Path())
    for index, participant in enumerate(PEOPLE):
        gathered.add(participant, reply(first(), 1, index))

    expected = aggregate(whole, 1, gathered, first())

    np.testing.assert_allclose(
        one_round(made(name), name, 1, first()), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_of_the_spec_agrees_with_the_installed_flower(name: str) -> None:
    cls_name, options = STRATEGIES[name]
    cls = getattr(flwr.serverapp.strategy, cls_name)
    parameters = inspect.signature(cls).parameters
    common = inspect.signature(FedAvg).parameters.keys()
    own = {
        key for key, one in parameters.items() if key not in common and "Callable" not in str(one)
    } - {"train_loss_key"}

    assert CLASSES[cls_name] is cls
    assert options == own
    assert common >= SHARED
    assert {one for one in own if parameters[one].default is inspect.Parameter.empty} == (
        REQUIRED.get(name, frozenset())
    )
    assert {one for one in own if parameters[one].annotation is int} == own & WHOLE


def test_every_strategy_flower_builds_in_is_offered_or_known_to_be_left_out() -> None:
    left_out = {
        "DifferentialPrivacyClientSideAdaptiveClipping",
        "DifferentialPrivacyClientSideFixedClipping",
        "DifferentialPrivacyServerSideAdaptiveClipping",
        "DifferentialPrivacyServerSideFixedClipping",
        "FedOpt",
        "FedXgbBagging",
        "FedXgbCyclic",
        "Result",
        "Strategy",
    }

    assert set(flwr.serverapp.strategy.__all__) - left_out == CLASSES.keys()


def test_the_quorum_is_the_minimum_of_nodes() -> None:
    strategy = build(StrategySpec(name="fedavg"), 3)

    assert (
        strategy.min_train_nodes,
        strategy.min_evaluate_nodes,
        strategy.min_available_nodes,
    ) == (3, 3, 3)


def test_a_value_flower_refuses_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match=r"strategy fedtrimmedavg: .*beta"):
        build(StrategySpec(name="fedtrimmedavg", options={"beta": 0.9}), 2)


def test_too_few_replies_for_a_robust_strategy_fail_the_training() -> None:
    gathered = gathering("bulyan", ["a", "b"], first(), Path())
    gathered.add("a", reply(first(), 1, 0))
    strategy = build(StrategySpec(name="bulyan"), 2)

    with pytest.raises(TrainingFailed, match="round 3: Bulyan makes no model of 1 replies"):
        aggregate(strategy, 3, gathered, first())


def test_an_aggregate_that_is_not_finite_fails_the_training(tmp_path: Path) -> None:
    huge = np.full(500, np.finfo(np.float32).max, np.float32)
    gathered = gathering("fedavg", ["a", "b"], huge, tmp_path / "waiting")
    with np.errstate(over="ignore"):
        for participant in ("a", "b"):
            gathered.add(participant, Trained(Array(huge), huge, 1, 0.0, 0.0))

    with pytest.raises(TrainingFailed, match="not finite"):
        aggregate(made("fedavg"), 1, gathered, huge)
