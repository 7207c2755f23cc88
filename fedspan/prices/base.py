"""What every source of prices does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol

from fedspan.domain.quotes import Interface, Reading, Wanted
from fedspan.errors import ProviderError

ODD: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading a value raises that is not of the form its interface documents."""

Told = Callable[[str, float], None]
"""Called with what is being read, and the share (0 to 1) of the source that is done."""


class PriceSource(Protocol):
    """The public price interface of one provider."""

    @property
    def provider(self) -> str: ...

    @property
    def interfaces(self) -> tuple[Interface, ...]: ...

    def read(self, wanted: Wanted, now: datetime, told: Told) -> Reading:
        """The prices of `wanted` at `now`. A machine that a region does not sell is left out; at
        most one quote for a machine in a region by purchase option.

        Raises:
            Denied: the credential is missing or refused. Throttled: still too many calls.
            ProviderError: no answer, or one that is not of the known form.
            InvalidRequest: the credential given cannot be one.
        """


@contextmanager
def understood(what: str) -> Iterator[None]:
    """The border to the answers of a cloud.

    Raises:
        ProviderError: something in `what` is not of the known form.
    """
    try:
        yield
    except ODD as exc:
        raise ProviderError(f"{what}: not of the known form ({type(exc).__name__})") from exc
