"""The embedded control plane: started on a home, ended with it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

import structlog

from fedspan import wiring
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.errors import PortInUse
from fedspan.executions.base import Executions
from fedspan.local import functions
from fedspan.local.assets import asset
from fedspan.local.gateway import Gateway
from fedspan.local.home import Control, Home
from fedspan.local.interpreter import Interpreter
from fedspan.local.parts import opened, settings_of
from fedspan.services.resume import resume
from fedspan.services.sweep import sweep

SWEEP_SECONDS: Final = 2.0
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
        try:
            settings, tokens = settings_of(home, gateway.port), Tokens(home.signing_key())
            with opened(home, settings, tokens, _executions, starts_machines=True) as app:
                home.write_control(Control(pid=os.getpid(), port=gateway.port))
                with _serving(app, gateway):
                    yield app
        finally:
            gateway.stop()


@contextlib.contextmanager
def _serving(app: App, gateway: Gateway) -> Iterator[None]:
    wiring.install(app)
    gateway.start()
    timer = _Timer(app)
    timer.start()
    try:
        for job in resume(app):
            log.info("JobResumed", job=job)
        yield
    finally:
        timer.stop()
        gateway.stop()
        wiring.uninstall()


def _gateway(home: Home, port: int) -> Gateway:
    """Machines that outlived the last control plane call the port it had."""
    last = home.control()
    if port == 0 and last is not None:
        with contextlib.suppress(PortInUse):
            return Gateway(functions.chalice_app(), last.port)
    return Gateway(functions.chalice_app(), port)


def _executions() -> Executions:
    return Interpreter(asset("state_machines/federated_job.asl.json"), functions.handlers())


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
