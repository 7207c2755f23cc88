"""What the contract suites stand on: the adapters, moto's server on the wire, Python elsewhere."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import fedspan
from fedspan.objects.base import Objects
from fedspan.objects.folder import FolderObjects
from fedspan.objects.gcs import gcs_objects
from fedspan.objects.s3 import s3_objects
from fedspan.stores.base import Store
from fedspan.stores.dynamodb import DynamoStore, create_table
from fedspan.stores.memory import MemoryStore
from fedspan.stores.opening import open_store
from fedspan.stores.sqlite import SqliteStore


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """A server that gives every request the same answer: the faults moto cannot produce. With a
    `length` beyond the body's, it breaks off."""
    servers = []

    def answer(status: int, body: str, *, length: int | None = None) -> str:
        handler = _handler(status, body.encode(), length or len(body))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield answer
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(status: int, body: bytes, length: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def python() -> Iterator[Callable[..., Any]]:
    """Starts a script in a Python of its own, with the package at hand and no environment.

    With `own_peak` a shell stands between: the kernel hands a process's peak memory on to what
    it executes, so started directly the script would begin at the peak of pytest.
    """
    started = []

    def start(script: str, *args: object, own_peak: bool = False, **env: str) -> Any:
        shell = ["/bin/sh", "-c", '"$@"; exit $?', "sh"] if own_peak else []
        process = subprocess.Popen(
            [*shell, sys.executable, "-c", script, *map(str, args)],
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(Path(fedspan.__file__).parents[1]),
                "PYTHONWARNINGS": "error",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # one group to kill, the shell's child included
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def memory(request: Any) -> Iterator[Store]:
    yield MemoryStore()


def sqlite(request: Any) -> Iterator[Store]:
    store = SqliteStore(request.getfixturevalue("tmp_path") / "store.db")
    yield store
    store.close()


def dynamodb(request: Any) -> Iterator[Store]:
    client = request.getfixturevalue("aws_client")("dynamodb", request.getfixturevalue("moto_url"))
    table = f"t-{secrets.token_hex(8)}"
    create_table(client, table)
    yield DynamoStore(client, table)


def firestore(request: Any) -> Iterator[Store]:
    host = request.getfixturevalue("firestore_host")
    request.getfixturevalue("monkeypatch").setenv("FIRESTORE_EMULATOR_HOST", host)
    store = open_store(f"firestore://project-{secrets.token_hex(8)}")
    yield store
    store.close()


STORES = [memory, sqlite, dynamodb, firestore]


@pytest.fixture(params=STORES, ids=lambda make: make.__name__)
def store(request: Any) -> Iterator[Store]:
    yield from request.param(request)


def folder(request: Any) -> Objects:
    return FolderObjects(request.getfixturevalue("tmp_path") / "objects")


def s3(request: Any) -> Objects:
    url = request.getfixturevalue("moto_url")
    bucket = f"b-{secrets.token_hex(8)}"
    request.getfixturevalue("aws_client")("s3", url).create_bucket(Bucket=bucket)
    return s3_objects(
        bucket,
        "some/prefix",
        endpoint=url,
        region="us-east-1",
        access_key_id="id",
        secret_access_key="secret",
    )


def gcs(request: Any) -> Objects:
    server = request.getfixturevalue("storage_server")
    email = "contract@project.iam.gserviceaccount.com"
    bucket = server.bucket(f"b-{secrets.token_hex(8)}", email)
    key = server.key(email)
    return gcs_objects(bucket.name, "some/prefix", base_url=server.url, service_account_key=key)


@pytest.fixture(params=[folder, s3, gcs], ids=lambda make: make.__name__)
def objects(request: Any) -> Objects:
    made: Objects = request.param(request)
    return made
