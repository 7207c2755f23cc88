"""Where this process logs: JSON lines on stderr or in a file, so that no screen is broken."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import structlog

from fedspan.logs import RENDERED, SHARED, configure

LOG: Final = "fedspan.log"
"""In the home."""


@contextlib.contextmanager
def logged(to: Path | None = None) -> Iterator[None]:
    """Log to the file `to`, or to stderr, while the block runs."""
    with contextlib.ExitStack() as stack:
        stream: TextIO = sys.stderr
        if to is not None:
            stream = stack.enter_context(to.open("a", buffering=1, encoding="utf-8"))
        before = structlog.get_config() if structlog.is_configured() else None
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_formatter())
        configure(stream)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            if before is None:
                structlog.reset_defaults()
            else:
                structlog.configure(**before)


def _formatter() -> logging.Formatter:
    """What libraries log looks the same."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *RENDERED],
    )
