"""How Fedspan logs, wherever it runs: JSON lines without tokens. A traceback has no values of local
variables, for one of them may be a secret."""

from __future__ import annotations

import re
from typing import Any, Final, TextIO

import structlog
from structlog.typing import Processor

TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
"""A signed token: base64 of ``{"``, and two more parts."""


def _without_tokens(logger: Any, method: str, line: Any) -> str:
    return TOKEN.sub("[token]", str(line))


SHARED: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]
RENDERED: Final[list[Processor]] = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(default=str),
    _without_tokens,
]


def configure(stream: TextIO | None = None) -> None:
    """Log to `stream`, or to what is stdout at the time."""
    structlog.configure(
        processors=[*SHARED, *RENDERED],
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def to_stdout() -> None:
    """What a deployed function does when it is imported: its cloud collects stdout. Where a
    process has chosen already (the embedded default serves the same functions), that stays."""
    if not structlog.is_configured():
        configure()
