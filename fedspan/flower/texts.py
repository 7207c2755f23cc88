"""Words that others chose, before people read them."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 500

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]+")
"""C0 and C1, which a terminal obeys; line ends among them."""


def plain(text: str) -> str:
    """`text` in one line, without control characters, and no longer than a reader wants."""
    return _CONTROLS.sub(" ", text).strip()[:MAX_CHARACTERS]
