"""The one place that names Flower's private parts.

Stock Flower starts a Python for every message and sleeps between its steps: a round of a
trivial model takes twenty seconds. What is done about that touches parts Flower promises to
nobody, so each is looked up when a process starts. When one is gone, or ``FEDSPAN_FLOWER=stock``
says so, the stock commands run instead: slower, the same results.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any, Final

MODE: Final = "FEDSPAN_FLOWER"
"""Environment: ``stock`` for Flower's own commands, whatever could be done better."""

SUPERLINK: Final = "flwr.superlink.cli:flower_superlink"
SUPERNODE: Final = "flwr.supernode.cli:flower_supernode"
SUPEREXEC: Final = "flwr.supercore.cli:flower_superexec"
SUPERNODE_LOOP: Final = "flwr.supernode.start_client_internal:time.sleep"
HEARTBEATS: Final = (
    "flwr.supernode.fleet_http_connection:HEARTBEAT_DEFAULT_INTERVAL",
    "flwr.supercore.heartbeat:HEARTBEAT_DEFAULT_INTERVAL",
)
"""What a SuperNode says its interval is, and what it goes by."""

SUPEREXEC_LOOP: Final = "flwr.supercore.superexec.run_superexec:time.sleep"
LAUNCH: Final = "flwr.supercore.superexec.executor.subprocess_executor:SubprocessExecutor.launch"
LAUNCHED: Final = "flwr.supercore.superexec.executor.types:LaunchResult.accepted"
TASK_TYPE: Final = "flwr.supercore.constant:TaskType"
CLIENT_TASK: Final = "flwr.supernode.runtime.run_clientapp:run_clientapp"
SERVER_TASK: Final = "flwr.superlink.runtime.run_serverapp:run_serverapp"
CLIENT_INSTALL: Final = "flwr.supernode.runtime.run_clientapp:install_from_fab"
CLIENT_LOADER: Final = "flwr.supernode.runtime.run_clientapp:get_load_client_app_fn"
SERVER_RUN: Final = "flwr.superlink.runtime.run_serverapp:run_"
ROOTS: Final = "flwr.supercore.tls:validate_and_resolve_root_certificates"
PULL: Final = "flwr.supercore.inflatable.inflatable_utils:pull_objects.__kwdefaults__"
PULL_TREE: Final = (
    "flwr.supercore.inflatable.inflatable_utils:pull_and_inflate_object_from_tree.__kwdefaults__"
)
NESTED: Final = "flwr.supercore.inflatable.inflatable_object:get_all_nested_objects"
INFLATE: Final = "flwr.supercore.inflatable.inflatable_utils:inflate_object_from_contents"
MIDDLEWARE: Final = "flwr.superlink.main:_get_middleware"
MIDDLEWARE_PATHS: Final = {
    "ControlAuthenticationMiddleware": "/v1/control/",
    "ControlEventLogMiddleware": "/v1/control/",
    "ControlLicenseMiddleware": "/v1/control/",
    "FleetEventLogMiddleware": "/v1/fleet/",
    "NodeAuthMiddleware": "/v1/fleet/",
}
"""Middleware of the SuperLink that does nothing on other paths, as its source says."""

SERVE: Final = "flwr.superlink.cli.flower_superlink:uvicorn.run"
CLIENT: Final = "flwr.supercore.protobuf.client:httpx.Client"

_BOTH: Final = (
    *(SUPEREXEC, SUPEREXEC_LOOP, LAUNCH, LAUNCHED),
    *(TASK_TYPE, ROOTS, PULL, PULL_TREE),
)
ON_AGGREGATOR: Final = (
    *_BOTH,
    SUPERLINK,
    SERVER_TASK,
    SERVER_RUN,
    NESTED,
    INFLATE,
    MIDDLEWARE,
    SERVE,
)
ON_CLIENT: Final = (
    *_BOTH,
    SUPERNODE,
    SUPERNODE_LOOP,
    *HEARTBEATS,
    CLIENT_TASK,
    CLIENT,
    CLIENT_INSTALL,
    CLIENT_LOADER,
)
"""What each kind of machine relies on."""


def look_up(part: str) -> Any:
    """What ``module:attribute.path`` names.

    Raises:
        ImportError, AttributeError: this Flower has no such part.
    """
    module, path = part.split(":")
    return reduce(getattr, path.split("."), import_module(module))


def call(part: str) -> Callable[..., Any]:
    found: Callable[..., Any] = look_up(part)
    return found


def put(part: str, value: object) -> None:
    """Set what ``module:attribute.path`` names. For a module the module at hand imported, the
    name is set on a copy only this module sees."""
    module, path = part.split(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for step in owners:
        inner = getattr(owner, step)
        if not isinstance(inner, type):
            inner = _Shadow(inner)
            setattr(owner, step, inner)
        owner = inner
    setattr(owner, name, value)


def missing(parts: tuple[str, ...] = (*ON_AGGREGATOR, *ON_CLIENT)) -> tuple[str, ...]:
    """Those of `parts` that this Flower does not have."""
    return tuple(part for part in dict.fromkeys(parts) if not _present(part))


def stock(parts: tuple[str, ...]) -> str | None:
    """Why Flower's own commands shall run, or None when warm workers can."""
    if os.environ.get(MODE) == "stock":
        return f"{MODE}=stock"
    gone = missing(parts)
    return f"this Flower lacks {', '.join(gone)}" if gone else None


class _Shadow:
    """A module as one other module sees it: its names, some of them replaced."""

    def __init__(self, behind: object) -> None:
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def _present(part: str) -> bool:
    try:
        look_up(part)
    except (ImportError, AttributeError):
        return False
    return True
