"""Words that others chose (a message, a label of their data), before people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_CHARACTERS: Final = 500
"""Of a message that one machine sends of itself; a reader wants no more."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` on one line, without C0, delete and C1: what moves a cursor, retitles a window or
    types answers."""
    return _CONTROL.sub("", re.sub(r"[\t\r\n]+", " ", text)).strip()


def listed(words: Sequence[str], most: int = 10) -> str:
    """``a, b, c``, and how many more than `most` there are."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more:,} more" if more > 0 else "")


def brief(text: str) -> str:
    """`plain`, and no longer than `MAX_CHARACTERS`."""
    return plain(text)[:MAX_CHARACTERS]
