"""The clouds' price interfaces on a loopback port, answering what was recorded, or as told."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

RECORDED = Path(__file__).parent / "recorded"
REGION_INDEX = "/offers/v1.0/aws/AmazonEC2/current/region_index.json"
IRELAND = "/offers/v1.0/aws/AmazonEC2/20261118205955/eu-west-1/index.csv"
SKUS = "/v1/services/6F81-5844-456A/skus"
RETAIL = "/api/retail/prices"
EC2 = "/"


@dataclass(frozen=True)
class Answer:
    """With `breaks`, the connection ends before the body does."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False


@dataclass(frozen=True)
class Request:
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: str


@dataclass
class Cloud:
    """`answers` of a path come one after the other, the last again and again. Further pages may
    have their own: those of ``path?$skip`` and ``path?pageToken``."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Request] = field(default_factory=list)

    def says(self, path: str, *answers: Answer | bytes | str) -> None:
        made = [one if isinstance(one, Answer) else Answer(one) for one in answers]
        self.answers[path] = made

    def next(self, path: str, query: Iterable[str]) -> Answer:
        pages = [f"{path}?{name}" for name in query if f"{path}?{name}" in self.answers]
        answers = self.answers[pages[0] if pages else path]
        if not answers:
            return Answer(b"no such thing", 404)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def of(self, path: str) -> list[Request]:
        return [one for one in self.asked if one.path == path]

    def as_recorded(self) -> None:
        self.says(REGION_INDEX, recorded("aws_region_index.json"))
        self.says(IRELAND, recorded("aws_eu-west-1.csv"))
        self.says(SKUS, recorded("gcp_skus_1.json"))
        self.says(f"{SKUS}?pageToken", recorded("gcp_skus_2.json"))
        there = "https://prices.azure.com:443"
        self.says(RETAIL, recorded("azure_westeurope_1.json").replace(there, self.url))
        self.says(f"{RETAIL}?$skip", recorded("azure_westeurope_2.json"))


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


@contextlib.contextmanager
def cloud() -> Iterator[Cloud]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    here = Cloud(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(here)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(here: Cloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            query = parse_qs(parts.query)
            here.asked.append(Request(parts.path, query, dict(self.headers), body))
            told = here.next(parts.path, query)
            content = told.body.encode() if isinstance(told.body, str) else told.body
            self.send_response_only(told.status)  # no date of its own
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (1000 if told.breaks else 0)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler
