"""The Cloud Function `machines`: a provider's methods, for a control plane elsewhere."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.machines import Machine
from fedspan.errors import InvalidRequest, tree
from fedspan.providers.base import Capabilities
from fedspan.providers.remote import RemoteProvider
from tests.support import cloud_function
from tests.support.cloud_function import Call, a_spec, call, on_google
from tests.support.world import World

__all__ = ["call", "on_google"]

NEED = {"vcpus": 1, "memory_mib": 64}


def test_machines_come_are_seen_and_go(call: Call, on_google: World) -> None:
    [offer, spot] = call("machines", "POST", "/offers", NEED).json["offers"]
    spec = a_spec(on_google.cloud, environment={"FEDSPAN_TOKEN": "hush"}).model_dump(mode="json")
    launched = call("machines", "POST", "/launch", {"job": "job-1", "spec": spec})
    listed = call("machines", "GET", "/machines?job=job-1")
    ended = call("machines", "POST", "/terminate", launched.json)

    assert (offer["provider"], spot["spot"]) == ("gcp", True)
    assert Machine.model_validate(launched.json).key == "job-1-a"
    assert listed.json == {"machines": [launched.json]}
    assert "hush" not in launched.text + listed.text
    assert (ended.status_code, ended.json) == (200, {})
    assert call("machines", "GET", "/machines").json == {"machines": []}


def test_what_it_can_do_is_data(call: Call, on_google: World) -> None:
    said = call("machines", "GET", "/capabilities").json

    assert Capabilities(**{**said, "roles": frozenset(said["roles"])}) == Capabilities(spot=True)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/capabilities", "GET"),
        ("GET", "/offers", "POST"),
        ("GET", "/launch", "POST"),
        ("DELETE", "/machines", "GET"),
        ("PUT", "/terminate", "POST"),
        ("DELETE", "/elsewhere", "GET, POST"),
    ],
)
def test_each_is_asked_in_its_own_way(
    call: Call, on_google: World, method: str, path: str, allowed: str
) -> None:
    got = call("machines", method, path)

    assert (got.status_code, got.headers["Allow"]) == (405, allowed)
    assert (got.content_type, got.json["status"]) == ("application/problem+json", 405)


@pytest.mark.parametrize("path", ["/", "/elsewhere", "/machines/1", "/launch/../offers/x"])
def test_what_is_not_there_is_not_found(call: Call, on_google: World, path: str) -> None:
    got = call("machines", "POST", path, NEED)

    assert (got.status_code, got.json["type"]) == (404, "NotFound")
    assert "/offers" in got.json["detail"]


@pytest.mark.parametrize("path", ["/offers", "/launch", "/terminate"])
@pytest.mark.parametrize("body", [b"", b"{", [], {"hm": "hush"}, b"\xff"])
def test_a_body_that_is_none_is_refused(call: Call, on_google: World, path: str, body: Any) -> None:
    got = call("machines", "POST", path, body)

    assert (got.status_code, got.json["type"]) == (400, "InvalidRequest")
    assert on_google.cloud.launched == 0


def test_a_token_in_a_wrong_place_is_not_repeated(
    call: Call, on_google: World, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = a_spec(on_google.cloud).model_dump(mode="json")
    spec["environment"] = {"FEDSPAN_TOKEN": ["hush"]}
    got = call("machines", "POST", "/launch", {"job": "job-1", "spec": spec})

    assert got.status_code == 400
    assert "spec.environment.FEDSPAN_TOKEN" in got.json["detail"]
    assert "hush" not in got.text + capsys.readouterr().out


def test_a_long_body_is_not_read(call: Call, on_google: World) -> None:
    got = call("machines", "POST", "/offers", b"{" + b" " * 1_000_000)

    assert (got.status_code, got.json["type"]) == (413, "TooLarge")


def test_no_job_at_all_is_not_every_job(call: Call, on_google: World) -> None:
    got = call("machines", "GET", "/machines?job=")

    assert (got.status_code, got.json["detail"][:4]) == (400, "job:")


@pytest.mark.parametrize("name", tree())
def test_every_error_becomes_a_problem(call: Call, on_google: World, name: str) -> None:
    on_google.cloud.fail_next = tree()[name]("what went wrong")
    got = call("machines", "GET", "/machines")

    assert (got.status_code, got.json["type"]) == (tree()[name].http, name)
    assert ("problems" in got.json) == issubclass(tree()[name], InvalidRequest)


def test_a_fault_of_our_own_says_nothing_of_itself(
    call: Call, on_google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_google.cloud, "fail_next", RuntimeError("password=hunter2"))
    got = call("machines", "GET", "/machines")

    assert (got.status_code, got.json["type"]) == (500, "FedspanError")
    assert "hunter2" not in got.text


SERVED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {folder!r}]
from fedspan import wiring
from fedspan.providers.memory import MemoryProvider
from tests.support.world import world
wiring.install(world(Path({at!r}), providers={{"gcp": MemoryProvider(wiring.now, "gcp")}}).app)
from main import *
"""


def test_functions_framework_serves_it_as_a_process(tmp_path: Path) -> None:
    root = cloud_function.MAIN.parents[2]
    source = tmp_path / "served.py"
    folder = str(cloud_function.MAIN.parent)
    source.write_text(SERVED.format(root=str(root), folder=folder, at=str(tmp_path)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "functions_framework", "--target", "machines"]
    serve += ["--source", str(source), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(serve, env={}, cwd=tmp_path) as process:
        provider = RemoteProvider("gcp", f"http://127.0.0.1:{port}", str, allow_loopback=True)
        try:
            until_it_listens(process, port)
            made = provider.launch("job-1", a_spec(provider))
            assert [one.id for one in provider.machines("job-1")] == [made.id]
            provider.terminate(made)
            assert list(provider.machines()) == []
        finally:
            provider.close()
            process.terminate()


def until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 60
    while True:
        assert process.poll() is None, "functions-framework ended"
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < end, "functions-framework does not listen"
            time.sleep(0.05)
