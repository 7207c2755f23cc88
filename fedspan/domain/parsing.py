"""From what a caller sent to a value, or one sentence for each fault."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fedspan.domain.values import Name
from fedspan.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
F = TypeVar("F")

MOST_TOLD: Final = 20
"""Faults in one answer; whoever mends these asks again."""
MOST_LISTED: Final = 20
"""Known words that are listed where none is close."""
MOST_SEARCHED: Final = 2_000
"""Known words that are compared, at some 25 µs each."""
SHORTEST_BEGINNING: Final = 3
"""Characters by which a longer word is known: ``lat``, ``lon``."""
LONGEST_WORD: Final = 200
"""Characters. Nothing known is as long, and to compare takes as long as the word."""

NAME: Final = typing.get_args(Name)[1].pattern
QUOTE: Final = "'"
"""In which pydantic puts the name of what tells a union's kinds apart."""


LISTS: Final = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type"})
MAPPINGS: Final = frozenset(
    {"dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"}
)


def parsed(model: type[M], data: object) -> M:
    """`data` as a `model`.

    Raises:
        InvalidRequest: naming each field, what is wrong with it and what would be right. It
            repeats nothing of what was given where `model` hides that (``hide_input_in_errors``).
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = _telling(exc.errors(include_url=False))
        raise refused(errors, lambda one: _sentence(model, one)) from None


def refused(faults: Sequence[F], sentence: Callable[[F], str]) -> InvalidRequest:
    """The error that tells of `faults`: a sentence for each of the first `MOST_TOLD`, which alone
    are worth looking for what was meant, and how many more there are."""
    told = dict.fromkeys(map(sentence, faults[:MOST_TOLD]))
    more = len(faults) - MOST_TOLD
    return InvalidRequest(*told, *([f"and {more:,} more"] if more > 0 else []))


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word closest to `word`, else the list of them.
    Nothing where there are too many to list or to search."""
    word, choices = str(word), sorted(known)
    searched = choices if len(word) <= LONGEST_WORD and len(choices) <= MOST_SEARCHED else []
    close = difflib.get_close_matches(word, searched, n=1, cutoff=0.6)
    begun = [one for one in searched if len(word) >= SHORTEST_BEGINNING and one.startswith(word)]
    if close or len(begun) == 1:
        return f"; did you mean {(close or begun)[0]!r}?"
    return f"; known: {', '.join(choices)}" if 0 < len(choices) <= MOST_LISTED else ""


