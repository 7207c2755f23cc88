"""The providers that the contract suite holds against its word. A new cloud joins this list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedspan.domain.machines import Role
from fedspan.providers.base import Provider
from fedspan.providers.local import LocalProvider
from fedspan.providers.memory import MemoryProvider
from fedspan.providers.remote import RemoteProvider
from tests.clouds.aws import accounts
from tests.clouds.aws.server import forget_machines
from tests.support import cloud_function
from tests.support.world import serving, world

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
# A machine that starts a child, and one that left the group for a session of its own.
FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
print("booted", flush=True)
time.sleep(600)
"""


def memory(request: Any) -> Iterator[Provider]:
    yield MemoryProvider(lambda: NOW)


def local(request: Any) -> Iterator[Provider]:
    provider = local_provider(request.getfixturevalue("tmp_path"))
    yield provider
    for machine in provider.machines():
        provider.terminate(machine)


def remote(request: Any) -> Iterator[Provider]:
    """The Cloud Function `machines` over an honest fake, behind an IAM that knows one token."""
    cloud = MemoryProvider(lambda: NOW, name="gcp")
    with remote_provider(request, cloud) as provider:
        yield provider


def remote_gcp(request: Any) -> Iterator[Provider]:
    """As `remote`, over Compute Engine."""
    with remote_provider(request, request.getfixturevalue("gcp_project").provider()) as provider:
        yield provider


def aws(request: Any) -> Iterator[Provider]:
    provider = accounts.provider(request.getfixturevalue("moto_url"))
    yield provider
    for machine in provider.machines():
        provider.terminate(machine)
    provider.close()
    forget_machines()


def gcp(request: Any) -> Iterator[Provider]:
    yield request.getfixturevalue("gcp_project").provider()


def openstack(request: Any) -> Iterator[Provider]:
    provider = request.getfixturevalue("seoul").provider("seoul")
    yield provider
    provider.close()


@contextmanager
def remote_provider(request: Any, cloud: Provider, **more: Any) -> Iterator[RemoteProvider]:
    function = cloud_function.made("machines", request.getfixturevalue("monkeypatch"))
    app = world(request.getfixturevalue("tmp_path"), providers={"gcp": cloud}).app
    guarded = cloud_function.behind_iam(function, "an-id-token")
    with serving(app), cloud_function.served(guarded) as url:
        given = {"token": lambda: "an-id-token", "allow_loopback": True, **more}
        provider = RemoteProvider("gcp", url, **given)
        yield provider
        provider.close()


def local_provider(folder: Path, program: str = FAMILY) -> LocalProvider:
    command = [sys.executable, "-c", program]
    commands = {Role.AGGREGATOR: command, Role.CLIENT: command}
    return LocalProvider(folder / "machines", commands, lambda: NOW)


PROVIDERS: list[Callable[[Any], Iterator[Provider]]] = [
    memory,
    local,
    remote,
    remote_gcp,
    aws,
    gcp,
    openstack,
]
