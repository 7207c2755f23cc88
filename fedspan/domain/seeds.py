"""Every random choice of a job derives from (job seed, what for).

So a job that was interrupted ends with the same bits as one that was not, and two runs of one
seed agree.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for `path` (say ``"train", round, participant``) of the job seed `seed`."""
    text = "/".join([str(seed), *(str(part) for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
