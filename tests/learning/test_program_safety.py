"""Programs of strangers: nothing of a hostile file is ever executed."""

from __future__ import annotations

import pickle

import pytest
import torch

from fedspan.errors import InvalidModel
from fedspan.learning.operators import ATEN, allowed
from fedspan.learning.programs import check_program, load_program
from tests.learning import archives
from tests.learning.archives import EVIL, GRAPH, Evil, archived, edited, entries, refused


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_not_read(tmp_path, protocol):
    path, marker = tmp_path / "m.pt2", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Evil(marker), protocol=protocol))

    refused(path, says="pickle" if protocol > 1 else "no ZIP archive")
    assert not marker.exists()


@pytest.mark.parametrize("modern", [True, False])
def test_a_torch_save_file_under_another_name_is_refused_and_not_read(tmp_path, modern):
    path, marker = tmp_path / "m.pt2", tmp_path / "ran"
    torch.save(Evil(marker), path, _use_new_zipfile_serialization=modern)

    refused(path, says="a torch.save file, which is a pickle" if modern else "is a pickle")
    assert not marker.exists()


def test_a_state_dict_is_refused(tmp_path):
    torch.save(archives.tabular().state_dict(), tmp_path / "m.pt2")

    refused(tmp_path / "m.pt2", says="a torch.save file, which is a pickle")


@pytest.mark.parametrize("evil", EVIL)
def test_what_torch_itself_would_execute_is_not_executed(tmp_path, honest, evil):
    path, marker = tmp_path / "m.pt2", tmp_path / "ran"
    archived(evil(entries(honest), marker), path)
    try:
        torch.export.load(path).module()(torch.zeros(2, 4))
    except Exception as exc:  # it may stumble over the payload after having run it
        print(exc)
    assert marker.exists(), "the payload is no threat, so this test would prove nothing"
    marker.rmdir()

    try:
        check_program(path)
        load_program(path)(torch.zeros(2, 4))
    except InvalidModel as exc:
        assert str(exc).startswith("m.pt2: ")
    else:
        assert evil is archives.evil_guard  # taken out, and the rest is fine

    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten._print.default",
        "torch.ops.higher_order.cond",
        "torch.ops.mine.launch.default",
        "torch.ops.aten.relu.__class__",
        "torch.ops.aten.relu.default.__call__",
        "torch.os.system",
        "torch.hub.load",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "math.sqrt",
        "#triton",
        "os.system",
        "",
    ],
)
def test_an_operator_that_is_not_on_the_list_is_refused(tmp_path, honest, target):
    def change(graph):
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target

    path = archived(edited(entries(honest), GRAPH, change), tmp_path / "m.pt2")

    refused(path, says="not on Fedspan's list of operators")


def test_every_operator_on_the_list_is_one_of_torch():
    """A name torch lacks would be a hole for whoever registers it."""
    unknown = [name for name in ATEN if not hasattr(torch.ops.aten, name)]

    assert unknown == []


def test_no_operator_on_the_list_takes_a_file_or_a_storage():
    for schema in torch._C._jit_get_all_schemas():
        if allowed(f"torch.ops.{schema.name.replace('::', '.')}.default"):
            kinds = [(one.name, str(one.type)) for one in schema.arguments]
            assert not [one for one in kinds if "file" in one[0] or "Storage" in one[1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: graph["graph_module"]["graph"]["nodes"][0].update(name="a b"),
        lambda graph: graph["graph_module"]["graph"]["nodes"][0].update(name="a.b"),
        lambda graph: graph["graph_module"]["graph"]["tensor_values"].update({"a-b": {}}),
        lambda graph: graph["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
            parameter_name='a"); print("b'
        ),
        lambda graph: graph.update(torch_version="2.13\nimport os"),
        lambda graph: graph["graph_module"]["graph"]["nodes"][0]["inputs"].append(
            {"name": "x", "arg": {"as_string": "/etc/passwd"}, "kind": 1}
        ),
        lambda graph: graph["graph_module"]["graph"]["nodes"][0]["inputs"].append(
            {"name": "x", "arg": {"as_operator": "torch.ops.aten.add.Tensor"}, "kind": 1}
        ),
        lambda graph: graph["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec='[1, {"type": "collections.defaultdict", "context": '
            '"{\\"default_factory_module\\": \\"os\\", \\"default_factory_name\\": \\"system\\"}"'
            ', "children_spec": []}]'
        ),
        lambda graph: graph["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec="[1, {}]"
        ),
        lambda graph: graph["schema_version"].update(major=9),
        lambda graph: graph.pop("schema_version"),
    ],
)
def test_a_string_that_is_not_of_its_places_form_is_refused(tmp_path, honest, change):
    path = archived(edited(entries(honest), GRAPH, change), tmp_path / "m.pt2")

    refused(path)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "Symbol('s1', positive=True, integer=True).__class__",
        "Symbol(open('x'))",
        "lambda: 1",
        "9**9**9**9",
        "Pow(9, Pow(9, 9))",
        "s77",
        "Integer(1) + Integer(10000000000000000000000)",
        "(" * 3000,
    ],
)
def test_an_expression_that_computes_more_than_sizes_is_refused(tmp_path, honest, expression):
    def change(graph):
        graph["graph_module"]["graph"]["sym_int_values"]["evil"] = {
            "as_expr": {"expr_str": expression, "hint": None}
        }

    path = archived(edited(entries(honest), GRAPH, change), tmp_path / "m.pt2")

    refused(path, says="where a plain expr_str belongs")
