"""What an embedded control plane is made of: parts of its own home, or those that FEDSPAN_*
variables name instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from fedspan import wiring
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.domain.machines import Role
from fedspan.executions.base import Executions
from fedspan.local.assets import asset
from fedspan.local.home import Home
from fedspan.objects.grants import open_grants
from fedspan.objects.opening import open_objects
from fedspan.providers.base import Provider
from fedspan.providers.local import LocalProvider
from fedspan.settings import Settings
from fedspan.stores.base import Store
from fedspan.stores.opening import open_store
from fedspan.stores.sqlite import SqliteStore

HEARTBEAT_SECONDS: Final = 1.0
LOST_SECONDS: Final = 15.0
BOOT_SECONDS: Final = 120.0
LEASE_SECONDS: Final = 900.0
"""A control plane that was killed has so long to be started again before its machines end."""
HOME_STORE: Final = "sqlite:"


def settings_of(home: Home, port: int = 0) -> Settings:
    """Of the environment, where it says something. Raises `InvalidRequest`."""
    return Settings.from_env(
        os.environ,
        api_url=f"http://127.0.0.1:{port}",
        objects_url=home.objects_url,
        store_url=HOME_STORE,
        owner=home.owner(),
        master_key=str((home.path / "master.key").resolve()),
        heartbeat_seconds=HEARTBEAT_SECONDS,
        lost_seconds=LOST_SECONDS,
        boot_seconds=BOOT_SECONDS,
        lease_seconds=LEASE_SECONDS,
    )


@contextmanager
def opened(
    home: Home,
    settings: Settings,
    tokens: Tokens,
    executions: Callable[[], Executions],
    *,
    starts_machines: bool,
) -> Iterator[App]:
    """The app of `home` while the block runs. Without `starts_machines` it has no providers, but
    reaches clouds to prove credentials.

    Raises:
        InvalidRequest, StoreError: a part cannot be opened.
    """
    store, here = _store(home, settings), _this_computer(home)
    try:
        clouds = wiring.clouds(settings, lambda: open_objects(settings.objects_url))
        keys = wiring.master_key(settings)
        local: Mapping[str, Provider] = {"local": here}
        yield App(
            settings=settings,
            store=store,
            objects=open_objects(settings.objects_url),
            grants=open_grants(settings),
            providers=wiring.providers(store, keys, clouds, local) if starts_machines else {},
            clouds=clouds,
            keys=keys,
            executions=executions(),
            tokens=tokens,
            now=wiring.now,
            new_id=wiring.new_id,
            post=wiring.post,
        )
    finally:
        here.close()
        store.close()


def _store(home: Home, settings: Settings) -> Store:
    if settings.store_url == HOME_STORE:
        return SqliteStore(home.database)
    return open_store(settings.store_url)


def _this_computer(home: Home) -> LocalProvider:
    programs = {role: str(asset(f"{role}_image/entrypoint.py")) for role in Role}
    commands = {role: [sys.executable, program] for role, program in programs.items()}
    forking = [sys.executable, "-P", "-m", "fedspan.flower.fork_server"]
    forks = {role: [*forking, role, program] for role, program in programs.items()}
    can_fork = sys.platform == "linux"  # elsewhere libraries do not survive it, and /proc is not
    return LocalProvider(home.machines, commands, wiring.now, forks if can_fork else {})
