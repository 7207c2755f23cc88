"""``fedspan up``, ``down`` and ``status``: the control plane on this computer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fedspan.cli.session import Session, session

if TYPE_CHECKING:
    from fedspan.cli.api import Api
    from fedspan.domain.jobs import Job
    from fedspan.local.home import Control, Home

POLL_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 60.0
ENDING_SECONDS: Final = 120.0
"""How long `down --force` waits for the jobs it cancelled."""

Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, show_default="8470", help="Where to listen"),
]


def up(
    ctx: typer.Context,
    port: Port = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background; log to HOME/fedspan.log")
    ] = False,
) -> None:
    """Run a control plane on this computer. Unfinished jobs go on."""
    here = session(ctx)
    if detach:
        from fedspan.cli.detached import start

        here.show(*start(here, port))
    else:
        _serve(here, port)


def down(
    ctx: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Cancel jobs that run, first")] = False,
) -> None:
    """End the control plane that runs here."""
    from fedspan.cli.api import not_running
    from fedspan.errors import Conflict

    here = session(ctx)
    control = here.home.running()
    if control is None:
        raise not_running(here.home)
    with here.running_api() as api:
        running = [job.id for job in api.every_job() if not job.ended]
        if running and not force:
            raise Conflict(
                f"jobs run: {', '.join(running)}; wait for them, cancel them, or use --force "
                "(which cancels them)"
            )
        _cancel_all(here, api, running)
    _end(here.home, control)
    here.show(
        {"stopped": control.pid, "cancelled": running},
        f"the control plane on {here.path} has ended",
    )


def status(ctx: typer.Context) -> None:
    """The control plane, its jobs, sites and machines. Exits with 3 when none runs."""
    here = session(ctx)
    with here.api() as api:
        control = here.home.running()
        jobs, sites, health = list(api.every_job()), api.sites(), api.health()
    from fedspan.cli import render
    from fedspan.cli.left_over import machines
    from fedspan.domain.machines import MachineState

    alive = [m for m in machines(here.home) if m.state is MachineState.RUNNING]
    running = [job for job in jobs if not job.ended]
    disk = _disk(here.home)
    document = {
        "running": control is not None,
        "pid": control.pid if control else None,
        "url": control.url if control else None,
        "version": health["version"],
        "home": str(here.path),
        "jobs": {"running": [job.id for job in running], "ended": len(jobs) - len(running)},
        "sites": len(sites),
        "machines": [m.id for m in alive],
        "disk": disk,
    }
    runs = f"process {control.pid}, {control.url}" if control else "does not run"
    shown = render.facts(
        [
            ("Control plane", runs),
            ("Home", str(here.path)),
            ("Jobs running", ", ".join(f"{j.id} ({j.state})" for j in running) or "none"),
            ("Jobs ended", render.tally(jobs)),
            ("Sites", ", ".join(site.name for site in sites) or "none"),
            ("Machines alive", ", ".join(m.id for m in alive) or "none"),
            ("Disk", f"{_size(disk['used_bytes'])} used, {_size(disk['free_bytes'])} free"),
        ]
    )
    here.show(document, shown)
    raise typer.Exit(0 if control else 3)


def _serve(here: Session, port: int | None) -> None:
    from fedspan.cli.logs import logged
    from fedspan.local.plane import control_plane

    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda number, frame: stop.set())
    here.home.prepare()
    with logged(), control_plane(here.home, wanted_port(here.home, port)) as app:
        here.show(*started(here, [*app.jobs.list(newest_first=True)]))
        if not here.json:
            here.say("Ctrl-C ends it")
        while not stop.wait(1.0):
            pass  # woken now and then, for a signal is only handled between instructions
        unfinished = [job.id for job in app.jobs.list(newest_first=True) if not job.ended]
    say_unfinished(here, unfinished)


def say_unfinished(here: Session, jobs: list[str]) -> None:
    """A control plane has ended before these jobs."""
    if jobs:
        here.say(
            f"unfinished: {', '.join(jobs)}; their machines go on, and the next `fedspan up` "
            "carries them to their end"
        )


def wanted_port(home: Home, given: int | None) -> int:
    """Machines that outlived the last control plane call the port it had; 0 asks for that."""
    from fedspan.local.home import DEFAULT_PORT

    return given or (0 if any(home.machines.iterdir()) else DEFAULT_PORT)


def started(here: Session, jobs: list[Job]) -> tuple[dict[str, Any], str]:
    """What to tell about a control plane that has just begun."""
    from fedspan import __version__
    from fedspan.cli import render

    control = here.home.control()
    assert control is not None
    unfinished = [job for job in jobs if not job.ended]
    document = {
        "pid": control.pid,
        "url": control.url,
        "home": str(here.path),
        "version": __version__,
        "jobs": {
            "unfinished": [job.id for job in unfinished],
            "ended": len(jobs) - len(unfinished),
        },
    }
    lines = [
        f"Fedspan {__version__} listens on {control.url} (process {control.pid}, home {here.path})",
        f"past jobs: {render.tally(jobs)}",
        *(
            f"goes on: {job.id} {job.spec.name}, {job.state}, "
            f"round {job.rounds_done} of {job.spec.rounds}"
            for job in unfinished
        ),
    ]
    return document, "\n".join(lines)


def _cancel_all(here: Session, api: Api, jobs: list[str]) -> None:
    """Cancel, and wait until their machines are gone. Raises `Conflict` when that takes long."""
    from fedspan.errors import Conflict

    for id in jobs:
        here.say(f"cancelling job {id}")
        api.cancel(id)
    end = time.monotonic() + ENDING_SECONDS
    while ending := [id for id in jobs if not api.job(id).ended]:
        if time.monotonic() > end:
            raise Conflict(
                f"cancelled, but still ending after {ENDING_SECONDS:g} s: {', '.join(ending)}; "
                "the control plane goes on until they have: try again, or see `fedspan job events`"
            )
        time.sleep(POLL_SECONDS)


def _end(home: Home, control: Control) -> None:
    """Raises `NotRunning` rather than signal a process that does not hold the home."""
    from fedspan.errors import Conflict, NotRunning

    if home.running() is None:
        return  # a demo's ends by itself, after its job
    if not _holds(home, control.pid):
        raise NotRunning(
            f"process {control.pid} does not hold {home.path}; another control plane is starting "
            "or ending there: try again"
        )
    os.kill(control.pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE_SECONDS
    while _holds(home, control.pid):
        if time.monotonic() > end:
            raise Conflict(f"process {control.pid} has not ended yet; see {home.path}/fedspan.log")
        time.sleep(POLL_SECONDS)


def _holds(home: Home, pid: int) -> bool:
    """Whether the process has the lock file open: its number alone may have been used again."""
    import psutil

    try:
        opened = [one.path for one in psutil.Process(pid).open_files()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return str(home.path / "lock") in opened


def _disk(home: Home) -> dict[str, int]:
    used = 0
    for folder, _, files in os.walk(home.path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # they come and go
                used += Path(folder, name).lstat().st_size
    return {"used_bytes": used, "free_bytes": shutil.disk_usage(home.path).free}


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
