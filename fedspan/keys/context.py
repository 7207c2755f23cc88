"""What a key is used for, as the bytes that authenticate it."""

from __future__ import annotations

import json
from collections.abc import Mapping


def canonical(context: Mapping[str, str]) -> bytes:
    """The same bytes for the same `context`, whatever its order; others for any other."""
    return json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode()
