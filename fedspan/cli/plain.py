"""JSON that is fit for a terminal."""

from __future__ import annotations

import json
import re


def dumped(document: object) -> str:
    """As JSON in lines: the same document, with delete and C1 escaped as JSON itself escapes C0."""
    shown = json.dumps(document, indent=2, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", shown)
