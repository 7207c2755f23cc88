"""Job specs as files: YAML or JSON, read with care, since anybody may have written them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from fedspan.domain.spec import MAX_SPEC_BYTES
from fedspan.errors import InvalidRequest, TooLarge

STDIN: Final = "-"
SECOND: Final = "expected a single document in the stream"
"""What PyYAML says of two."""

PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "null": (r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^[-+]?[0-9]+$", "-+0123456789"),
    "float": (r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
}
"""YAML 1.2's core schema. PyYAML's 1.1 takes ``no`` for false, ``1e-3`` for text, ``010`` for 8."""


def read_spec(path: str, most: int = MAX_SPEC_BYTES) -> dict[str, Any]:
    """The mapping in the file at `path`, or on stdin for ``-``, of `most` bytes.

    Raises:
        TooLarge: before anything is parsed.
        InvalidRequest: no such file, or no YAML or JSON mapping; with line and column.
    """
    name, raw = _read(path, most)
    if len(raw) > most:
        raise TooLarge(
            f"{name}: a job spec has at most {most // 1024:,} KiB; a model travels as a "
            "file beside it (model.file)"
        )
    try:
        text = raw.decode("utf-8-sig")
        found = json.loads(text, object_pairs_hook=_once) if _is_json(name, text) else _yaml(text)
        json.dumps(found)  # what YAML can say and JSON cannot is refused here
    except yaml.YAMLError as exc:
        raise InvalidRequest(f"{name}: {_place(exc)}") from None
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise InvalidRequest(f"{name}: {where}: {exc.msg}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}: is no text in UTF-8") from None
    except RecursionError:
        raise InvalidRequest(f"{name}: is nested too deeply") from None
    except (ValueError, TypeError) as exc:
        raise InvalidRequest(f"{name}: {exc}") from None
    if not isinstance(found, dict):
        what = "is empty" if found is None else f"holds a {type(found).__name__}"
        raise InvalidRequest(f"{name}: {what}; want the keys of a job spec")
    return found


def _read(path: str, most: int) -> tuple[str, bytes]:
    """Its name for people, and at most one byte more than is allowed."""
    if not path:
        raise InvalidRequest("the name of the job spec is empty; give a YAML or JSON file, or -")
    if path == STDIN:
        return "stdin", sys.stdin.buffer.read(most + 1)
    try:
        with Path(path).open("rb") as file:
            return path, file.read(most + 1)
    except OSError as exc:
        raise InvalidRequest(f"{path}: {(exc.strerror or 'cannot be read').lower()}") from None


def _is_json(name: str, text: str) -> bool:
    """By name; on stdin by a look, since YAML refuses the tabs JSON is often indented with."""
    return name.endswith(".json") or (name == "stdin" and text.lstrip().startswith('{"'))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Plain values only, every key once, and no aliases: a few of them can stand for gigabytes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as in the class above

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.composer.ComposerError(
                None, None, f"*{event.anchor}: aliases are not taken here", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


for _tag, (_pattern, _first) in PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers.pop("\0")
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def _place(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    said = getattr(exc, "problem", None) or str(exc).splitlines()[0]
    if getattr(exc, "context", None) == SECOND:
        said = "a second document begins here; a job spec is one document"
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said
