"""The processes that run an app's code. Each begins as a fresh Python: a fork of the supervisor
or of the agent would share the memory of the token (`fedspan.flower.warm`).

``superexec``
    at a participant: Flower's SuperExec, which forks a ClientApp for each message;
``serverapp``
    at the aggregator: the one ServerApp of the run.
"""

from __future__ import annotations

import json
import os
import queue
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fedspan.flower import internals
from fedspan.flower.files import OBJECTS, WORK, WorkFolder
from fedspan.flower.pace import Bell
from fedspan.objects.opening import open_objects

TASK: Final = "FEDSPAN_TASK"
"""Environment: what a ServerApp's process is to do, with Flower's token for it."""


def command(role: str, options: Sequence[str] = ()) -> list[str]:
    """What starts such a process. ``-P``: the folder it works in is no place for modules."""
    return [sys.executable, "-P", "-m", "fedspan.flower.app_process", role, *options]


def superexec(options: Sequence[str]) -> None:
    """Never returns while it works."""
    from fedspan.flower import workers

    why = workers.warm_up_client()
    if why:
        sys.exit(f"apps need warm workers: {why}")
    workers.prepare_superexec(Bell(), Path(os.environ[WORK], "logs"), None, trusted=False)
    sys.argv = [workers.SUPEREXEC, *options]
    internals.call(internals.SUPEREXEC)()


def serverapp() -> None:
    """Run the task of the environment; how it ends is in ``status.json``."""
    from fedspan.flower import app_server

    task = json.loads(os.environ.pop(TASK))
    roots = internals.call(internals.ROOTS)(task.pop("roots"), task["insecure"])
    stock = internals.call(internals.SERVER_RUN)

    def run(grid: Any, **app: Any) -> Any:
        folder, objects = WorkFolder(Path(os.environ[WORK])), open_objects(os.environ[OBJECTS])
        app_server.serve(lambda steady: stock(grid=steady, **app), grid, folder, objects)
        return app["context"]

    internals.put(internals.SERVER_RUN, run)
    internals.call(internals.SERVER_TASK)(
        log_queue=queue.Queue(), certificates=roots, parent_pid=os.getppid(), **task
    )


def main(words: Sequence[str]) -> None:
    role, *options = words
    if role == "superexec":
        superexec(options)
    else:
        serverapp()


if __name__ == "__main__":
    main(sys.argv[1:])
