"""Typed tables over a `Store`: values in, values out, each with its version."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from fedspan.errors import Corrupt, NotFound
from fedspan.stores.base import Delete, Key, Put, Store, Stored

V = TypeVar("V", bound=BaseModel)

FEW: Final = 20
"""So many are got one by one; to look for more, all are listed, a thousand at a time."""


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

    def find_all(self, ids: Collection[str], owner: str = "") -> dict[str, Versioned[V]]:
        """Those of `ids` that there are, in their order."""
        stored: dict[str, Stored | None]
        if len(ids) <= FEW:
            stored = {id: self.store.get(self._key(id, owner)) for id in ids}
        else:
            wanted = set(ids)
            listed = (one for one in self._stored(owner) if one.key.sort in wanted)
            there = {one.key.sort: one for one in listed}
            stored = {id: there.get(id) for id in ids}
        return {id: self._read(one) for id, one in stored.items() if one is not None}

    def list(
        self, owner: str = "", *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[V]:
        found = self.store.list(
            self._partition(owner), after=after, limit=limit, newest_first=newest_first
        )
        return [self._read(stored).value for stored in found]

    def all(self, owner: str = "") -> Iterator[tuple[str, V]]:
        """Every value with its id, a page at a time."""
        return ((one.key.sort, self._read(one).value) for one in self._stored(owner))

    def ids(self, owner: str = "") -> Sequence[str]:
        return [one.key.sort for one in self._stored(owner)]

    def put(self, value: V, id: str, owner: str = "", *, expected: int) -> Put:
        """The change that writes `value`; hand it to `Store.write`."""
        return Put(self._key(id, owner), value.model_dump_json(), expected)

    def delete(self, id: str, owner: str = "") -> Delete:
        return Delete(self._key(id, owner))

    def _stored(self, owner: str) -> Iterator[Stored]:
        after = ""
        while found := self.store.list(self._partition(owner), after=after):
            yield from found
            after = found[-1].key.sort

    def _partition(self, owner: str) -> str:
        return f"{self.name}#{owner}" if owner else self.name

    def _key(self, id: str, owner: str) -> Key:
        return Key(self._partition(owner), id)

    def _read(self, stored: Stored) -> Versioned[V]:
        try:
            return Versioned(self.model.model_validate_json(stored.body), stored.version)
        except ValidationError as exc:
            raise Corrupt(f"{self.name} {stored.key.sort!r} cannot be read: {exc}") from exc
