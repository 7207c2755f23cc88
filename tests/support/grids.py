"""What the grids of tests have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class PushPullGrid(Grid):
    """All that a grid must have beside nodes, pushing and pulling, which is all that is used."""

    @property
    def run(self) -> Run:
        return Run.create_empty(1)

    def set_run(self, run: Run) -> None: ...

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, *args: Any, **kwargs: Any) -> Iterable[Message]:
        raise NotImplementedError
