"""Region by region: one that fails costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fedspan.domain.quotes import Quote
from fedspan.errors import Denied, ProviderError, Throttled
from fedspan.prices.base import understood
from fedspan.prices.web import unreachable


def each(
    regions: Sequence[str], read: Callable[[int, str], Iterable[Quote]]
) -> tuple[list[Quote], list[str]]:
    """What `read`, given the number of a region and its name, quotes of all; and a sentence for
    each that failed. Refused credentials, too many calls and a host that cannot be reached end it
    at once.

    Raises:
        ProviderError: all of them failed.
    """
    quotes: list[Quote] = []
    failed: list[ProviderError] = []
    left = len(regions)
    for number, region in enumerate(regions):
        left -= 1
        try:
            with understood(f"the prices of {region}"):
                quotes += read(number, region)
        except (Denied, Throttled):
            raise
        except ProviderError as exc:
            failed.append(exc)
            if unreachable(exc):
                break
    if failed and len(failed) + left == len(regions):
        raise failed[0]
    rest = [f"and {left} more regions were not asked for"] if left else []
    return quotes, [*map(str, failed), *rest]
