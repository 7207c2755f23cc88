"""What every HTTP edge does alike, whichever cloud carries it: bodies and queries to values,
errors to problem documents (RFC 9457)."""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeVar

import structlog
from pydantic import BaseModel

from fedspan.domain.parsing import parsed
from fedspan.errors import FedspanError, InvalidRequest, TooLarge

M = TypeVar("M", bound=BaseModel)
log = structlog.get_logger()

JSON: Final = {"Content-Type": "application/json"}
PROBLEM: Final = {"Content-Type": "application/problem+json"}

MOST_SHOWN: Final = 100
"""Candidates in one answer to a question of placement."""
LONGEST_QUESTION: Final = 4 * 1024 * 1024
"""Bytes of such a question. A Lambda takes 6 MB, and the body arrives there escaped."""


def told(exc: Exception, *, by: str) -> FedspanError:
    """The error a caller is told of: `exc` if it is one of our tree; any other goes to the log
    with the view it came from, and the caller learns nothing of it."""
    if isinstance(exc, FedspanError):
        return exc
    log.error("unexpected", view=by, exc_info=exc)
    return FedspanError("something went wrong; the log of the function has more")


def problem_document(exc: FedspanError) -> dict[str, Any]:
    kind = type(exc)
    document: dict[str, Any] = {"type": kind.__name__, "status": kind.http, "detail": str(exc)}
    if isinstance(exc, InvalidRequest):
        document["problems"] = list(exc.problems)
    return document


def json_body(model: type[M], raw: bytes, most: int) -> M:
    """A body of at most `most` bytes as a `model`. Raises `TooLarge` and `InvalidRequest`."""
    if len(raw) > most:
        raise TooLarge(f"the body has {len(raw):,} bytes; at most {most:,} are taken")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"the body is no JSON: {exc}") from None
    return parsed(model, data)


def a_word(name: str, given: str | None) -> str | None:
    """What the query string says, if it says it. Raises `InvalidRequest` where that is nothing."""
    if given is not None and not given.strip():
        raise InvalidRequest(f"{name}: is empty; give it a value, or leave it out")
    return given


def whole_number(name: str, given: str | None, default: int, most: int) -> int:
    """A whole number of the query string, from 1 to `most`. Raises `InvalidRequest`."""
    if given is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", given) or not 1 <= int(given) <= most:
        raise InvalidRequest(f"{name}: a whole number from 1 to {most}, got {given!r}")
    return int(given)
