"""Text that others wrote (participants' messages, labels of data), fit for a terminal."""

from __future__ import annotations

import json
import re
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0, delete and C1: what moves a cursor, retitles a window or types answers. JSON itself
escapes only the first of them."""


def plain(text: str) -> str:
    """On one line, and without control characters."""
    return CONTROL.sub("", re.sub(r"[\t\r\n]+", " ", text))


def dumped(document: object) -> str:
    """As JSON in lines: the same document, control characters escaped."""
    shown = json.dumps(document, indent=2, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", shown)
