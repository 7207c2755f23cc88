"""A metadata service says that the machine is taken back, or says nonsense, or nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedspan.domain.machines import MachineSpec, Offer, Role
from fedspan.domain.reports import Notice
from fedspan.flower import notices
from fedspan.flower.files import WorkFolder
from fedspan.flower.notices import Aws, Gcp, Leaving, Nonsense
from fedspan.providers.user_data import noticed

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LOG = logging.getLogger("test")
ACTION = {"action": "terminate", "time": "2026-11-29T12:02:00Z"}

Answer = Callable[[str, str, dict[str, str]], tuple[int, bytes]]


@contextmanager
def metadata(answer: Answer) -> Iterator[str]:
    """A metadata service on loopback; `answer` is given method, path and headers."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = answer(self.command, self.path, headers)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _reply  # as http.server names them

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Imds:
    """EC2's service: tokens, of which the last one given is good, and `action`, if any."""

    def __init__(self) -> None:
        self.given = 0
        self.action: bytes | None = None

    def __call__(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if (method, path) == ("PUT", "/latest/api/token"):
            if headers.get("x-aws-ec2-metadata-token-ttl-seconds") != "21600":
                return 400, b""
            self.given += 1
            return 200, f"token-{self.given}".encode()
        if headers.get("x-aws-ec2-metadata-token") != f"token-{self.given}":
            return 401, b""
        if (method, path) != ("GET", "/latest/meta-data/spot/instance-action"):
            return 403, b""
        return (404, b"") if self.action is None else (200, self.action)


def test_ec2_gives_notice_in_an_action_and_its_time() -> None:
    imds = Imds()
    with metadata(imds) as url:
        ask = Aws(url)
        before = ask(NOW)
        imds.action = json.dumps(ACTION).encode()
        notice = ask(NOW)

    assert (before, imds.given) == (None, 1)
    assert notice == Notice(expires=NOW + timedelta(minutes=2), source="aws terminate")


def test_an_expired_token_of_ec2_is_renewed() -> None:
    imds = Imds()
    with metadata(imds) as url:
        ask = Aws(url)
        ask(NOW)
        imds.given += 1
        with pytest.raises(Nonsense, match="401"):
            ask(NOW)
        imds.action = json.dumps(ACTION).encode()

        assert ask(NOW) is not None


def test_google_gives_half_a_minute() -> None:
    said = [b"FALSE", b"TRUE\n"]

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        known = path == "/computeMetadata/v1/instance/preempted"
        if not known or headers.get("metadata-flavor") != "Google":
            return 403, b""
        return 200, said.pop(0)

    with metadata(answer) as url:
        ask = Gcp(url)
        before, notice = ask(NOW), ask(NOW)

    assert before is None
    assert notice == Notice(expires=NOW + timedelta(seconds=30), source="gcp preempted")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"TRUE"),
        (302, b"TRUE"),
        (200, b""),
        (200, b"true"),
        (200, b"\xff\xfe"),
        (200, b"{" * 100_000),
        (200, json.dumps({"action": "stop"}).encode()),
        (200, json.dumps({"action": "stop", "time": "2026-11-29T12:00:00"}).encode()),
        (200, json.dumps({"action": "stop", "time": "soon"}).encode()),
    ],
)
@pytest.mark.parametrize("kind", [Aws, Gcp])
def test_nonsense_is_no_notice(kind: type[Aws] | type[Gcp], status: int, body: bytes) -> None:
    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        return (200, b"token") if method == "PUT" else (status, body)

    with metadata(answer) as url, pytest.raises(Nonsense):
        kind(url)(NOW)


@pytest.mark.parametrize("kind", [Aws, Gcp])
def test_a_service_that_is_not_there_or_hangs_is_no_notice(
    kind: type[Aws] | type[Gcp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "TIMEOUT_SECONDS", (0.2, 0.2))
    over = threading.Event()

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        over.wait(10)
        return 200, b"TRUE"

    with pytest.raises(Nonsense):
        kind("http://127.0.0.1:1")(NOW)
    with metadata(answer) as url:
        with pytest.raises(Nonsense):
            kind(url)(NOW)
        over.set()


def test_what_is_heard_is_written_down_after_any_nonsense(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "POLL_SECONDS", 0.0)
    told = [None, Nonsense("x"), Nonsense("y"), Notice(expires=NOW, source="z")]

    def ask(now: datetime) -> Notice | None:
        one = told.pop(0)
        if isinstance(one, Nonsense):
            raise one
        return one

    folder = WorkFolder(tmp_path)
    notices.watch(ask, folder, LOG)

    assert folder.notice() == Notice(expires=NOW, source="z")
    assert [record.message for record in caplog.records] == [
        "the metadata service gives no notice: x"
    ]


@pytest.mark.parametrize("text", ["", "{}", '{"expires": "soon"}', '{"expires": "2026-11-29"}'])
def test_a_notice_file_that_says_nothing_counts_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    leaving = Leaving(WorkFolder(tmp_path), LOG)
    (tmp_path / "notice.json").write_text(text)

    assert [leaving.news(), leaving.news()] == [False, False]
    assert leaving.notice is None and not leaving.over
    assert len(caplog.records) == 1 and "notice.json: it counts for nothing" in caplog.text


def test_a_notice_is_news_once_and_leaves_a_moment_even_when_it_is_late(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path)
    leaving = Leaving(folder, LOG)
    before = leaving.news()
    folder.write_notice(Notice(expires=datetime(2020, 1, 1, tzinfo=UTC)))

    assert [before, leaving.news(), leaving.news()] == [False, True, False]
    assert not leaving.over


@pytest.mark.parametrize(
    ("name", "kind"), [("aws", Aws), ("gcp", Gcp), ("file", type(None)), ("", type(None))]
)
def test_the_environment_says_who_gives_notice(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    monkeypatch.setenv(notices.NOTICES, name)

    assert isinstance(notices.source(), kind)


def test_an_environment_that_names_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notices.NOTICES, "azure")

    with pytest.raises(SystemExit, match="FEDSPAN_NOTICES is 'azure'; it would be one of aws, gcp"):
        notices.source()


@pytest.mark.parametrize("role", list(Role))
def test_only_aggregators_ask_their_cloud(role: Role) -> None:
    offer = Offer(
        provider="aws", region="eu-west-1", machine_type="m", vcpus=1, memory_mib=1, price=1
    )
    spec = MachineSpec(key="k", role=role, epoch=1, offer=offer, environment={"A": "1"}, port=1)
    asks = {"FEDSPAN_NOTICES": "aws"} if role is Role.AGGREGATOR else {}

    assert noticed(spec, "aws").environment == {"A": "1", **asks}
