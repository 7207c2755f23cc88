"""Modules: tensors in and out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedspan.domain.spec import ModelSpec
from fedspan.errors import InvalidModel
from fedspan.learning.modules import build, dump_tensors, load_tensors

MODEL = ModelSpec.model_validate({"layers": [{"batch_norm": {}}, {"linear": 2}]})


def test_what_is_loaded_is_dumped():
    module = build(MODEL, (3,), 2)
    given = {name: one + 1 for name, one in dump_tensors(module).items()}

    load_tensors(module, given)

    back = dump_tensors(module)
    assert list(back) == list(module.state_dict())
    for name, one in given.items():
        np.testing.assert_array_equal(back[name], one, strict=True)
    assert back["0.num_batches_tracked"].dtype == np.int64


def test_loading_copies():
    module = build(MODEL, (3,), 2)
    given = {name: one.copy() for name, one in dump_tensors(module).items()}
    load_tensors(module, given)

    given["1.weight"][...] = 99

    assert dump_tensors(module)["1.weight"].max() < 99


def test_tensors_that_may_not_be_written_can_be_loaded():
    module = build(MODEL, (3,), 2)
    given = {name: one.copy() for name, one in dump_tensors(module).items()}
    for one in given.values():
        one.flags.writeable = False

    load_tensors(module, given)

    assert np.array_equal(dump_tensors(module)["1.weight"], given["1.weight"])


@pytest.mark.parametrize("change", ["missing", "strange", "shape"])
def test_tensors_of_another_model_are_refused(change):
    module = build(MODEL, (3,), 2)
    given = dump_tensors(module)
    if change == "missing":
        del given["1.bias"]
    elif change == "strange":
        given["2.bias"] = np.zeros(1, np.float32)
    else:
        given["1.bias"] = np.zeros(3, np.float32)

    with pytest.raises(InvalidModel, match=r"1\.bias|2\.bias"):
        load_tensors(module, given)


def test_tables_take_whole_numbers_that_arrive_as_floats():
    told = {"num_embeddings": 5, "embedding_dim": 4}
    for layers in (
        [{"embedding": told}, {"flatten": {}}, {"linear": 2}],
        [{"embedding_bag": told}, {"linear": 2}],
    ):
        module = build(ModelSpec.model_validate({"layers": layers}), (3,), 2)

        given = module(torch.tensor([[0.0, 1.0, 4.0]]))

        assert given.shape == (1, 2)


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(InvalidModel, match="the last layer gives 2 values"):
        build(MODEL, (3,), 5)
