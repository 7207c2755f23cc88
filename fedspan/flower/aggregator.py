"""Flower on an aggregator's machine: its processes, and the way to speak to them."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from fedspan.errors import AggregatorLost, InvalidRequest, StoreError
from fedspan.flower import front
from fedspan.flower.app_process import ENDED, READY
from fedspan.flower.certificates import LOOPBACK, server_certificate, write_private
from fedspan.flower.warm import Family
from fedspan.flower.workers import Workers
from fedspan.objects.opening import open_objects

if TYPE_CHECKING:
    from fedspan.domain.spec import JobSpec
    from fedspan.flower.app_bundle import Bundle
    from fedspan.flower.control import Control

FRONT: Final = "front"


class Flower:
    """The SuperLink, the front and the SuperExec of one incarnation, children of this process.

    All are started at once and none again: when one ends, the incarnation has.
    """

    def __init__(
        self, work: Path, host: str, family: Family, *, stock: bool, port: int = 0
    ) -> None:
        now = datetime.fromtimestamp(time.time(), UTC)
        self._tls = server_certificate(work / "tls", host, now)
        self._ended, self._app_ready = work / ENDED, work / READY
        for stale in (self._ended, self._app_ready):
            stale.unlink(missing_ok=True)
        self._secret = work / "superexec.secret"
        write_private(self._secret, token_hex(32).encode())
        self._port = free_port()
        self._workers = Workers(family, stock=stock)
        with _listen(host, port) as listener:
            self.address = f"{host}:{listener.getsockname()[1]}"
            self._workers.superlink(self._superlink_options())
            family.fork(
                FRONT,
                lambda: front.run(listener, self._tls, self._port),
                keep=(listener.fileno(),),
            )
        self._workers.superexec(self._superexec_options(), self._ended)
        self.control = self._control()

    @property
    def certificate(self) -> str:
        """The CA participants are to trust, PEM."""
        return self._tls.ca.read_text(encoding="utf-8")

    def ready(self, spec: JobSpec) -> bool:
        """Whether the processes that `spec` needs are there to take up its run."""
        return spec.model.app is None or self._workers.stock or self._app_ready.exists()

    def submit(self, spec: JobSpec, objects: str) -> int:
        """Start the app of the job, fetched from `objects`, or else ours; the run's id.

        Raises:
            InvalidRequest: it cannot run.
            AggregatorLost: the SuperLink, or the objects, do not answer.
        """
        from fedspan.flower.fab import build_fab

        if spec.model.app is None:
            run = self.control.start_run(build_fab())
        else:
            bundle = self._fetched(str(spec.model.sha256), objects)
            config = bundle.run_config(spec.model.config, spec.rounds)
            run = self.control.start_run(bundle.content, config)
        self._workers.bell.ring()
        return run

    def _fetched(self, sha256: str, objects: str) -> Bundle:
        from fedspan.flower.app_bundle import fetched

        if self._workers.stock:
            raise InvalidRequest("an app needs warm workers, which this Flower does not allow")
        try:
            return fetched(open_objects(objects), sha256)
        except StoreError as exc:
            raise AggregatorLost(f"the app cannot be fetched yet: {exc}") from exc

    def ended(self) -> str | None:
        """How the ServerApp ended, once it has and if we were there to see."""
        try:
            return self._ended.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _control(self) -> Control:
        # Flower imports NumPy, whose threads `warm_up` sees to before that.
        from fedspan.flower.control import Control

        return Control(f"{LOOPBACK}:{self._port}", self._tls.ca)

    def _superlink_options(self) -> list[str]:
        tls = ("--ssl-certfile", self._tls.certificate, "--ssl-keyfile", self._tls.key)
        options = (
            *("--host", LOOPBACK, "--port", self._port),
            *tls,
            *("--ssl-ca-certfile", self._tls.ca),
            "--enable-supernode-auth",
            *("--isolation", "process", "--superexec-auth-secret-file", self._secret),
            "--disable-runtime-dependency-installation",
        )
        return [str(option) for option in options]

    def _superexec_options(self) -> list[str]:
        options = (
            *("--runtime-api-address", f"{LOOPBACK}:{self._port}"),
            *("--root-certificates", self._tls.ca),
            *("--superexec-auth-secret-file", self._secret),
        )
        return [str(option) for option in options]


def _listen(host: str, port: int) -> socket.socket:
    """On `host` if this machine has that address, else on all it has: a cloud's public address
    is translated on the way. Port 0 takes any that is free."""
    try:
        return socket.create_server((host, port), backlog=256)
    except OSError:
        return socket.create_server(("", port), backlog=256)


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        return int(taken.getsockname()[1])