def _telling(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without what only follows: a list is not empty because all in it was wrong. Nor does a
    person know which kind of a union (a tag in brackets) they meant to write."""
    for error in errors:
        error["loc"] = tuple(part for part in error["loc"] if not _tag(part))
    holders = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    telling = [one for one in errors if one["type"] != "too_short" or one["loc"] not in holders]
    return list({(one["loc"], one["type"], one["msg"]): one for one in telling}.values())


def _tag(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith("(")


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    """What is wrong with the whole stands without a place before it. A key nobody knows is what
    was given, too: where that is hidden, its place is that of what holds it."""
    hidden = model.model_config.get("hide_input_in_errors", False)
    unknown = hidden and error["type"] == "extra_forbidden"
    path, _ = _walked(model, error["loc"][:-1] if unknown else error["loc"])
    where = ".".join(map(str, path))
    said = _fault_of_secret(model, error) if hidden else _fault(model, error)
    return f"{where}: {said}" if where else said


def _fault(model: type[BaseModel], error: ErrorDetails) -> str:
    given = error["input"]
    match error["type"]:
        case "extra_forbidden":
            _, owner = _walked(model, error["loc"][:-1])
            key = str(error["loc"][-1])
            return f"unknown key{nearest(key, owner.model_fields) if owner else ''}"
        case "missing":
            return "is required"
        case "enum" | "literal_error":
            known = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
            words = [word.strip().strip("'") for word in known.split(",")]
            return f"{_shown(given)} is not known{nearest(str(given), words)}"
        case "too_short":
            return "must not be empty"
        case "too_long":
            return f"has more than {error['ctx']['max_length']:,} entries"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case "less_than_equal" if _is_duration(model, error["loc"]):
            return f"must be at most {lasting(error['ctx']['le'])}, got {lasting(given)}"
        case kind if kind in LISTS:
            return f"must be a list, got {_shown(given)}"
        case kind if kind in MAPPINGS:
            return f"must be a mapping (key: value), got {_shown(given)}"
        case _:
            message = error["msg"]
            return f"{message[0].lower()}{message[1:]}, got {_shown(given)}"


def _fault_of_secret(model: type[BaseModel], error: ErrorDetails) -> str:
    """As `_fault`, from what was expected alone."""
    match error["type"]:
        case "missing" | "value_error":
            return _fault(model, error)
        case "extra_forbidden":
            _, owner = _walked(model, error["loc"][:-1])
            known = nearest(str(error["loc"][-1]), owner.model_fields) if owner else ""
            return f"has an unknown field{known}"
        case "union_tag_not_found":
            return f"{error['ctx']['discriminator'].strip(QUOTE)}: is required"
        case "union_tag_invalid":
            kinds = re.findall(r"'([^']*)'", error["ctx"]["expected_tags"])
            name = error["ctx"]["discriminator"].strip(QUOTE)
            return f"{name}: is not known; known: {', '.join(kinds)}"
        case "string_pattern_mismatch" if error["ctx"]["pattern"] == NAME:
            return "must be of a-z, 0-9 and dashes, at most 63, and begin with no dash"
        case "too_short" | "string_too_short":
            return f"has fewer than {error['ctx']['min_length']:,} characters"
        case "too_long" | "string_too_long":
            return f"has more than {error['ctx']['max_length']:,} characters"
        case kind if kind in LISTS:
            return "must be a list"
        case kind if kind in MAPPINGS:
            return "must be a mapping (key: value)"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def lasting(seconds: float) -> str:
    """As people say it: ``7 days``, ``1.5 hours``, ``45 seconds``."""
    sizes = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")]
    fitting = [(size, unit) for size, unit in sizes if seconds * 2 % size == 0 and seconds >= size]
    size, unit = fitting[0] if fitting else sizes[-1]
    count = seconds / size
    return f"{count:,.10g} {unit}{'' if count == 1 else 's'}"


def _is_duration(model: type[BaseModel], path: tuple[int | str, ...]) -> bool:
    from fedspan.domain.spec import seconds  # which needs this module itself

    _, owner = _walked(model, path[:-1])
    field = owner.model_fields.get(str(path[-1])) if owner and path else None
    return field is not None and any(
        isinstance(one, BeforeValidator) and one.func is seconds for one in field.metadata
    )


def _shown(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _walked(
    model: type[BaseModel], path: Sequence[int | str]
) -> tuple[list[int | str], type[BaseModel] | None]:
    """`path` below `model` without the words that tell a union's kinds apart, which nobody wrote
    there, and the model at its end."""
    fields: list[int | str] = []
    owner: type[BaseModel] | None = model
    kinds: dict[str, type[BaseModel]] = {}
    for part in path:
        if isinstance(part, str) and part in kinds:
            owner, kinds = kinds[part], {}
            continue
        fields.append(part)
        if isinstance(part, int):
            continue
        field = owner.model_fields.get(part) if owner else None
        kinds = _kinds(field) if field else {}
        owner = _model_in(field.annotation) if field else None
    return fields, owner


def _kinds(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The models of a union that one of their fields tells apart, by its words."""
    name = field.discriminator
    if not isinstance(name, str):
        return {}
    return {
        str(word): kind
        for kind in typing.get_args(field.annotation)
        for word in typing.get_args(kind.model_fields[name].annotation)
    }


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.GenericAlias | types.UnionType) or typing.get_args(annotation):
        for inner in typing.get_args(annotation):
            found = _model_in(inner)
            if found:
                return found
    return None
