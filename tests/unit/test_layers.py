"""Declared layers: their YAML form, and inference held against torch itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.layers import KINDS, Layer, Shape, architecture
from fedspan.domain.parsing import parsed
from fedspan.domain.spec import JobSpec, ModelSpec
from fedspan.errors import InvalidModel, InvalidRequest
from fedspan.learning.modules import build

small = st.integers(1, 6)
size = st.one_of(small, st.tuples(small, small).map(list))
margin = st.one_of(st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)).map(list))


def conv(sizes: st.SearchStrategy[Any], margins: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(
        {"filters": small, "kernel": sizes},
        optional={
            "stride": sizes,
            "padding": margins,
            "dilation": sizes,
            "groups": st.integers(1, 3),
            "bias": st.booleans(),
        },
    )


def pool(sizes: st.SearchStrategy[Any], margins: st.SearchStrategy[Any]) -> Any:
    told = st.fixed_dictionaries({"kernel": sizes}, optional={"stride": sizes, "padding": margins})
    return st.one_of(small, told)


TOLD: dict[str, st.SearchStrategy[Any]] = {
    "linear": st.one_of(small, st.fixed_dictionaries({"units": small, "bias": st.booleans()})),
    "conv1d": conv(small, st.integers(0, 2)),
    "conv2d": conv(size, margin),
    "max_pool1d": pool(small, st.integers(0, 2)),
    "max_pool2d": pool(size, margin),
    "avg_pool1d": pool(small, st.integers(0, 2)),
    "avg_pool2d": pool(size, margin),
    "adaptive_avg_pool1d": small,
    "adaptive_avg_pool2d": small,
    "adaptive_max_pool1d": small,
    "adaptive_max_pool2d": st.one_of(
        small, st.fixed_dictionaries({"output_size": st.tuples(small, small).map(list)})
    ),
    "batch_norm": st.one_of(st.just({}), st.just({"affine": False, "momentum": 0.3})),
    "layer_norm": st.one_of(st.just({}), st.just({"elementwise_affine": False})),
    "group_norm": st.one_of(small, st.just({"num_groups": 2, "affine": False})),
    "dropout": st.floats(0, 0.9),
    "dropout2d": st.floats(0, 0.9),
    "unflatten": st.lists(small, min_size=1, max_size=3),
    "embedding": st.fixed_dictionaries({"num_embeddings": small, "embedding_dim": small}),
    "embedding_bag": st.fixed_dictionaries(
        {"num_embeddings": small, "embedding_dim": small},
        optional={"mode": st.sampled_from(["mean", "sum", "max"])},
    ),
    "leaky_relu": st.floats(0.0, 0.5),
    "elu": st.floats(0.5, 2.0),
    "gelu": st.sampled_from(["none", "tanh"]),
}
features = st.sampled_from([(1,), (6,), (24,), (2, 9), (3, 8, 8), (1, 12, 7), (4, 1, 1)])


@st.composite
def layer_yaml(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    return {kind: draw(TOLD.get(kind, st.just({})))}


@st.composite
def fitting(draw: st.DrawFn, shape: Shape, classes: int) -> list[dict[str, Any]]:
    """A stack that fits: layers that do not are left out, the end is made right."""
    layers: list[dict[str, Any]] = []
    for one in draw(st.lists(layer_yaml(), max_size=8)):
        try:
            after = architecture(read([*layers, one, *ending(classes)]), shape, classes)
        except InvalidModel:
            continue
        assert after
        layers.append(one)
    return [*layers, *ending(classes)]


def ending(classes: int) -> list[dict[str, Any]]:
    return [{"flatten": {}}, {"linear": classes}]


def read(layers: list[Any]) -> tuple[Layer, ...]:
    model = parsed(ModelSpec, {"layers": layers})
    assert model.layers is not None
    return model.layers


def agrees_with_torch(layers: tuple[Layer, ...], shape: Shape, classes: int) -> None:
    inferred = architecture(layers, shape, classes)
    module = build(ModelSpec(layers=layers), shape, classes)
    assert isinstance(module, torch.nn.Sequential)
    x = torch.zeros(3, *shape)
    for mode in (True, False):
        value = x
        for step, after in zip(module.train(mode), inferred.shapes, strict=True):
            value = step(value)
            assert tuple(value.shape) == (3, *after)
    real = [
        (name, tuple(one.shape), str(one.dtype).removeprefix("torch."))
        for name, one in module.state_dict().items()
    ]
    trainable = dict(module.named_parameters())
    assert [(one.name, one.shape, one.dtype) for one in inferred.tensors] == real
    assert {one.name for one in inferred.tensors if one.kind == "parameter"} == set(trainable)
    assert inferred.parameters == sum(one.numel() for one in trainable.values())


@settings(deadline=None, max_examples=150)
@given(st.data(), features, st.integers(2, 5))
def test_what_is_inferred_is_what_torch_builds(data: st.DataObject, shape: Shape, classes: int):
    agrees_with_torch(read(data.draw(fitting(shape, classes))), shape, classes)


@settings(deadline=None, max_examples=150)
@given(st.lists(layer_yaml(), max_size=3), features, st.integers(2, 5))
def test_any_stack_is_refused_by_name_or_runs(layers: list[Any], shape: Shape, classes: int):
    stack = read([*layers, *ending(classes)])
    try:
        architecture(stack, shape, classes)
    except InvalidModel as exc:
        assert str(exc).startswith("model.layers")
    else:
        agrees_with_torch(stack, shape, classes)


@settings(deadline=None)
@given(st.lists(layer_yaml(), min_size=1, max_size=5))
def test_a_model_survives_json_exactly(layers: list[Any]):
    model = parsed(ModelSpec, {"layers": layers})

    written = model.model_dump(mode="json")

    assert parsed(ModelSpec, json.loads(json.dumps(written))) == model
    assert ModelSpec.model_validate_json(model.model_dump_json()) == model


def test_a_job_with_layers_survives_json_exactly():
    spec = parsed(
        JobSpec,
        {
            "name": "j",
            "rounds": 2,
            "participants": ["a"],
            "model": {"layers": [{"linear": 32}, "relu", {"dropout": 0.1}, {"linear": 2}]},
            "data": {"dataset": "d"},
        },
    )

    written = spec.model_dump(mode="json")

    assert parsed(JobSpec, written) == spec
    assert written["model"]["layers"] == [
        {"linear": 32},
        {"relu": {}},
        {"dropout": 0.1},
        {"linear": 2},
    ]


def test_every_kind_is_covered_by_these_tests():
    bare = {"flatten", "relu", "selu", "silu", "softplus", "tanh", "sigmoid"}

    assert set(KINDS) == bare | set(TOLD)


def test_torch_names_are_understood():
    conv = {"out_channels": 8, "kernel_size": 3, "padding": 1}

    assert read([{"conv2d": conv}]) == read([{"conv2d": {"filters": 8, "kernel": 3, "padding": 1}}])
    assert read([{"linear": {"out_features": 3}}]) == read([{"linear": 3}])


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"linaer": 3}, "layers.0: 'linaer' is no layer we know; did you mean 'linear'?"),
        ({"linear": {"unit": 3}}, "linear: unit: unknown key; did you mean 'units'?"),
        ({"linear": {}}, "linear: units: is required"),
        ({"linear": 0}, "linear: units: input should be greater than or equal to 1, got 0"),
        ({"linear": True}, "linear: units: input should be a valid integer, got True"),
        ({"linear": 2**40}, "linear: units: input should be less than or equal to 16777216"),
        ({"linear": {"units": 3, "out_features": 3}}, "linear: a key is given under two names"),
        ({"dropout": 1.0}, "dropout: p: input should be less than 1"),
        ({"dropout": float("nan")}, "dropout: p: input should be a finite number"),
        ({"conv2d": {"filters": 3}}, "conv2d: kernel: is required"),
        ({"conv2d": {"filters": 3, "kernel": [1, 2, 3]}}, "kernel: wants one number or 2"),
        ({"conv2d": {"filters": 3, "kernel": 0}}, "kernel: wants whole numbers from 1"),
        ({"conv1d": {"filters": 3, "kernel": [3, 3]}}, "kernel: wants one number or 1"),
        ({"gelu": "exact"}, "gelu: approximate: 'exact' is not known"),
        ({"relu": 3}, "relu: wants {}, got 3"),
        ({"softmax": {}}, "softmax: the cross_entropy loss applies it already; leave it out"),
        ({"linear": 3, "relu": {}}, "wants one layer"),
        (7, "wants one layer"),
        ({}, "wants one layer"),
    ],
)
def test_a_layer_that_cannot_be_read_is_refused_in_words(layer: object, says: str):
    with pytest.raises(InvalidRequest) as refused:
        parsed(ModelSpec, {"layers": [layer]})

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("layers", "shape", "says"),
    [
        (
            [{"conv2d": {"filters": 8, "kernel": 3}}, {"linear": 2}],
            (1, 15, 15),
            "model.layers.1 linear: wants a flat input, got 8x13x13; put {flatten: {}} before it",
        ),
        (
            [{"linear": 3}],
            (4,),
            "model.layers: the last layer gives 3 values, the dataset has 2 classes; "
            "end with {linear: 2}",
        ),
        (
            [{"conv2d": {"filters": 8, "kernel": 3}}],
            (1, 5, 5),
            "model.layers: the last layer gives 8x3x3, the dataset has 2 classes; "
            "end with {flatten: {}}, {linear: 2}",
        ),
        (
            [{"conv2d": {"filters": 8, "kernel": 9}}],
            (1, 5, 5),
            "model.layers.0 conv2d: its kernel 9x9 is larger than the input 5x5",
        ),
        (
            [{"conv2d": {"filters": 8, "kernel": 3}}],
            (28, 28),
            "model.layers.0 conv2d: wants channels x height x width, got 28x28; "
            "put {unflatten: [1, 28]} before it",
        ),
        ([{"flatten": {}}], (2,), "model.layers: 0 parameters to train, want 1 to 1000000000"),
        (
            [{"linear": 2**24}, {"linear": 2**24}, {"linear": 2}],
            (2,),
            "parameters to train, want 1 to 1000000000",
        ),
        (
            [{"relu": {}}, {"embedding": {"num_embeddings": 9, "embedding_dim": 2}}],
            (4,),
            "model.layers.1 embedding: reads whole numbers, so it can only be the first layer",
        ),
        (
            [{"adaptive_avg_pool2d": 10_000}],
            (1, 5, 5),
            "model.layers.0 adaptive_avg_pool2d: gives 1x10000x10000 values an example",
        ),
        ([{"group_norm": 4}], (6,), "model.layers.0 group_norm: cannot put 6 channels into 4"),
        ([{"max_pool2d": {"kernel": 2, "padding": 2}}], (1, 9, 9), "more than half its kernel"),
    ],
)
def test_a_stack_that_does_not_fit_is_refused_in_words(layers: Any, shape: Shape, says: str):
    stack = read(layers)

    with pytest.raises(InvalidModel) as refused:
        architecture(stack, shape, 2)

    assert says in str(refused.value)
