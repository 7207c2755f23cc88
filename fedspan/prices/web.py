"""GET, bounded: in time, tries and bytes. Nothing secret is ever in a message."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from fedspan import __version__
from fedspan.errors import Denied, ProviderError, Throttled

Read = TypeVar("Read")

PASSING: Final = frozenset({429, 500, 502, 503, 504})
PASSING_FAULTS: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # it began and did not end
)
LONGEST_PAUSE: Final = 60.0
CHUNK_BYTES: Final = 1 << 18
PORTS: Final = {"http": 80, "https": 443}
DIGITS: Final = 20
"""No size has so many."""


@dataclass(frozen=True)
class Web:
    """`most_bytes` bounds a document, `most_stream_bytes` what is streamed, unpacked; `most_s`
    either of them, from the answer's first byte to its last."""

    tries: int = 5
    timeout_s: tuple[float, float] = (10.0, 60.0)
    most_s: float = 1800.0
    most_bytes: int = 1 << 26
    most_stream_bytes: int = 1 << 32
    pause: Callable[[float], None] = time.sleep
    session: requests.Session = field(default_factory=requests.Session)
    reached: set[str] = field(default_factory=set)
    """Hosts that answered. Another is not tried again when it cannot be: there is no network."""

    def close(self) -> None:
        self.session.close()

    def document(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON object at `url`; numbers with a point are exact (`Decimal`)."""

        def whole(answer: requests.Response) -> bytes:
            return b"".join(self._chunks(answer, self.most_bytes))

        body = self._tried(url, whole, params, headers)
        try:
            found = json.loads(body, parse_float=Decimal, parse_constant=Decimal)
        except (ValueError, ArithmeticError, RecursionError) as exc:
            raise ProviderError(f"{place(url)}: the answer is no whole JSON document") from exc
        if not isinstance(found, dict):
            raise ProviderError(f"{place(url)}: the answer is no JSON object")
        return found

    @contextlib.contextmanager
    def lines(self, url: str, told: Callable[[float], None]) -> Iterator[Iterator[str]]:
        """The text at `url` line by line, little of it in memory; `told` the share that has come.
        What breaks half-way is not tried again."""
        try:
            answer = self._tried(url, lambda answer: answer)
            yield _lines(self._chunks(answer, self.most_stream_bytes), _size(answer), told)
        except requests.RequestException as exc:
            raise ProviderError(f"{place(url)}: the answer broke off") from exc

    def _tried(
        self,
        url: str,
        read: Callable[[requests.Response], Read],
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Read:
        for attempt in range(1, self.tries + 1):
            last = attempt == self.tries
            try:
                answer = self._get(url, params, headers)
                self.reached.add(urlsplit(url).netloc)
                if answer.status_code in PASSING and not last:
                    answer.close()
                    self.pause(_asked(answer) or _backoff(attempt))
                    continue
                _check(url, answer, attempt)
                return read(answer)
            except requests.RequestException as exc:
                absent = _unreached(exc) and urlsplit(url).netloc not in self.reached
                if last or absent or not isinstance(exc, PASSING_FAULTS):
                    raise _unanswered(url, exc, attempt) from exc
                self.pause(_backoff(attempt))
        raise AssertionError("tries is at least 1")

    def _get(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None
    ) -> requests.Response:
        # A redirect would carry a key in a header on to another host.
        return self.session.get(
            url,
            params=params,
            headers={"User-Agent": f"fedspan/{__version__}", **(headers or {})},
            timeout=self.timeout_s,
            allow_redirects=False,
            stream=True,
        )

    def _chunks(self, answer: requests.Response, most: int) -> Iterator[bytes]:
        where, came, until = place(answer.url), 0, time.monotonic() + self.most_s
        with answer:
            for chunk in answer.iter_content(CHUNK_BYTES):
                came += len(chunk)
                if came > most:
                    raise ProviderError(f"{where}: the answer is longer than {most:,} bytes")
                if time.monotonic() > until:
                    raise ProviderError(f"{where}: the answer takes longer than {self.most_s:g} s")
                yield chunk


def place(url: str) -> str:
    """`url` without its password and query, which may carry what nobody should read."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def beside(base: str, link: str) -> str:
    """Where `link`, found in an answer of `base`, leads.

    Raises:
        ProviderError: to another host, or nowhere.
    """
    try:
        there = urljoin(base, link)
        same, host = _origin(there) == _origin(base), urlsplit(there).hostname
    except ValueError as exc:
        raise ProviderError(f"{place(base)}: a link in it is no URL") from exc
    if not same:
        raise ProviderError(f"{place(base)}: links to another host, {host}")
    return there


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)


def _check(url: str, answer: requests.Response, tries: int) -> None:
    status = answer.status_code
    if status == 200:
        return
    answer.close()
    said = f"{place(url)}: status {status}"
    match status:
        case 429:
            raise Throttled(f"{said} after {tries} tries; try again later")
        case 401 | 403:
            raise Denied(f"{said}: the credential is refused")
        case _ if status in PASSING:
            raise ProviderError(f"{said} after {tries} tries")
        case _:
            raise ProviderError(said)


def unreachable(exc: ProviderError) -> bool:
    """Whether nobody was there to answer: asking the same host for something else is no use."""
    return isinstance(exc.__cause__, requests.RequestException) and _unreached(exc.__cause__)


def _unreached(exc: requests.RequestException) -> bool:
    """No connection came about: no name, no route, nobody who listens, no proxy."""
    if isinstance(exc, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    return isinstance(reason, NewConnectionError)


def _unanswered(url: str, exc: requests.RequestException, tries: int) -> ProviderError:
    if _unreached(exc):
        return ProviderError(f"{place(url)}: cannot be reached ({_why(exc)}); no network?")
    return ProviderError(f"{place(url)}: no answer after {tries} tries ({type(exc).__name__})")


def _why(exc: requests.RequestException) -> str:
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    return type(reason or exc).__name__


def _backoff(attempt: int) -> float:
    return float(min(2 ** (attempt - 1), LONGEST_PAUSE))


def _asked(answer: requests.Response) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date, at most `LONGEST_PAUSE`."""
    said = answer.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return min(float(said), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(said)
        sent = parsedate_to_datetime(answer.headers["Date"])  # the server's clock, not ours
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    seconds = (_aware(until) - _aware(sent)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _size(answer: requests.Response) -> int:
    said = answer.headers.get("Content-Length", "")
    packed = answer.headers.get("Content-Encoding")
    return int(said) if said.isdecimal() and len(said) < DIGITS and not packed else 0


def _lines(chunks: Iterator[bytes], size: int, told: Callable[[float], None]) -> Iterator[str]:
    rest, came = b"", 0
    for chunk in chunks:
        came += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace") + "\n"
        told(min(came / size, 1.0) if size else 0.0)
    if rest:
        yield rest.decode("utf-8", "replace")
