"""The edges of wiring: webhooks, identifiers, the signing key of a home."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from fedspan import wiring
from fedspan.errors import AlreadyRunning, Corrupt, Denied
from fedspan.local.home import Home


class Hook(BaseHTTPRequestHandler):
    heard: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        Hook.heard.append(json.loads(self.rfile.read(length)))
        moved = self.path == "/moved"
        self.send_response(302 if moved else 204)
        if moved:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_hears_the_document(hook: str) -> None:
    wiring.post(f"{hook}/", {"id": "j"})

    assert Hook.heard == [{"id": "j"}]


def test_a_redirect_is_not_followed(hook: str) -> None:
    with pytest.raises(OSError):
        wiring.post(f"{hook}/moved", {"id": "j"})
    assert len(Hook.heard) == 1


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
    ],
)
def test_a_link_local_address_is_never_asked(host: str) -> None:
    with pytest.raises(OSError, match="link-local"):
        wiring.post(f"http://{host}/latest", {})


@pytest.mark.parametrize(
    "host", ["[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "Metadata.google.internal."]
)
def test_a_clouds_own_metadata_service_is_never_asked(host: str) -> None:
    with pytest.raises(OSError, match="a cloud's metadata service"):
        wiring.post(f"http://{host}/latest", {})


def test_identifiers_sort_by_time_and_differ() -> None:
    made = [wiring.new_id() for _ in range(50)]

    assert len(set(made)) == 50
    assert [id[:15] for id in made] == sorted(id[:15] for id in made)


def test_a_signing_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)

    assert home.signing_key() == home.signing_key()
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["signing.key"]


def test_a_torn_signing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "signing.key").touch(0o600)

    with pytest.raises(Corrupt, match=r"signing\.key is no signing key; remove it"):
        Home(tmp_path).signing_key()


def test_a_signing_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    Home(tmp_path).signing_key()
    path.chmod(0o640)
    with pytest.raises(Denied, match=rf"the signing key .*\(mode 0640\); `chmod 600 {path}`"):
        Home(tmp_path).signing_key()


def test_a_home_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.held(), pytest.raises(AlreadyRunning), home.held():
        pass

    with home.held():
        pass
