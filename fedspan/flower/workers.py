"""What runs in the children: Flower's programs, warm when they can be, else its own commands."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from fedspan.flower import app_process, internals
from fedspan.flower.pace import Bell, Held, Only, SuperNodePauses
from fedspan.flower.warm import NO_ROOM, Child, Family, watch

SUPERLINK: Final = "flower-superlink"
SUPERNODE: Final = "flower-supernode"
SUPEREXEC: Final = "flower-superexec"

ENTRIES: Final = {
    SUPERLINK: internals.SUPERLINK,
    SUPERNODE: internals.SUPERNODE,
    SUPEREXEC: internals.SUPEREXEC,
}

WORKER_KILLED: Final = 70
"""What a SuperExec exits with when a ClientApp of it was killed: Flower would find out after half
a minute, a SuperNode that starts again is asked anew at once."""

CLIENT_LOG: Final = "clientapp"
SERVER_LOG: Final = "serverapp"

QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1.0",
}
"""Environment of every Flower process. Warm workers are told of work; the poll is the net."""

STOCK_POLL: Final = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2"}

KEEP_ALIVE_SECONDS: Final = 120
"""Idle connections live as long as most rounds: a new one costs three round trips."""

HEARTBEAT_SECONDS: Final = 10
"""Of a SuperNode: the SuperLink takes it for gone after twice as long. Shorter it may not be. Of
it Flower keeps back a call's time-out, and speaks every 3.5 to 4.5 s."""

FIRST_RETRY_SECONDS: Final = 0.02
LAST_RETRY_SECONDS: Final = 0.5
"""An object that is still on its way is asked for again; stock waits a second first."""


def warm_up_aggregator() -> str | None:
    """Import, once and before any fork, what every child would import; or say why Flower's own
    commands have to do."""
    _one_thread()
    why = internals.stock(internals.ON_AGGREGATOR)
    if why is None:
        import_module("fedspan.flower.server")
    return why


def warm_up_app_server() -> str | None:
    """As `warm_up_aggregator`, for the code of an app."""
    why = warm_up_aggregator()
    if why is None:
        import_module("fedspan.flower.app_server")
    return why


def warm_up_client() -> str | None:
    """As `warm_up_aggregator`; nothing is computed, for PyTorch's threads start with that."""
    _one_thread()
    why = internals.stock(internals.ON_CLIENT)
    if why is None:
        import_module("fedspan.flower.client")
        import_module("fedspan.flower.app_client")
        import_module("numpy.ma")  # which np.unique needs
        import torch

        torch.optim.SGD([torch.zeros(1)])  # the first optimizer imports a second's worth more
    return why


def _one_thread() -> None:
    """Who forks has one thread; OpenBLAS starts more when it is imported, unless told not to."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    tempfile.gettempdir()  # found by writing: once for all children, while there is room


class Workers:
    """Starts Flower's programs as children of `family`."""

    def __init__(self, family: Family, *, stock: bool) -> None:
        self._family = family
        self.stock = stock
        self.bell = Bell()

    def superlink(self, options: Sequence[str]) -> Child:
        return self._start(SUPERLINK, options, prepare_superlink)

    def supernode(self, options: Sequence[str]) -> Child:
        return self._start(SUPERNODE, options, lambda: prepare_supernode(self.bell))

    def app_superexec(self, options: Sequence[str], extra: Mapping[str, str]) -> Child:
        """One for the code of an app, which is nobody's we trust, with `extra` environment."""
        run = app_process.command("client", options)
        return self._family.run(SUPEREXEC, run, {**STOCK_POLL, **extra})

    def superexec(self, options: Sequence[str], ended: Path | None = None) -> Child:
        """`ended`, if any, gets a line when a task of it ends, in warm workers alone."""
        logs = self._family.logs
        return self._start(SUPEREXEC, options, lambda: prepare_superexec(self.bell, logs, ended))

    def _start(self, program: str, options: Sequence[str], prepare: Callable[[], None]) -> Child:
        if self.stock:
            return self._family.run(program, [program, *options], STOCK_POLL)
        return self._family.fork(
            program,
            lambda: _enter(program, options, prepare),
            keep=(self.bell.heard, self.bell.rung),
        )


def _enter(program: str, options: Sequence[str], prepare: Callable[[], None]) -> None:
    sys.argv = [program, *options]
    prepare()
    internals.call(ENTRIES[program])()


