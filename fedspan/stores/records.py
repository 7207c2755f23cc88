"""Typed tables over a `Store`: values in, values out, each with its version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from fedspan.errors import Corrupt, NotFound
from fedspan.stores.base import Delete, Key, Put, Store, Stored

V = TypeVar("V", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[V]):
    value: V
    version: int


@dataclass(frozen=True, slots=True)
class Table(Generic[V]):
    """The values of one kind. `name` is the noun an error uses; those that belong to something
    (the rounds of a job) name their owner."""

    store: Store
    name: str
    model: type[V]

    def find(self, id: str, owner: str = "") -> Versioned[V] | None:
        stored = self.store.get(self._key(id, owner))
        return self._read(stored) if stored else None

    def get(self, id: str, owner: str = "") -> Versioned[V]:
        """Raises `NotFound`."""
        found = self.find(id, owner)
        if found is None:
            raise NotFound(f"no {self.name} {id!r}")
        return found

    def list(
        self, owner: str = "", *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[V]:
        found = self.store.list(
            self._partition(owner), after=after, limit=limit, newest_first=newest_first
        )
        return [self._read(stored).value for stored in found]

    def all(self, owner: str = "") -> Iterator[tuple[str, V]]:
        """Every value with its id, a page at a time."""
        after = ""
        while found := self.store.list(self._partition(owner), after=after):
            yield from ((stored.key.sort, self._read(stored).value) for stored in found)
            after = found[-1].key.sort

    def ids(self, owner: str = "") -> Sequence[str]:
        return [id for id, _ in self.all(owner)]

    def put(self, value: V, id: str, owner: str = "", *, expected: int) -> Put:
        """The change that writes `value`; hand it to `Store.write`."""
        return Put(self._key(id, owner), value.model_dump_json(), expected)

    def delete(self, id: str, owner: str = "") -> Delete:
        return Delete(self._key(id, owner))

    def _partition(self, owner: str) -> str:
        return f"{self.name}#{owner}" if owner else self.name

    def _key(self, id: str, owner: str) -> Key:
        return Key(self._partition(owner), id)

    def _read(self, stored: Stored) -> Versioned[V]:
        try:
            return Versioned(self.model.model_validate_json(stored.body), stored.version)
        except ValidationError as exc:
            raise Corrupt(f"{self.name} {stored.key.sort!r} cannot be read: {exc}") from exc
