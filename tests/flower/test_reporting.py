"""Reports over real HTTP: with our token alone, and not for ever."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fedspan.domain.reports import Desired, SiteManifest, SiteReport
from fedspan.flower.reporting import LEASE_SECONDS, Api, Away, Pace

REPORT = SiteReport(site="seoul", machine="m", seq=1, public_key="k")


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str | None]]]:
    """A server's URL, and the credentials it was shown."""
    shown: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            shown.append(self.headers["Authorization"])
            body = SiteManifest(desired=Desired.RUN, heartbeat_seconds=1).model_dump_json().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", shown
        server.shutdown()
        thread.join()


def test_a_netrc_does_not_take_the_place_of_the_token(
    heard: tuple[str, list[str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    url, shown = heard
    api = Api(url, "ours")
    answer = api.post("/v1/reports/site", REPORT, SiteManifest)
    api.close()

    assert shown == ["Bearer ours"]
    assert answer.lease_seconds == LEASE_SECONDS


def test_reports_still_go_through_a_proxy(
    heard: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, shown = heard
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("no_proxy", "")
    api = Api("http://api.invalid", "ours")
    api.post("/v1/reports/site", REPORT, SiteManifest)
    api.close()

    assert shown == ["Bearer ours"]


def test_the_lease_of_the_last_answer_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("fedspan.flower.reporting.time.monotonic", lambda: now)
    log, pace = logging.getLogger("test"), Pace(_answered=now)
    now += LEASE_SECONDS
    before = pace.gave_up(log)
    pace.succeeded(1.0, 60.0)
    now += 60
    pace.failed(Away("nobody"), log)
    kept = pace.gave_up(log)
    now += 1

    assert (before, kept, pace.gave_up(log)) == (False, False, True)
    assert "told this machine nothing for 60 s" in caplog.text


def test_without_any_answer_the_first_lease_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("fedspan.flower.reporting.time.monotonic", lambda: now)
    pace = Pace(_answered=now)
    now += LEASE_SECONDS + 1

    assert pace.gave_up(logging.getLogger("test"))
