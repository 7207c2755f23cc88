"""Initial weights: torch's distributions, our bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from fedspan.domain.spec import ModelSpec
from fedspan.errors import InvalidModel
from fedspan.learning.initial import initial_tensors
from fedspan.learning.modules import build, load_tensors

MODEL = ModelSpec.model_validate(
    {
        "layers": [
            {"conv2d": {"filters": 16, "kernel": 3, "groups": 2}},
            {"batch_norm": {}},
            {"flatten": {}},
            {"linear": 64},
            {"layer_norm": {}},
            {"linear": 3},
        ]
    }
)
TABLE = ModelSpec.model_validate(
    {"layers": [{"embedding_bag": {"num_embeddings": 400, "embedding_dim": 16}}, {"linear": 2}]}
)


def test_the_same_seed_gives_the_same_bits():
    one, again = (initial_tensors(MODEL, (4, 6, 6), 3, seed=7) for _ in range(2))
    other = initial_tensors(MODEL, (4, 6, 6), 3, seed=8)

    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["0.weight"], other["0.weight"])


def test_a_tensor_does_not_depend_on_those_before_it():
    wider = ModelSpec.model_validate({"layers": [{"linear": 8}, {"linear": 8}, {"linear": 3}]})
    other = ModelSpec.model_validate({"layers": [{"linear": 9}, {"linear": 8}, {"linear": 3}]})

    one, two = (initial_tensors(model, (4,), 3, seed=7) for model in (wider, other))

    assert np.array_equal(one["2.weight"], two["2.weight"])


@pytest.mark.parametrize(("model", "features"), [(MODEL, (4, 6, 6)), (TABLE, (5,))])
def test_they_are_distributed_as_torch_does(model, features):
    classes = 3 if model is MODEL else 2
    torch.manual_seed(1)
    module = build(model, features, classes)

    ours = initial_tensors(model, features, classes, seed=7)

    assert list(ours) == list(module.state_dict())
    for name, wanted in module.state_dict().items():
        given = ours[name]
        assert given.shape == tuple(wanted.shape)
        assert str(given.dtype) == str(wanted.dtype).removeprefix("torch.")
        if given.size < 100 or wanted.unique().numel() == 1:
            continue
        assert given.std() == pytest.approx(wanted.std().item(), rel=0.15)
        assert abs(given).max() == pytest.approx(wanted.abs().max().item(), rel=0.25)
        assert given.mean() == pytest.approx(0, abs=0.15 * float(given.std()))


def test_what_torch_sets_to_zero_or_one_is_zero_or_one():
    module = build(MODEL, (4, 6, 6), 3)

    ours = initial_tensors(MODEL, (4, 6, 6), 3, seed=7)

    for name, wanted in module.state_dict().items():
        if wanted.unique().numel() == 1:
            np.testing.assert_array_equal(ours[name], wanted.numpy(), strict=True)
    load_tensors(module, ours)


def test_uniform_draws_stay_in_their_bounds():
    ours = initial_tensors(MODEL, (4, 6, 6), 3, seed=7)

    assert abs(ours["0.weight"]).max() <= np.float32(1 / np.sqrt(2 * 9))
    assert abs(ours["3.bias"]).max() <= np.float32(1 / np.sqrt(16 * 16))


def test_the_bits_are_those_of_the_first_version():
    ours = initial_tensors(TABLE, (5,), 2, seed=7)

    first = [0.24475768208503723, 0.20354509353637695, -0.011866152286529541]
    assert ours["1.weight"].ravel()[:3].tolist() == first


def test_declared_layers_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from fedspan.domain.spec import ModelSpec\n"
        "from fedspan.learning.initial import initial_tensors\n"
        "model = ModelSpec.model_validate({'layers': [{'linear': 2}]})\n"
        "print(sorted(initial_tensors(model, (3,), 2, 7)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['0.bias', '0.weight']\n"


def test_a_program_that_is_not_at_hand_is_said_so():
    with pytest.raises(InvalidModel, match=r"model.file: m.pt2 is not at hand"):
        initial_tensors(ModelSpec(file="m.pt2"), (3,), 2, seed=7)
