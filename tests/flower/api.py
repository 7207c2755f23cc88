"""A small control plane for tests: real HTTP, and answers as the real one would give.

It links every agent that reports to the aggregator that reports, and keeps the rounds. With
`relayed` it tells agents `via` for the aggregator's address, once that is known.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from fedspan.domain.grants import Grant
from fedspan.domain.reports import (
    AggregatorManifest,
    AggregatorReport,
    Desired,
    Link,
    Node,
    SiteManifest,
    SiteReport,
)
from fedspan.domain.rounds import Round
from fedspan.domain.sites import Dataset
from fedspan.domain.spec import JobSpec

TOKEN = "machine-token-that-must-not-leak"
HEARTBEAT_SECONDS = 0.5


class Api:
    """Serves one job on loopback while the `with` block lasts."""

    def __init__(self, spec: JobSpec, datasets: dict[str, Dataset]) -> None:
        self.spec = spec
        self.datasets = datasets
        self.epoch = 1
        self.desired = Desired.RUN
        self.away = False
        self.relayed = False
        self.lease_seconds = 3600.0
        self.objects: Grant | None = None
        self.objects_late = False
        self.via: str | None = None
        self.aggregator: AggregatorReport | None = None
        self.sites: dict[str, SiteReport] = {}
        self.rounds: dict[int, Round] = {}
        self.arrivals: dict[int, float] = {}
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def until(self, holds: Callable[[], bool], seconds: float = 180.0) -> None:
        """Wait until reports have made it so."""
        with self._changed:
            if not self._changed.wait_for(holds, seconds):
                raise AssertionError(f"not within {seconds} s; last word: {self.aggregator}")

    def answer(self, path: str, body: bytes) -> tuple[int, str]:
        with self._changed:
            try:
                if self.away:
                    return 503, json.dumps({"code": "StoreUnavailable"})
                if path == "/v1/reports/aggregator":
                    return self._aggregator(AggregatorReport.model_validate_json(body))
                if path == "/v1/reports/site":
                    return self._site(SiteReport.model_validate_json(body))
                return 404, json.dumps({"code": "NotFound"})
            finally:
                self._changed.notify_all()

    def _aggregator(self, report: AggregatorReport) -> tuple[int, str]:
        if report.epoch != self.epoch:
            return 409, json.dumps({"code": "StaleEpoch"})
        self.aggregator = report
        for one in report.rounds:
            self.rounds[one.number] = one
            self.arrivals.setdefault(one.number, time.monotonic())
        nodes = tuple(Node(site=site, public_key=r.public_key) for site, r in self.sites.items())
        dataset = next(iter(self.datasets.values()))
        manifest = AggregatorManifest(
            desired=self.desired,
            job=report.job,
            epoch=self.epoch,
            spec=self.spec,
            features=dataset.features,
            classes=dataset.classes,
            nodes=nodes,
            acknowledged=max(self.rounds, default=0),
            objects=None if report.grant_expires else self.objects,
            objects_late=self.objects_late,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            lease_seconds=self.lease_seconds,
        )
        return 200, manifest.model_dump_json()

    def _site(self, report: SiteReport) -> tuple[int, str]:
        self.sites[report.site] = report
        spoken, link = self.aggregator, None
        awaited = spoken and report.site in spoken.linked and self.desired is Desired.RUN
        awaited = awaited and (self.via is not None or not self.relayed)
        if awaited and spoken and spoken.address and spoken.certificate:
            link = Link(
                job=spoken.job,
                epoch=spoken.epoch,
                address=self.via or spoken.address,
                certificate=spoken.certificate,
                dataset=self.datasets[report.site].model_copy(update={"path": ""}),
            )
        manifest = SiteManifest(
            desired=self.desired,
            link=link,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            lease_seconds=self.lease_seconds,
        )
        return 200, manifest.model_dump_json()


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, text = api.answer(self.path, body) if known else (401, "{}")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
