"""Where this process logs: JSON lines on stderr or in a file, so that no screen is broken."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
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


@contextlib.contextmanager
def logged(to: Path | None = None) -> Iterator[None]:
    """Log to the file `to`, or to stderr, while the block runs."""
    with contextlib.ExitStack() as stack:
        stream: TextIO = sys.stderr
        if to is not None:
            stream = stack.enter_context(to.open("a", buffering=1, encoding="utf-8"))
        before = structlog.get_config()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_formatter())
        _configure(stream)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            structlog.configure(**before)


def _configure(stream: TextIO) -> None:
    structlog.configure(
        processors=[*SHARED, *RENDERED],
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _formatter() -> logging.Formatter:
    """What libraries log looks the same."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *RENDERED],
    )
