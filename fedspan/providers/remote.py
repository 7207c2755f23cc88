"""Machines that another installation's Cloud Function `machines` runs for us.

A control plane on AWS drives machines on Google Cloud without holding a key of Google's: it calls a
function there, with an ID token, and the function's own service account does the rest. The token
opens one function, for an hour at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, TypeAdapter, ValidationError
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from fedspan import __version__
from fedspan.domain.cloud_functions import Launch, Machines, Offers
from fedspan.domain.machines import Machine, MachineSpec, Offer
from fedspan.domain.spec import Need
from fedspan.domain.values import Message
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    NotFound,
    ProviderError,
    Throttled,
    TooLarge,
    Unsupported,
    tree,
)
from fedspan.providers.base import Capabilities

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
HEADERS: Final = {"Content-Type": "application/json", "User-Agent": f"fedspan/{__version__}"}
CHUNK_BYTES: Final = 1 << 16
LONGEST_DETAIL: Final = 500
"""Characters of what the other side says of an error."""

PASSED_ON: Final = (ProviderError, InvalidRequest, NotFound, TooLarge, Unsupported)
"""What the four methods may raise there, and so here. Any other word is not believed."""

STATUSES: Final[dict[int, tuple[type[ProviderError], str]]] = {
    401: (CredentialRejected, "Google does not know the ID token; is its audience this URL?"),
    403: (Denied, "the caller needs roles/run.invoker on the function"),
    404: (ProviderError, "no such function; does the URL name `machines`?"),
    429: (Throttled, "no instance of the function is free"),
}
"""Answers of whoever stands before the function (IAM, the front end), which speak HTML."""

A = TypeVar("A", bound=BaseModel)


class Problem(Message):
    """As `fedspan.edge.problem_document` makes it."""

    type: str
    detail: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    kind: str
    body: bytes


class Bearer(AuthBase):
    """A header alone would lose against what ``~/.netrc`` says of the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True)
class RemoteProvider:
    """The provider `name` behind `url`; both sides call it so. `token` gives an ID token for the
    URL, each time it is asked. `most_s` bounds an answer from its first byte to its last.

    Raises:
        InvalidRequest: the token would travel in plain text, or the URL has more than a path.
    """

    name: str
    url: str
    token: Callable[[], str] = field(repr=False)
    allow_loopback: bool = False
    timeout_s: tuple[float, float] = (5.0, 25.0)
    most_s: float = 25.0
    most_bytes: int = 1 << 24
    _session: requests.Session = field(
        default_factory=requests.Session, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        at_home = self.allow_loopback and parts.hostname in LOOPBACK
        if parts.scheme != "https" and not (parts.scheme == "http" and at_home):
            raise InvalidRequest("remote_url: is no https URL, so a token would go in plain text")
        if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidRequest("remote_url: has only a host and a path, as in https://host/path")

    @property
    def capabilities(self) -> Capabilities:
        """Asked until it was answered once. Before that it may be anything: who then asks for
        offers hears what is wrong."""
        try:
            return self._capabilities
        except FedspanError:
            return Capabilities()

    def offers(self, need: Need) -> Sequence[Offer]:
        answer = self._call("POST", "offers", Offers, need)
        self._ours(answer.offers)
        return answer.offers

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        made = self._call("POST", "launch", Machine, Launch(job=job, spec=spec))
        self._ours([made.offer])
        if (made.job, made.key) != (job, spec.key):
            raise ProviderError(f"{self._place}: launched {made.key}, asked for {spec.key}")
        return made

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        asked = {} if job is None else {"job": job}
        answer = self._call("GET", "machines", Machines, query=asked)
        self._ours(one.offer for one in answer.machines)
        return answer.machines

    def terminate(self, machine: Machine) -> None:
        self._call("POST", "terminate", Message, machine)

    def close(self) -> None:
        self._session.close()

    @cached_property
    def _capabilities(self) -> Capabilities:
        body = self._answer("GET", "capabilities")
        try:
            said = TypeAdapter(Capabilities).validate_json(body)
        except ValidationError as exc:
            raise self._nonsense(exc) from None
        return replace(said, here=False)

    @property
    def _place(self) -> str:
        return f"{self.name} through {urlsplit(self.url).hostname}"

    def _ours(self, offers: Iterable[Offer]) -> None:
        for offer in offers:
            if offer.provider != self.name:
                raise ProviderError(f"{self._place}: answers for provider {offer.provider}")

    def _call(
        self,
        method: str,
        path: str,
        model: type[A],
        body: BaseModel | None = None,
        query: dict[str, str] | None = None,
    ) -> A:
        answer = self._answer(method, path, body, query)
        try:
            return model.model_validate_json(answer)
        except ValidationError as exc:
            raise self._nonsense(exc) from None  # its cause would show what was answered

    def _nonsense(self, exc: ValidationError) -> ProviderError:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        return ProviderError(
            f"{self._place}: {where}: {first['msg']}; are both sides of one version?"
        )

    def _answer(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        query: dict[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer."""
        token = Bearer(self.token())
        try:
            answer = self._exchanged(method, path, body, query, token)
        except (requests.RequestException, HTTPError) as exc:
            # Not chained: a request's own text may repeat what was sent.
            raise CloudUnavailable(f"{self._place}: no answer ({type(exc).__name__})") from None
        if answer.status != 200:
            raise self._refusal(answer)
        return answer.body

    def _exchanged(
        self,
        method: str,
        path: str,
        body: BaseModel | None,
        query: dict[str, str] | None,
        token: AuthBase,
    ) -> _Answer:
        with self._session.request(
            method,
            f"{self.url.rstrip('/')}/{path}",
            params=query,
            data=None if body is None else body.model_dump_json().encode(),
            headers=HEADERS,
            auth=token,
            timeout=self.timeout_s,
            allow_redirects=False,  # the token stays with whom it is for
            stream=True,
        ) as answer:
            kind = answer.headers.get("Content-Type", "")
            return _Answer(answer.status_code, kind, self._read(answer))

    def _read(self, answer: requests.Response) -> bytes:
        read, until = bytearray(), time.monotonic() + self.most_s
        # `iter_content` would wait until a chunk is full, however slowly that trickles in.
        while chunk := answer.raw.read1(CHUNK_BYTES, decode_content=True):
            read += chunk
            if len(read) > self.most_bytes:
                raise ProviderError(f"{self._place}: answers over {self.most_bytes:,} bytes")
            if time.monotonic() > until:
                raise CloudUnavailable(f"{self._place}: answers for over {self.most_s:g} s")
        return bytes(read)

    def _refusal(self, answer: _Answer) -> FedspanError:
        status = answer.status
        if answer.kind.startswith("application/problem+json"):
            return self._told(status, answer.body)
        if status in STATUSES:
            kind, hint = STATUSES[status]
            return kind(f"{self._place}: status {status}: {hint}")
        kind = CloudUnavailable if status >= 500 else ProviderError
        return kind(f"{self._place}: status {status}")

    def _told(self, status: int, body: bytes) -> FedspanError:
        """The error of the other side as our own."""
        try:
            problem = Problem.model_validate_json(body)
        except ValidationError:
            return ProviderError(f"{self._place}: status {status}, and no more")
        said = problem.detail[:LONGEST_DETAIL]
        kind = tree().get(problem.type)
        if kind is None or not issubclass(kind, PASSED_ON):
            return ProviderError(f"{self._place}: {problem.type[:80]}: {said}")
        if issubclass(kind, InvalidRequest):
            return kind(*(problem.problems or (said,)))
        return kind(said)
