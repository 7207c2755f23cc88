"""The processes that run an app's code, below a SuperExec that is a fresh Python: a fork of the
supervisor or of the agent would share the memory of the token (`fedspan.flower.warm`).

The aggregator's SuperExec is started before it is known what the job is. When that turns out to
be an app it becomes such a fresh Python, imports all that is needed, and says so in a file before
the run is submitted: Flower takes a task away from who is slow to begin it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from fedspan.flower import internals
from fedspan.flower.files import OBJECTS, WORK, WorkFolder
from fedspan.flower.pace import Bell
from fedspan.objects.opening import open_objects

READY: Final = "app.ready"
ENDED: Final = "serverapp.ended"
"""In the work folder: that the SuperExec of an app waits for its task, and how the task ended."""


def command(role: str, options: Sequence[str]) -> list[str]:
    """What starts a SuperExec for apps; `role` is ``server`` or ``client``. ``-P``: the folder it
    works in is no place for modules."""
    return [sys.executable, "-P", "-m", "fedspan.flower.app_process", role, *options]


def become(extra: Mapping[str, str]) -> NoReturn:
    """Go on as the SuperExec of an app with the options this one has."""
    run = command("server", sys.argv[1:])
    os.execvpe(run[0], run, {**os.environ, **extra})


def is_wanted() -> bool:
    """Whether the job of this aggregator is an app."""
    manifest = WorkFolder(Path(os.environ[WORK])).desired()
    return manifest is not None and manifest.spec.model.app is not None


def run_server(task: Mapping[str, Any]) -> None:
    """Run the ServerApp of Flower's `task`; how it ends is in ``status.json``."""
    from fedspan.flower import app_server

    stock = internals.call(internals.SERVER_RUN)

    def run(grid: Any, **app: Any) -> Any:
        folder, objects = WorkFolder(Path(os.environ[WORK])), open_objects(os.environ[OBJECTS])
        app_server.serve(lambda steady: stock(grid=steady, **app), grid, folder, objects)
        return app["context"]

    internals.put(internals.SERVER_RUN, run)
    internals.call(internals.SERVER_TASK)(**task)


def main(words: Sequence[str]) -> None:
    """Never returns while it works."""
    from fedspan.flower import workers

    role, *options = words
    at_client = role == "client"
    why = workers.warm_up_client() if at_client else workers.warm_up_app_server()
    if why:
        sys.exit(f"apps need warm workers: {why}")
    work = Path(os.environ[WORK])
    ended = None if at_client else work / ENDED
    workers.prepare_superexec(Bell(), work / "logs", ended, trusted=False)
    (work / READY).touch()
    sys.argv = [workers.SUPEREXEC, *options]
    internals.call(internals.SUPEREXEC)()


if __name__ == "__main__":
    main(sys.argv[1:])
