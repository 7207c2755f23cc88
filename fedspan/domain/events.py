"""What a user should know happened, once each."""

from __future__ import annotations

from enum import StrEnum

from fedspan.domain.values import Instant, Value


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(Value):
    """`code` is stable and meant for programs, `message` for people."""

    at: Instant
    level: Level
    code: str
    message: str
    job: str
    site: str | None = None
    round: int | None = None
