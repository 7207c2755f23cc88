"""What every master key does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class MasterKey(Protocol):
    """Never leaves its place: data keys of 32 bytes come to it and go. `context` is associated
    data: what was wrapped with it is unwrapped with the same only."""

    @property
    def name(self) -> str:
        """Which key it is, kept beside what it wrapped: an ARN, a resource name, a file."""

    def prepare(self) -> None:
        """Make it, where it is one that is made on first use and there is none. Never once
        something was sealed: a new key opens nothing of it, and would hide that the old one is
        missing. No other method makes one."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Raises `Denied`, `Throttled`, `CloudUnavailable`, `ProviderError`; `Corrupt` when the
        key itself is missing."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Raises `Corrupt` when it was not wrapped by this key with this `context`; the same
        others as `wrap`."""
