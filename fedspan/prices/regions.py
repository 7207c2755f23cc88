"""Region by region: one that fails costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fedspan.domain.quotes import Quote
from fedspan.errors import Denied, ProviderError, Throttled


def each(
    regions: Sequence[str], read: Callable[[int, str], Iterable[Quote]]
) -> tuple[list[Quote], list[str]]:
    """What `read`, given the number of a region and its name, quotes of all; and a sentence for
    each that failed. Refused credentials and too many calls end it at once.

    Raises:
        ProviderError: all of them failed.
    """
    quotes: list[Quote] = []
    failed: list[ProviderError] = []
    for number, region in enumerate(regions):
        try:
            quotes += read(number, region)
        except (Denied, Throttled):
            raise
        except ProviderError as exc:
            failed.append(exc)
    if failed and len(failed) == len(regions):
        raise failed[0]
    return quotes, [str(exc) for exc in failed]
