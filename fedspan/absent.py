"""Parts that an installation does without: each says so when it is asked for something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedspan.domain.credentials import Examination, Secret
from fedspan.errors import FedspanError, NotFound, Unsupported
from fedspan.objects.base import ObjectInfo
from fedspan.providers.base import Provider
from fedspan.stores.base import Change, Key, Stored


class NoStore:
    """Nothing is registered, and nothing can be."""

    def get(self, key: Key) -> Stored | None:
        raise self._refusal()

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        raise self._refusal()

    def write(self, changes: Sequence[Change]) -> None:
        raise self._refusal()

    def close(self) -> None:
        """Nothing to give back."""

    @staticmethod
    def _refusal() -> Unsupported:
        return Unsupported(
            "no sites are registered here, so a name says nothing; tell each participant inline: "
            '{"name": ..., "latitude": ..., "longitude": ...}'
        )


class NoObjects:
    """An empty place to read from, and none to write to."""

    def put(self, key: str, source: bytes | Path, *, new: bool = False) -> None:
        raise self._refusal()

    def get(self, key: str) -> bytes:
        raise NotFound(f"no object {key}")

    def chunks(self, key: str) -> Iterator[bytes]:
        raise NotFound(f"no object {key}")

    def download(self, key: str, to: Path) -> None:
        raise NotFound(f"no object {key}")

    def copy(self, source: str, target: str) -> None:
        raise NotFound(f"no object {source}")

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        return ()

    def delete(self, key: str) -> None:
        """There is none."""

    def uri(self, key: str) -> str:
        raise self._refusal()

    @staticmethod
    def _refusal() -> Unsupported:
        return Unsupported("nothing is kept here; ask the control plane")


class NoExecutions:
    """Runs nothing; `instead` says where that would be done."""

    def __init__(self, instead: FedspanError) -> None:
        self._instead = instead

    def start(self, name: str, payload: dict[str, Any]) -> None:
        raise self._instead

    def alive(self, name: str) -> bool:
        return False

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        return False

    def fail(self, token: str, error: str, cause: str) -> bool:
        return False

    def heartbeat(self, token: str) -> bool:
        return False


class NoClouds:
    """No credential can be proved, and none is used."""

    def examine(self, secret: Secret) -> Examination:
        raise self._refusal()

    def provider(self, name: str, secret: Secret) -> Provider:
        raise self._refusal()

    @staticmethod
    def _refusal() -> Unsupported:
        return Unsupported("no clouds are reached from here; ask the control plane")


class NoKeys:
    """Nothing is sealed here, so nothing can be opened."""

    name = ""

    def prepare(self) -> None:
        raise self._refusal()

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        raise self._refusal()

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        raise self._refusal()

    @staticmethod
    def _refusal() -> Unsupported:
        return Unsupported("this installation has no master key (FEDSPAN_MASTER_KEY)")
