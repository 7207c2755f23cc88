"""What the benchmarks' command lines share."""

from __future__ import annotations

import argparse
import math


def two_or_more(given: str) -> int:
    """Rounds: the first is left out of the mean, so there is another."""
    number = int(given)
    if number < 2:
        raise argparse.ArgumentTypeError(f"at least 2, got {number}")
    return number


def one_or_more(given: str) -> int:
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {number}")
    return number


def share(given: str) -> float:
    number = float(given)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"between 0 and 1, got {number:g}")
    return number


def not_negative(given: str) -> float:
    number = float(given)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"0 or more, got {number:g}")
    return number
