"""``fedspan up`` that dies by SIGKILL at a step of the state machine, before the step's work or
right after it: ``python -m tests.chaos.doomed HOME PORT STEP before|after``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedspan.local import functions
from fedspan.local.functions import Handler
from fedspan.local.home import Home
from fedspan.local.plane import control_plane


def mortal(handlers: Mapping[str, Handler], step: str, *, done: bool) -> Mapping[str, Handler]:
    """`handlers`, of which that of `step` ends this process; its work is `done` by then or not."""

    def die(event: Any, context: Any) -> Any:
        if done:
            handlers[step](event, context)
        os.kill(os.getpid(), signal.SIGKILL)

    return {**handlers, step: die}


def main() -> None:
    home, port, step, when = sys.argv[1:]
    found = mortal(functions.handlers(), step, done=when == "after")
    functions.handlers = lambda: found
    with control_plane(Home(Path(home)), int(port)):
        threading.Event().wait()


if __name__ == "__main__":
    main()
