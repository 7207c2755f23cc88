"""The record that commits a round: what it says, and how one of any format is read."""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import JsonValue, ValidationError

import fedspan
from fedspan.domain.rounds import Checkpoint, Round
from fedspan.domain.values import Message
from fedspan.errors import Corrupt, NotFound, StaleEpoch
from fedspan.objects.base import Objects

FORMAT: Final = 2
"""Of the records written here. Those of the first had neither a format nor a parent, and files
without their hash in the name; they are read like any other."""


class Record(Message):
    """The commit record: the round, where its optimiser state lies, if it has one, and what it
    follows: `parent` is the `identity` of the round before, empty for the first and unknown to
    old records."""

    format: int = 1
    round: Round
    strategy: Checkpoint | None = None
    parent: str = ""

    @property
    def hashes(self) -> tuple[str, str]:
        """The bytes this round stands for: of the model, and of the optimiser state."""
        return self.round.checkpoint.sha256, self.strategy.sha256 if self.strategy else ""

    @property
    def identity(self) -> str:
        """The same in one hash, by which the next round names it."""
        return hashlib.sha256(" ".join(self.hashes).encode()).hexdigest()

    def follows(self, before: Record | None) -> bool:
        """Whether it goes on from `before`, as far as both are known."""
        return not self.parent or before is None or self.parent == before.identity

    def fence(self, epoch: int) -> None:
        """Raise `StaleEpoch` when it is of an incarnation newer than `epoch`."""
        one = self.round
        if one.epoch > epoch:
            raise StaleEpoch(
                f"job {one.job}: round {one.number} was committed by incarnation {one.epoch}, "
                f"which has replaced this one, {epoch}"
            )


class _Told(Message):
    """What is asked of a record of whatever format."""

    format: int = 1
    round: JsonValue = None

    @property
    def writer(self) -> str:
        versions = self.round.get("versions") if isinstance(self.round, dict) else None
        return str(versions.get("fedspan", "?")) if isinstance(versions, dict) else "?"


def read_record(objects: Objects, key: str) -> Record | None:
    """None for one that is not there or cannot be read. What a newer Fedspan wrote is neither
    damage nor a gap, so it is never done again: that raises `Corrupt`."""
    try:
        text = objects.get(key)
        told = _Told.model_validate_json(text)
    except (NotFound, ValidationError):
        return None
    if told.format > FORMAT:
        raise Corrupt(
            f"{key} has format {told.format}, of Fedspan {told.writer}; this is Fedspan "
            f"{fedspan.__version__}, which reads up to format {FORMAT}: run the job with that one"
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        return None
