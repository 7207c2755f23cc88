"""How a machine learns that its cloud takes it back, minutes or half a minute before.

Each cloud says so in a metadata service only the machine reaches. A child of the supervisor asks
it and writes ``notice.json`` into the work folder, where supervisor and ServerApp look: neither
waits for a metadata service that hangs. What that says otherwise, or does not say, costs nothing:
the machine is then lost without notice. On this computer a person writes the file::

    {"expires": "2026-11-29T12:00:00Z"}
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
from pydantic import ValidationError
from urllib3.exceptions import HTTPError

from fedspan.domain.reports import Notice
from fedspan.domain.values import Instant, Message
from fedspan.errors import InvalidRequest
from fedspan.flower.files import Noticed, WorkFolder

NOTICES: Final = "FEDSPAN_NOTICES"
"""Environment: who gives notice to this machine: ``aws``, ``gcp`` or ``file``; else nobody does."""

METADATA: Final = "FEDSPAN_METADATA"
"""Environment: the URL of the metadata service, where it is not at its usual address."""

WATCHER: Final = "notices"
"""The child that asks."""

LEAST_SECONDS: Final = 5.0
"""Of life after a notice, whatever it says: clocks differ."""

POLL_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = (1.0, 2.0)
MOST_BYTES: Final = 4096
TOKEN_SECONDS: Final = 21_600
GCP_SECONDS: Final = 30
"""What Google leaves a machine after it has said that it takes it back."""


class Nonsense(Exception):
    """The metadata service is not there, hangs, or says what nobody can mean."""


class _Action(Message):
    """What EC2 says of a machine it is about to interrupt."""

    action: str
    time: Instant


@dataclass(slots=True)
class Metadata:
    """A metadata service at `url`: small answers, soon or not at all, past no proxy."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Status and text of the answer. Raises `Nonsense`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with self.session.request(
                method,
                f"{self.url}{path}",
                headers=named,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as answer:
                text = answer.raw.read(MOST_BYTES, decode_content=False)
                return answer.status_code, text.decode("ascii")
        except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
            raise Nonsense(f"{path}: {type(exc).__name__}") from exc


class Aws:
    """EC2's: what it asks for first is a token, which a page a browser shows cannot have."""

    def __init__(self, url: str = "http://169.254.169.254") -> None:
        self._metadata = Metadata(url)
        self._token = ""

    def __call__(self, now: datetime) -> Notice | None:
        """The notice, if there is one. Raises `Nonsense`."""
        self._token = self._token or self._new_token()
        header = {"X_aws_ec2_metadata_token": self._token}
        status, text = self._metadata.ask("/latest/meta-data/spot/instance-action", **header)
        if status == 401:
            self._token = ""
        if status == 404:
            return None
        if status != 200:
            raise Nonsense(f"instance-action: {status}")
        try:
            said = _Action.model_validate_json(text)
        except ValidationError as exc:
            raise Nonsense("instance-action: neither an action nor a time") from exc
        return Notice(expires=said.time, source=f"aws {said.action}"[:60])

    def _new_token(self) -> str:
        header = {"X_aws_ec2_metadata_token_ttl_seconds": str(TOKEN_SECONDS)}
        status, token = self._metadata.ask("/latest/api/token", "PUT", **header)
        if status != 200 or not token.isprintable() or not token:
            raise Nonsense(f"api/token: {status}")
        return token


class Gcp:
    """Google's: TRUE once the machine is preempted."""

    def __init__(self, url: str = "http://169.254.169.254") -> None:
        self._metadata = Metadata(url)

    def __call__(self, now: datetime) -> Notice | None:
        """The notice, if there is one. Raises `Nonsense`."""
        path = "/computeMetadata/v1/instance/preempted"
        status, text = self._metadata.ask(path, Metadata_Flavor="Google")
        if status != 200 or text.strip() not in ("TRUE", "FALSE"):
            raise Nonsense(f"preempted: {status}")
        if text.strip() == "FALSE":
            return None
        return Notice(expires=now + timedelta(seconds=GCP_SECONDS), source="gcp preempted")


class Leaving:
    """The notice of this machine, as its supervisor lives with it."""

    def __init__(self, folder: WorkFolder, log: logging.Logger) -> None:
        self._noticed = Noticed(folder)
        self._log = log
        self._until = float("inf")
        self.notice: Notice | None = None

    def news(self) -> bool:
        """Look for a notice; whether one has come since."""
        try:
            found = self._noticed()
        except InvalidRequest as exc:
            self._log.error("%s", exc)
            return False
        if found is None or self.notice is not None:
            return False
        left = (found.expires - datetime.fromtimestamp(time.time(), UTC)).total_seconds()
        self.notice, self._until = found, time.monotonic() + max(LEAST_SECONDS, left)
        self._log.warning("taken back at %s, says %s", found.expires, found.source or "a file")
        return True

    @property
    def over(self) -> bool:
        """Whether the time is up. What is not kept by then is lost."""
        return time.monotonic() > self._until


Source = Callable[[datetime], Notice | None]

SOURCES: Final[dict[str, Callable[..., Source]]] = {"aws": Aws, "gcp": Gcp}
FILE: Final = "file"


def source() -> Source | None:
    """Whom the environment says to ask; None when nobody is to be asked."""
    name = os.environ.get(NOTICES, "")
    if name in ("", FILE):
        return None
    if name not in SOURCES:
        raise SystemExit(f"{NOTICES} is {name!r}; it would be one of aws, gcp, {FILE}")
    url = os.environ.get(METADATA)
    return SOURCES[name](url.rstrip("/")) if url else SOURCES[name]()


def watch(ask: Source, folder: WorkFolder, log: logging.Logger) -> None:
    """Ask until there is a notice, and write it down. The first of several failures is told."""
    failing = False
    while True:
        try:
            notice = ask(datetime.fromtimestamp(time.time(), UTC))
        except Nonsense as exc:
            if not failing:
                log.warning("the metadata service gives no notice: %s", exc)
            failing = True
        else:
            failing = False
            if notice:
                folder.write_notice(notice)
                return
        time.sleep(POLL_SECONDS)
