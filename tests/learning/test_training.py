"""Training: the same bits for the same seed, and failures in words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedspan.domain.rounds import Metrics
from fedspan.domain.spec import ModelSpec, TrainingSpec
from fedspan.errors import TrainingFailed
from fedspan.learning.datasets import Split
from fedspan.learning.initial import initial_tensors
from fedspan.learning.modules import build, dump_tensors, load_tensors
from fedspan.learning.training import evaluate, train

LAYERS = [{"batch_norm": {}}, {"linear": 16}, {"relu": {}}, {"dropout": 0.3}, {"linear": 3}]
MODEL = ModelSpec.model_validate({"layers": LAYERS})
PLAIN = ModelSpec.model_validate({"layers": [{"linear": 3}]})
SPEC = TrainingSpec(batch_size=8, local_epochs=2, learning_rate=0.01)


def rows(count, scale=1.0):
    random = np.random.default_rng(1)
    y = np.arange(count, dtype=np.int64) % 3
    x = random.normal(size=(count, 4)) + y[:, None]
    return Split((scale * x).astype(np.float32), y, x[:3].astype(np.float32), y[:3])


def fresh(model=MODEL, features=(4,)):
    module = build(model, features, 3)
    load_tensors(module, initial_tensors(model, features, 3, seed=7))
    return module


def trained(seed=5, spec=SPEC, split=None, model=MODEL, proximal_mu=0.0):
    module = fresh(model)
    result = train(module, split or rows(50), spec, seed, proximal_mu)
    return result, {name: one.copy() for name, one in dump_tensors(module).items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_same_seed_gives_the_same_bits(optimizer):
    spec = SPEC.model_copy(update={"optimizer": optimizer})
    one, weights = trained(spec=spec)
    torch.manual_seed(99)

    again, others = trained(spec=spec)

    assert same(weights, others)
    assert (one.loss, one.examples) == (again.loss, 50)


def test_another_seed_gives_others():
    assert not same(trained(seed=5)[1], trained(seed=6)[1])


def test_training_learns():
    split = rows(90)
    module = fresh()
    before = evaluate(module, split.train_x, split.train_y, 3)

    train(module, split, SPEC.model_copy(update={"local_epochs": 20}), 5)

    after = evaluate(module, split.train_x, split.train_y, 3)
    assert after.loss_sum < 0.6 * before.loss_sum


def test_one_full_batch_of_plain_sgd_is_the_step_by_hand():
    split = rows(12)
    spec = TrainingSpec(optimizer="sgd", learning_rate=0.5, batch_size=12)
    by_hand = fresh(PLAIN)
    loss = cross_entropy(by_hand(torch.from_numpy(split.train_x)), torch.from_numpy(split.train_y))
    loss.backward()
    wanted = {
        name: (one - 0.5 * one.grad).detach().numpy() for name, one in by_hand.named_parameters()
    }

    result, weights = trained(spec=spec, split=split, model=PLAIN)

    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    for name, one in wanted.items():
        np.testing.assert_allclose(weights[name], one, rtol=1e-5, atol=1e-6)


def test_the_proximal_term_holds_the_weights_to_those_received():
    start = {name: one.copy() for name, one in dump_tensors(fresh()).items()}

    def drift(mu):
        weights = trained(proximal_mu=mu)[1]
        return sum(float(((weights[name] - start[name]) ** 2).sum()) for name in ("1.weight",))

    assert drift(0.0) > drift(1.0) > drift(100.0)


def test_the_proximal_gradient_is_mu_times_the_drift():
    """The second of two full-batch steps: gradient of the loss plus mu times (w - w_received)."""
    split, mu, rate = rows(12), 0.7, 0.5
    spec = TrainingSpec(optimizer="sgd", learning_rate=rate, batch_size=12, local_epochs=2)
    module = fresh(PLAIN)
    start = [one.detach().clone() for one in module.parameters()]
    for _ in range(2):
        module.zero_grad()
        given = module(torch.from_numpy(split.train_x))
        cross_entropy(given, torch.from_numpy(split.train_y)).backward()
        with torch.no_grad():
            for one, received in zip(module.parameters(), start, strict=True):
                one -= rate * (one.grad + mu * (one - received))

    weights = trained(spec=spec, split=split, model=PLAIN, proximal_mu=mu)[1]

    for name, one in module.named_parameters():
        np.testing.assert_allclose(weights[name], one.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "batches"), [(16, 2), (17, 2), (18, 3), (1, 1), (8, 1), (9, 1)])
def test_a_trailing_batch_of_one_joins_the_one_before(count, batches):
    spec = SPEC.model_copy(update={"local_epochs": 1})
    model = MODEL if count > 1 else PLAIN

    weights = trained(spec=spec, split=rows(count), model=model)[1]

    if model is MODEL:
        assert weights["0.num_batches_tracked"] == batches


def test_examples_are_rows_not_visits():
    result, _ = trained(split=rows(30))

    assert result.examples == 30
    assert result.seconds > 0


def test_a_loss_that_is_no_number_fails_by_batch():
    spec = SPEC.model_copy(update={"optimizer": "sgd", "learning_rate": 1e20})

    with pytest.raises(TrainingFailed, match=r"epoch 1, batch \d of 7: the loss is (nan|inf)") as e:
        trained(spec=spec, model=PLAIN, split=rows(50, scale=1e10))

    assert "a lower training.learning_rate would help" in str(e.value)


def test_weights_that_end_infinite_fail_too():
    spec = TrainingSpec(optimizer="sgd", learning_rate=1e38, batch_size=50)

    with pytest.raises(TrainingFailed, match="weights became infinite"):
        trained(spec=spec, model=PLAIN, split=rows(50, scale=1e4))


def test_no_rows_fail_in_words():
    with pytest.raises(TrainingFailed, match="no rows to train on"):
        trained(split=rows(0))


def test_what_torch_refuses_fails_by_batch():
    with pytest.raises(TrainingFailed, match=r"batch 1 of 1: torch refused it \(ValueError\)"):
        trained(split=rows(1))


def test_an_index_beyond_the_table_fails_by_batch():
    told = {"embedding_bag": {"num_embeddings": 2, "embedding_dim": 2}}
    model = ModelSpec.model_validate({"layers": [told, {"linear": 3}]})

    with pytest.raises(TrainingFailed, match="epoch 1, batch 1 of 7"):
        trained(model=model, split=rows(50, scale=100))


def test_evaluation_counts_true_by_predicted():
    module = torch.nn.Identity()
    x = np.array([[9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 9]], np.float32)

    seen = evaluate(module, x, np.array([0, 1, 1, 2]), 3)

    assert seen.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    assert seen.examples == 4
    assert seen.loss_sum == pytest.approx(9, rel=0.01)
    assert Metrics.of(seen.confusion, seen.loss_sum, ("a", "b", "c")).accuracy == 0.75


def test_evaluation_is_the_same_in_batches_and_changes_nothing(monkeypatch):
    split, module = rows(50), fresh()
    before = {name: one.copy() for name, one in dump_tensors(module).items()}
    whole = evaluate(module, split.train_x, split.train_y, 3)
    monkeypatch.setattr("fedspan.learning.training.EVALUATION_BATCH", 7)

    parts = evaluate(module, split.train_x, split.train_y, 3)

    assert parts.confusion == whole.confusion
    assert parts.loss_sum == pytest.approx(whole.loss_sum, rel=1e-5)
    assert same(before, dump_tensors(module))


def test_weights_that_are_no_numbers_are_not_evaluated():
    module, split = fresh(PLAIN), rows(6)
    load_tensors(module, {name: one * np.nan for name, one in dump_tensors(module).items()})

    with pytest.raises(TrainingFailed, match="evaluation: the loss is nan"):
        evaluate(module, split.train_x, split.train_y, 3)


def test_nothing_held_out_evaluates_to_nothing():
    empty = rows(0)

    seen = evaluate(fresh(), empty.train_x, empty.train_y, 3)

    assert seen.examples == 0
    assert seen.loss_sum == 0


def test_the_callers_switch_for_deterministic_kernels_is_left_as_it_was():
    trained()

    assert not torch.are_deterministic_algorithms_enabled()


def test_importing_initialises_no_cuda():
    code = "import fedspan.learning.training, torch; print(torch.cuda.is_initialized())"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
