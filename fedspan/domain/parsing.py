"""From what a caller sent to a value, or one sentence for each fault."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fedspan.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)


def parsed(model: type[M], data: object) -> M:
    """`data` as a `model`.

    Raises:
        InvalidRequest: naming each field, what is wrong with it and what would be right.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = _telling(exc.errors(include_url=False))
        raise InvalidRequest(*dict.fromkeys(_sentence(model, one) for one in errors)) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word closest to `word`, else the list of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(choices)}" if choices else ""


def _telling(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without what only follows: a list is not empty because all in it was wrong. Nor does a
    person know which kind of a union (a tag in brackets) they meant to write."""
    for error in errors:
        error["loc"] = tuple(part for part in error["loc"] if not _tag(part))
    holders = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    return [one for one in errors if one["type"] != "too_short" or one["loc"] not in holders]


def _tag(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith("(")


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"]) or model.__name__
    match error["type"]:
        case "extra_forbidden":
            owner = _owner(model, error["loc"][:-1])
            key = str(error["loc"][-1])
            return f"{where}: unknown key{nearest(key, owner.model_fields) if owner else ''}"
        case "missing":
            return f"{where}: is required"
        case "enum" | "literal_error":
            given = error["input"]
            known = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
            words = [word.strip().strip("'") for word in known.split(",")]
            return f"{where}: {given!r} is not known{nearest(str(given), words)}"
        case "too_short":
            return f"{where}: must not be empty"
        case "value_error":
            return f"{where}: {str(error['msg']).removeprefix('Value error, ')}"
        case _:
            shown = repr(error["input"])
            given = shown if len(shown) <= 60 else shown[:57] + "..."
            message = error["msg"]
            return f"{where}: {message[0].lower()}{message[1:]}, got {given}"


def _owner(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that holds the field at `path` below `model`."""
    owner: type[BaseModel] | None = model
    for part in path:
        if owner is None:
            return None
        if isinstance(part, int):
            continue
        field = owner.model_fields.get(part)
        owner = _model_in(field.annotation) if field else None
    return owner


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.GenericAlias | types.UnionType) or typing.get_args(annotation):
        for inner in typing.get_args(annotation):
            found = _model_in(inner)
            if found:
                return found
    return None
