"""A real OpenStack control plane on this machine, for tests.

Keystone, Placement, Glance, Neutron and Nova from PyPI's wheels: five processes on ports of
loopback that are free, SQLite, no broker, no root, no container. As a script, from the
repository's root::

    python -m tests.clouds.openstack.plane up STATE      # prints what it made, as JSON
    python -m tests.clouds.openstack.plane down STATE

``STATE`` is a new folder. `FEDSPAN_TEST_BOOT` says what a VM runs: see ``inside/processes.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.clouds.openstack import configuration, tenants
from tests.clouds.openstack.install import install

INSIDE = Path(__file__).with_name("inside")
START_SECONDS = 240
_CHILDREN: dict[Path, dict[str, subprocess.Popen[bytes]]] = {}
"""Whom this process has to wait for in the end."""
MARK = "FEDSPAN_TEST_OPENSTACK"
"""Every process of a control plane, and of its VMs, has it in its environment: the folder."""


def up(state: Path) -> dict[str, Any]:
    """Start it and furnish it. Returns what a client needs, which is also in ``STATE/cloud.json``.
    What fails on the way is ended before the error is raised."""
    python = install()
    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    try:
        services, urls = _start(state, python)
        _wait(urls["keystone"] + "/v3", services, state)
        with tenants.administrator(urls) as admin:
            tenants.fill_catalogue(admin, urls)
        (state / "catalogue").touch()
        for name in configuration.SERVICES:
            _wait(urls[name], services, state)
        with tenants.administrator(urls) as admin:  # anew: the catalogue comes with the token
            document = {"state": str(state), "urls": urls, **tenants.furnish(admin, urls)}
    except BaseException:
        down(state)
        raise
    (state / "cloud.json").write_text(json.dumps(document, indent=2))
    return document


def down(state: Path) -> None:
    """End every process of it, its VMs' too. Idempotent."""
    state = state.resolve()
    mine = processes(state)
    for process in mine:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(mine, timeout=5)
    for process in processes(state):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for child in _CHILDREN.pop(state, {}).values():
        child.wait()


def _start(state: Path, python: Path) -> tuple[dict[str, subprocess.Popen[bytes]], dict[str, str]]:
    with contextlib.ExitStack() as stack:
        sockets = {}
        for name in configuration.SERVICES:
            sockets[name] = stack.enter_context(socket.socket())
            sockets[name].bind(("127.0.0.1", 0))
        urls = {n: f"http://127.0.0.1:{one.getsockname()[1]}" for n, one in sockets.items()}
        # Nova's API is at /v2.1 of its port; the others' catalogue entries are their roots.
        configuration.write(state, python.parents[1] / "etc", urls)
        said = {"admin": configuration.ADMIN, "region": configuration.REGION, "urls": urls}
        (state / "plane.json").write_text(json.dumps(said))
        _announce_driver(state / "plugins")
        services = {
            name: _spawn(name, state, python, one.fileno()) for name, one in sockets.items()
        }
    _CHILDREN[state] = services
    known = [(one.pid, psutil.Process(one.pid).create_time()) for one in services.values()]
    (state / "processes.json").write_text(json.dumps(known))
    return services, urls


def _announce_driver(folder: Path) -> None:
    """Neutron finds mechanism drivers by the entry points of what is installed."""
    package = folder / "bindall-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: bindall\nVersion: 1.0\n")
    entry = "[neutron.ml2.mechanism_drivers]\nbindall = bindall:BindAll\n"
    (package / "entry_points.txt").write_text(entry)


def _spawn(name: str, state: Path, python: Path, number: int) -> subprocess.Popen[bytes]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("OS_", "PYTHON"))}
    environment |= {
        MARK: str(state),
        "PYTHONPATH": f"{INSIDE}{os.pathsep}{state / 'plugins'}",
        "PYTHONWARNINGS": "ignore",
    }
    with (state / f"{name}.out").open("ab") as out:
        return subprocess.Popen(
            [python, INSIDE / "service.py", name, state, str(number)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=[number],
            start_new_session=True,
        )


def _wait(url: str, services: Mapping[str, subprocess.Popen[bytes]], state: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _answers(url):
        for name, process in services.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {_last(state, name)}")
        if time.monotonic() > end:
            raise TimeoutError(f"{url} does not answer; see the logs in {state}")
        time.sleep(0.1)


def _last(state: Path, name: str) -> str:
    said = [state / f"{name}.{ending}" for ending in ("log", "out")]
    return "".join(one.read_text()[-2000:] for one in said if one.exists())


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.code < 500
    except OSError:
        return False
    return True


def processes(state: Path) -> list[psutil.Process]:
    """All that runs of it: its services and its VMs."""
    return _services(state) + _marked(state)


def _services(state: Path) -> list[psutil.Process]:
    """By their numbers: those that write a title of their own write it over their environment."""
    found = []
    record = state / "processes.json"
    for number, created in json.loads(record.read_text()) if record.exists() else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            if (process := psutil.Process(number)).create_time() == created:
                found.append(process)
    return found


def _marked(state: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(state):
                found.append(process)
    return found


def main(command: str, folder: str) -> None:
    if command == "up":
        print(json.dumps(up(Path(folder)), indent=2))
    else:
        down(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
