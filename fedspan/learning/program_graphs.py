"""The graph inside a torch.export program: checked as data, before torch turns it into code.

torch 2.13 builds a program from its ``model.json`` by means that were not made for strangers'
files: names of parameters go into Python source (``torch/fx/graph.py``), size expressions through
``sympy.sympify``, which evaluates them, ``guards_code`` through ``exec``
(``torch/export/_unlift.py``), tree specs may import modules (``torch/utils/_pytree.py``), and
operators are looked up by attribute. So each string must have the form its place calls for,
and what a program can do without (metadata, guards) is taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from fedspan.errors import InvalidModel
from fedspan.learning.operators import allowed

SCHEMA_MAJOR: Final = 8
"""Of ``torch/_export/serde/schema.py`` in torch 2.13, which writes 8.20."""

EXPRESSION_CHARACTERS: Final = 2_000

_NAME = re.compile(r"[A-Za-z_]\w{0,500}", re.ASCII)
_DOTTED = re.compile(r"(\w+(\.\w+)*)?", re.ASCII)
_WORD = re.compile(r"[\w .,:>+-]{0,200}", re.ASCII)
_EXPRESSION = re.compile(
    r"(?:Symbol\('[a-z]\w{0,40}'(?:, (?:positive|integer|nonnegative)=True)*\)"
    r"|Integer\(-?\d{1,19}\)"
    r"|(?:Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing"
    r"|Equality|Unequality|GreaterThan|StrictGreaterThan|LessThan|StrictLessThan)(?=\()"
    r"|-?\d{1,19}|true|false|[(), ])*",
    re.ASCII,
)
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "expr_str": _EXPRESSION,
    "as_string": _WORD,
    "as_float": re.compile(r"-?Infinity|NaN"),
    "as_floats": re.compile(r"-?Infinity|NaN"),
    "torch_version": _WORD,
    "fqn": re.compile(r"[\w.@]*", re.ASCII),
    "parameter_name": _DOTTED,
    "buffer_name": _DOTTED,
    "tensor_constant_name": _DOTTED,
}
"""The form of a string under each key; under any other key it is a name."""

_REFUSED: Final[Mapping[str, str]] = {
    "as_graph": "a graph within the graph (torch.no_grad, cond, map)",
    "as_operator": "an operator as a value",
    "as_custom_obj": "an object that is no tensor",
    "custom_obj": "an object that is no tensor",
    "token": "a side effect",
}
_TREES: Final = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})
_DROPPED: Final = frozenset({"metadata", "guards_code"})


def cleaned_graph(text: bytes) -> bytes:
    """The ``model.json`` `text` without metadata and guards.

    Raises:
        InvalidModel: not such a file, of another version, or with a string that is not of the
            form its place calls for.
    """
    try:
        graph = json.loads(text)
        version = graph["schema_version"]["major"], graph["schema_version"]["minor"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InvalidModel(f"its models/model.json cannot be read: {exc}") from None
    if version[0] != SCHEMA_MAJOR:
        raise InvalidModel(
            f"is of schema {version[0]}.{version[1]}, this Fedspan reads {SCHEMA_MAJOR}; "
            "export it again with torch 2.13"
        )
    try:
        return json.dumps(_cleaned(graph, "")).encode()
    except RecursionError:
        raise InvalidModel("its models/model.json is nested too deeply") from None


def _cleaned(node: Any, key: str) -> Any:
    """`node`, found under `key`, checked and without what we drop."""
    if isinstance(node, dict):
        return {_key(name): _value(name, one) for name, one in node.items()}
    if isinstance(node, list):
        return [_cleaned(one, key) for one in node]
    if isinstance(node, str):
        return _text(node, key)
    return node


def _key(name: str) -> str:
    if name in _REFUSED:
        raise InvalidModel(f"uses {_REFUSED[name]}, which Fedspan does not take")
    if not _NAME.fullmatch(name):
        raise InvalidModel(f"has {name[:60]!r} where a name belongs")
    return name


def _value(key: str, value: Any) -> Any:
    if key in _DROPPED:
        return type(value)()
    if key in ("in_spec", "out_spec"):
        _check_tree(value)
        return value
    if key == "device":
        _check_device(value)
    return _cleaned(value, key)


def _text(text: str, key: str) -> str:
    if key == "target":
        if not allowed(text):
            raise InvalidModel(f"calls {text[:60]!r}, which is not on Fedspan's list of operators")
        return text
    form = _FORMS.get(key, _NAME)
    if len(text) > EXPRESSION_CHARACTERS or not (
        form.fullmatch(text) or (key == "name" and not text)
    ):
        raise InvalidModel(f"has {text[:60]!r} where a plain {key or 'name'} belongs")
    return text


def _check_device(device: Any) -> None:
    if isinstance(device, dict) and device.get("type") != "cpu":
        raise InvalidModel(
            f"was exported on {str(device.get('type'))[:20]!r}; export it on the CPU"
        )


def _check_tree(spec: Any) -> None:
    """Tuples, lists and dicts only: other types import the module they name."""
    try:
        protocol, tree = json.loads(spec)
        plain = protocol == 1 and _plain_tree(tree)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        plain = False
    if not plain:
        raise InvalidModel("takes or gives something else than tensors in tuples, lists or dicts")


def _plain_tree(tree: dict[str, Any]) -> bool:
    if tree["type"] not in _TREES or tree.keys() != {"type", "context", "children_spec"}:
        return False
    context = json.loads(tree["context"] or "null")
    names = isinstance(context, list) and all(isinstance(one, str) for one in context)
    return (context is None or names) and all(map(_plain_tree, tree["children_spec"]))
