"""What lists are asked with: `filter`, `fields`, `maxResults` and `pageToken`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.clouds.gcp.projects import ApiError

_TERM = re.compile(r"""([\w.-]+)\s*(?:=|eq)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s()]+))""")
Mask = dict[str, "Mask"]


def matching(items: Sequence[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """Those of which a field is what `wanted`, a `term`, says; all, where it says nothing."""
    if not wanted:
        return list(items)
    field, value = term(wanted)
    return [one for one in items if _value(one, field.split(".")) == value]


def term(wanted: str) -> tuple[str, str]:
    """A field and the value it is compared with, from ``field=value`` or ``field="value"``."""
    found = _TERM.fullmatch(wanted)
    if found is None:
        raise ApiError(400, "invalid", f"Invalid value for field 'filter': '{wanted}'.")
    field, quoted, plain = found.groups()
    return field, plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _value(item: Any, path: Sequence[str]) -> Any:
    for step in path:
        item = item.get(step) if isinstance(item, dict) else None
    return item


def paged(
    items: Sequence[dict[str, Any]], query: Mapping[str, str], most: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A page of `items`, and what tells where the next begins."""
    size = int(query.get("maxResults", "500"))
    if not 0 <= size <= 500:
        said = f"Invalid value for field 'maxResults': '{size}'. Must be in [0, 500]"
        raise ApiError(400, "invalid", said)
    start, size = int(query.get("pageToken") or 0), min(size or 500, most)
    more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
    return list(items[start : start + size]), more


def shown(document: Any, fields: str) -> Any:
    """`document` with what `fields` names: ``nextPageToken,items/*/instances(name,zone)``."""
    return _masked(document, _mask(fields)) if fields else document


def _mask(fields: str) -> Mask:
    mask: Mask = {}
    for part in _parts(fields):
        path, _, inner = part.partition("(")
        if inner and not inner.endswith(")"):
            raise ApiError(400, "invalidParameter", f"Invalid field selection {part}")
        here = mask
        for step in path.split("/"):
            here = here.setdefault(step, {})
        if inner:
            here.update(_mask(inner[:-1]))
    return mask


def _parts(fields: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in fields:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _masked(value: Any, mask: Mask) -> Any:
    if not mask:
        return value
    if isinstance(value, list):
        return [_masked(one, mask) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {key: mask.get(key, mask.get("*")) for key in value}
    return {
        key: _masked(one, wanted)
        for key, one in value.items()
        if (wanted := inner[key]) is not None
    }
