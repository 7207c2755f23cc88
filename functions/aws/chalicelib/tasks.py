"""What every task of the state machine does first."""

from __future__ import annotations

from typing import Any

from fedspan.app import App
from fedspan.services.resume import still_carries
from fedspan.wiring import app

Event = dict[str, Any]


def task(event: Event) -> tuple[App, str]:
    """The app, and the job this execution carries. Raises `Superseded` when it no longer does."""
    made = app()
    still_carries(made, event["job"], event["attempt"])
    return made, event["job"]