def prepare_superlink() -> None:
    from starlette.middleware import Middleware

    stock_middleware = internals.call(internals.MIDDLEWARE)

    def middleware() -> list[Any]:
        return [Middleware(Held), *(_narrowed(one) for one in stock_middleware())]

    internals.put(internals.MIDDLEWARE, middleware)
    serve = internals.call(internals.SERVE)

    def patient(**options: Any) -> None:
        serve(**{**options, "access_log": False, "timeout_keep_alive": KEEP_ALIVE_SECONDS})

    internals.put(internals.SERVE, patient)
    watch(os.getppid())


def _narrowed(stock: Any) -> Any:
    prefix = internals.MIDDLEWARE_PATHS.get(stock.cls.__name__)
    if prefix is None or stock.args or stock.kwargs:
        return stock
    return type(stock)(Only, prefix=prefix, inner=stock.cls)


def prepare_supernode(bell: Bell) -> None:
    internals.put(internals.SUPERNODE_LOOP, SuperNodePauses(bell.ring).sleep)
    for part in internals.HEARTBEATS:
        internals.put(part, HEARTBEAT_SECONDS)
    _keep_connections()
    _retry_soon()
    watch(os.getppid())


def prepare_superexec(bell: Bell, logs: Path, ended: Path | None, *, trusted: bool = True) -> None:
    """Tasks are forked from this process, so it stays single-threaded. `trusted` says that
    apps are Fedspan's own: this process then makes way for one that runs others."""
    family, parent = Family(logs), os.getppid()
    launched = internals.call(internals.LAUNCHED)
    launch_stock = internals.call(internals.LAUNCH)
    task_type = internals.look_up(internals.TASK_TYPE)
    tasks: dict[Any, Callable[[Any], object]] = {
        task_type.CLIENT_APP: lambda spec: family.fork(
            CLIENT_LOG, lambda: _client(spec, trusted=trusted)
        ),
        task_type.SERVER_APP: lambda spec: family.fork(
            SERVER_LOG, lambda: _server(spec, trusted=trusted)
        ),
    }

    def launch(executor: object, spec: Any) -> Any:
        if spec.task_type not in tasks:
            return launch_stock(executor, spec)
        tasks[spec.task_type](spec)
        return launched()

    def wait(seconds: float) -> None:
        for child in family.reap():
            if ended:
                try:
                    _note(ended, child.ended)
                except OSError:
                    sys.exit(NO_ROOM)
            elif child.code is not None and child.code < 0:
                sys.exit(WORKER_KILLED)
        if os.getppid() != parent:
            sys.exit(1)
        bell.wait(seconds)
        if trusted and ended and app_process.is_wanted():
            app_process.become(STOCK_POLL)

    _retry_soon()
    internals.put(internals.LAUNCH, launch)
    internals.put(internals.SUPEREXEC_LOOP, wait)


def _note(ended: Path, line: str) -> None:
    beside = ended.with_name(f".{ended.name}")
    beside.write_text(line, encoding="utf-8")
    beside.replace(ended)


def _client(spec: Any, *, trusted: bool) -> None:
    from fedspan.flower import app_client  # imports Flower, as a warm process has

    (app_client.only_ours if trusted else app_client.only_linked)()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads):
        import torch

        torch.set_num_threads(int(threads))
    internals.call(internals.CLIENT_TASK)(**_task(spec))


def _server(spec: Any, *, trusted: bool) -> None:
    task: dict[str, Any] = {"log_queue": queue.Queue(), **_task(spec)}
    if trusted:
        internals.call(internals.SERVER_TASK)(**task)
    else:
        app_process.run_server(task)


def _task(spec: Any) -> dict[str, object]:
    roots = internals.call(internals.ROOTS)
    return {
        "runtime_api_address": spec.runtime_api_address,
        "token": spec.token,
        "insecure": spec.insecure,
        "certificates": roots(spec.root_certificates_path, spec.insecure),
        "parent_pid": os.getppid(),
        "runtime_dependency_install": False,
    }


def _retry_soon() -> None:
    for part in (internals.PULL, internals.PULL_TREE):
        defaults = internals.look_up(part)
        defaults["initial_backoff"] = FIRST_RETRY_SECONDS
        defaults["backoff_cap"] = LAST_RETRY_SECONDS


def _keep_connections() -> None:
    """Flower's HTTP clients drop an idle connection after five seconds."""
    import httpx

    client = internals.call(internals.CLIENT)
    limits = httpx.Limits(
        max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEEP_ALIVE_SECONDS
    )

    def lasting(**options: Any) -> Any:
        return client(limits=limits, **options)

    internals.put(internals.CLIENT, lasting)
