"""What is taken for a job that nobody has seen run: by a quote, and by the rules that watch it."""

from __future__ import annotations

from typing import Final

COMPUTE_S: Final = 30.0
"""Of training in a round at a participant, where it does not say."""
RECOVERY_S: Final = 240.0
"""From a loss to the next round: another machine booted elsewhere, and participants linked."""
