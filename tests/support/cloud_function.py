"""`functions/gcp/main.py` as Google serves it: by functions-framework, behind a front end that
knows who calls."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import functions_framework
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from fedspan.domain.machines import MachineSpec, Role
from fedspan.domain.spec import Need
from fedspan.providers.base import Capabilities, Provider
from fedspan.providers.memory import MemoryProvider
from tests.support.world import World, serving, world

Call = Callable[..., TestResponse]

MAIN = Path(__file__).resolve().parents[2] / "functions" / "gcp" / "main.py"

FORBIDDEN = b"""<html><head><title>403 Forbidden</title></head><body><h1>Error: Forbidden</h1>
<h2>Your client does not have permission to get URL <code>/</code> from this server.</h2></body>
</html>"""
"""What Google's front end says to a caller without ``roles/run.invoker``."""


def made(target: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Flask app that functions-framework makes of an entry point. It writes to the
    environment, the path and the modules; that is undone with `monkeypatch`."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setitem(sys.modules, "main", ModuleType("main"))
    return functions_framework.create_app(target, str(MAIN))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """One request to an entry point, with functions-framework's test client."""

    def one(entry: str, method: str, path: str = "/", body: Any = None) -> TestResponse:
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        with made(entry, monkeypatch).test_client() as client:
            return client.open(path, method=method, data=data)  # type: ignore[no-any-return]

    return one


@pytest.fixture
def on_google(tmp_path: Path) -> Iterator[World]:
    """A world whose own machines, `cloud`, are on Google Cloud."""
    usual = world(tmp_path)
    cloud = MemoryProvider(usual.clock, "gcp", Capabilities(spot=True))
    it = replace(usual, app=replace(usual.app, providers={"gcp": cloud}), cloud=cloud)
    with serving(it.app):
        yield it


def a_spec(provider: Provider, **more: Any) -> MachineSpec:
    """Of an aggregator that `provider` offers."""
    [offer, *_] = provider.offers(Need(vcpus=1, memory_mib=64))
    return MachineSpec(
        **{"key": "job-1-a", "role": Role.AGGREGATOR, "epoch": 1, "offer": offer, **more}
    )


def behind_iam(app: Any, token: str) -> Callable[..., Iterable[bytes]]:
    """Only who brings `token` gets through."""

    def front(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION") == f"Bearer {token}":
            return app(environ, start_response)  # type: ignore[no-any-return]
        status = "403 Forbidden" if "HTTP_AUTHORIZATION" in environ else "401 Unauthorized"
        start_response(status, [("Content-Type", "text/html; charset=UTF-8")])
        return [FORBIDDEN]

    return front


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as Google keeps them

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Its URL, while the block runs."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
