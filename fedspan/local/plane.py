"""The embedded control plane: started on a home, ended with it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final

import structlog

from fedspan import wiring
from fedspan.absent import NoClouds, NoKeys
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.domain.machines import Role
from fedspan.errors import PortInUse
from fedspan.local import functions
from fedspan.local.assets import asset
from fedspan.local.gateway import Gateway
from fedspan.local.home import Control, Home
from fedspan.local.interpreter import Interpreter
from fedspan.objects.opening import open_objects
from fedspan.providers.local import LocalProvider
from fedspan.services.resume import resume
from fedspan.services.sweep import sweep
from fedspan.settings import Settings
from fedspan.stores.sqlite import SqliteStore

SWEEP_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 1.0
LOST_SECONDS: Final = 15.0
BOOT_SECONDS: Final = 120.0
LEASE_SECONDS: Final = 900.0
"""A control plane that was killed has so long to be started again before its machines end."""
log = structlog.get_logger()


@contextlib.contextmanager
def control_plane(home: Home, port: int) -> Iterator[App]:
    """A control plane that serves `home` on loopback while the block runs. Unfinished jobs go on.

    Port 0 takes the one this home had before, if it is free, else any.

    Raises:
        AlreadyRunning, PortInUse, InvalidRequest, StorageFull
    """
    home.prepare()
    with home.held():
        gateway = _gateway(home, port)
        app = _app(home, gateway.port)
        home.write_control(Control(pid=os.getpid(), port=gateway.port))
        wiring.install(app)
        gateway.start()
        timer = _Timer(app)
        timer.start()
        try:
            for job in resume(app):
                log.info("JobResumed", job=job)
            yield app
        finally:
            timer.stop()
            gateway.stop()
            wiring.uninstall()
            app.store.close()


def _gateway(home: Home, port: int) -> Gateway:
    """Machines that outlived the last control plane call the port it had."""
    last = home.control()
    if port == 0 and last is not None:
        with contextlib.suppress(PortInUse):
            return Gateway(functions.chalice_app(), last.port)
    return Gateway(functions.chalice_app(), port)


def _app(home: Home, port: int) -> App:
    settings = Settings(
        api_url=f"http://127.0.0.1:{port}",
        objects_url=home.objects_url,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        lost_seconds=LOST_SECONDS,
        boot_seconds=BOOT_SECONDS,
        lease_seconds=LEASE_SECONDS,
    )
    commands = {
        Role.AGGREGATOR: [sys.executable, str(asset("aggregator_image/entrypoint.py"))],
        Role.CLIENT: [sys.executable, str(asset("client_image/entrypoint.py"))],
    }
    return App(
        settings=settings,
        store=SqliteStore(home.database),
        objects=open_objects(home.objects_url),
        providers={"local": LocalProvider(home.machines, commands, wiring.now)},
        clouds=NoClouds(),
        keys=NoKeys(),
        executions=Interpreter(
            asset("state_machines/federated_job.asl.json"), functions.handlers()
        ),
        tokens=Tokens(home.signing_key()),
        now=wiring.now,
        new_id=wiring.new_id,
        post=wiring.post,
    )


class _Timer:
    """The schedules of `functions/aws`: the sweep, every few seconds."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SWEEP_SECONDS):
            try:
                sweep(self._app)
            except Exception:
                log.exception("sweep failed")
