"""The REST API as Python calls: values in, values out, problem documents as our errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ValidationError

from fedspan.domain.bills import Bill
from fedspan.domain.credentials import Credential, Policy, Registration, revealed
from fedspan.domain.events import Event
from fedspan.domain.jobs import Job
from fedspan.domain.measurements import Measured, Measurement, Plan
from fedspan.domain.models import Card
from fedspan.domain.placements import PlacementAnswer
from fedspan.domain.rounds import Round
from fedspan.domain.sites import Agent, Site
from fedspan.errors import FedspanError, InvalidRequest, NotFound, NotRunning, TooLarge, tree
from fedspan.local.home import Home
from fedspan.local.tokens import admin_token

M = TypeVar("M", bound=BaseModel)

PAUSES: Final = (0.1, 0.3, 1.0)
"""Between tries, in seconds: a control plane that was just started needs a moment."""
TIMEOUT: Final = (5.0, 60.0)
PAGE: Final = 500
BUSY: Final = 503
STATUSES: Final[Mapping[int, type[FedspanError]]] = {403: NotFound, 404: NotFound, 413: TooLarge}
"""What the gateway itself says, where no problem document of ours comes."""


class Transport(Protocol):
    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""


class _NoAnswer(Exception):
    """Nobody answers, though the home is held."""


class Wire:
    """HTTP to the control plane that runs on `home`. A `with` closes its connections."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor .netrc stands between
        self._session.headers["Authorization"] = f"Bearer {admin_token(home)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Tried again while nobody answers, except where a repeat would mean something else.

        Raises:
            NotRunning: there is no control plane, or it does not answer.
        """
        for pause in () if method == "DELETE" else PAUSES:
            try:
                status, answer = self._sent(method, path, headers, body)
                if status != BUSY:
                    return status, answer
            except _NoAnswer:
                pass
            time.sleep(pause)
        try:
            return self._sent(method, path, headers, body)
        except _NoAnswer as exc:
            raise NotRunning(str(exc)) from exc

    def _sent(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        control = self._home.running()
        if control is None:
            raise not_running(self._home)
        try:
            answer = self._session.request(
                method, control.url + path, data=body, headers=dict(headers), timeout=TIMEOUT
            )
        except requests.RequestException as exc:
            raise _NoAnswer(
                f"the control plane on {self._home.path} (process {control.pid}) does not answer "
                f"at {control.url}"
            ) from exc
        return answer.status_code, answer.content


def not_running(home: Home) -> NotRunning:
    return NotRunning(f"no control plane runs on {home.path}; start one with `fedspan up`")


class Api:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def health(self) -> dict[str, Any]:
        return self._call("GET", "/v1/health")

    def submit(self, spec: Mapping[str, Any], key: str, *, dry_run: bool = False) -> Job:
        """However often it is called with one `key`, there is one job."""
        path = "/v1/jobs?dry_run=true" if dry_run else "/v1/jobs"
        return _value(Job, self._call("POST", path, spec, {"idempotency-key": key}))

    def jobs(self, limit: int = 50, after: str = "") -> list[Job]:
        """The newest jobs first; only those older than the id `after`, if it is given."""
        found = self._call("GET", f"/v1/jobs?limit={limit}&after={quote(after, safe='')}")["jobs"]
        return [_value(Job, one) for one in found]

    def every_job(self) -> Iterator[Job]:
        page = self.jobs(limit=PAGE)
        while page:
            yield from page
            page = self.jobs(limit=PAGE, after=page[-1].id) if len(page) == PAGE else []

    def job(self, id: str) -> Job:
        return _value(Job, self._call("GET", f"/v1/jobs/{_part('job', id)}"))

    def rounds(self, job: str) -> list[Round]:
        found = self._call("GET", f"/v1/jobs/{_part('job', job)}/rounds")["rounds"]
        return [_value(Round, one) for one in found]

    def events(self, job: str) -> list[Event]:
        found = self._call("GET", f"/v1/jobs/{_part('job', job)}/events")["events"]
        return [_value(Event, one) for one in found]

    def bill(self, job: str) -> Bill:
        return _value(Bill, self._call("GET", f"/v1/jobs/{_part('job', job)}/bill"))

    def cancel(self, job: str) -> Job:
        return _value(Job, self._call("POST", f"/v1/jobs/{_part('job', job)}/cancel"))

    def approve(self, job: str, candidate: int) -> Job:
        """Let a waiting job go on at `candidate` of its list, counted from 1."""
        path = f"/v1/jobs/{_part('job', job)}/approval"
        return _value(Job, self._call("POST", path, {"candidate": candidate}))

    def placements(
        self, question: Mapping[str, Any], limit: int, compare: str | None = None
    ) -> PlacementAnswer:
        compared = f"&compare={quote(compare, safe='')}" if compare is not None else ""
        path = f"/v1/placements?limit={limit}{compared}"
        return _value(PlacementAnswer, self._call("POST", path, question))

    def delete_job(self, id: str) -> None:
        self._call("DELETE", f"/v1/jobs/{_part('job', id)}")

    def models(self, limit: int = 50) -> list[Card]:
        found = self._call("GET", f"/v1/models?limit={limit}")["models"]
        return [_value(Card, one) for one in found]

    def model(self, id: str) -> Card:
        return _value(Card, self._call("GET", f"/v1/models/{_part('model', id)}"))

    def delete_model(self, id: str) -> None:
        self._call("DELETE", f"/v1/models/{_part('model', id)}")

    def sites(self) -> list[Site]:
        return [_value(Site, one) for one in self._call("GET", "/v1/sites")["sites"]]

    def site(self, name: str) -> tuple[Site, list[Agent]]:
        found = self._call("GET", f"/v1/sites/{_part('site', name)}")
        machines = found.pop("machines")
        return _value(Site, found), [_value(Agent, one) for one in machines]

    def put_site(self, site: Site) -> Site:
        path = f"/v1/sites/{_part('site', site.name)}"
        return _value(Site, self._call("PUT", path, site.model_dump(mode="json")))

    def delete_site(self, name: str) -> None:
        self._call("DELETE", f"/v1/sites/{_part('site', name)}")

    def measure(self, site: str, regions: Sequence[str], nearest: int) -> Plan:
        """Ask for `regions`, or the `nearest` when none is named. A repeat asks once."""
        document = {"regions": list(regions), "nearest": nearest}
        return _value(Plan, self._call("POST", _measurements(site), document))

    def measurement(self, site: str) -> Measurement:
        return _value(Measurement, self._call("GET", _measurements(site)))

    def put_measured(self, site: str, told: Measured) -> Measurement:
        document = told.model_dump(mode="json")
        return _value(Measurement, self._call("PUT", _measurements(site), document))

    def credentials(self) -> list[Credential]:
        found = self._call("GET", "/v1/credentials")["credentials"]
        return [_value(Credential, one) for one in found]

    def credential(self, name: str) -> Credential:
        return _value(Credential, self._call("GET", _credential(name)))

    def register(self, told: Registration, *, dry_run: bool) -> Credential:
        path = "/v1/credentials" + ("?dry_run=true" if dry_run else "")
        return _value(Credential, self._call("POST", path, json.loads(revealed(told))))

    def rotate(self, told: Registration, *, dry_run: bool, force: bool) -> Credential:
        flags = [f"{one}=true" for one, on in (("dry_run", dry_run), ("force", force)) if on]
        path = _credential(told.name) + ("?" + "&".join(flags) if flags else "")
        return _value(Credential, self._call("PUT", path, json.loads(revealed(told))))

    def check_credential(self, name: str) -> Credential:
        """Ask its cloud again."""
        return _value(Credential, self._call("POST", f"{_credential(name)}/check"))

    def delete_credential(self, name: str, *, force: bool) -> str:
        """What may be left on its cloud, where it was forced; else nothing."""
        found = self._call("DELETE", _credential(name) + ("?force=true" if force else ""))
        return str(found.get("left", ""))

    def policy(self, cloud: str) -> Policy:
        return self._call("GET", f"/v1/policies/{_part('policy', cloud)}")

    def _call(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        body = json.dumps(document).encode() if document is not None else b""
        sent = {"content-type": "application/json", **(headers or {})}
        status, answer = self._transport.send(method, path, sent, body)
        try:
            found = json.loads(answer)
        except ValueError:
            found = {"message": f"{method} {path} was answered with status {status}"}
        if status >= 400:
            raise error_of(status, found)
        return dict(found)


def error_of(status: int, problem: Mapping[str, Any]) -> FedspanError:
    """The error a problem document tells of."""
    name = str(problem.get("type", ""))
    message = str(problem.get("detail") or problem.get("message") or f"status {status}")
    kind = tree().get(name) or STATUSES.get(status, FedspanError)
    if issubclass(kind, InvalidRequest):
        return kind(*map(str, problem.get("problems") or [message]))
    return kind(message)


def _credential(name: str) -> str:
    return f"/v1/credentials/{_part('credential', name)}"


def _measurements(site: str) -> str:
    return f"/v1/sites/{_part('site', site)}/measurements"


def _part(noun: str, id: str) -> str:
    """One part of a path. An empty one would name the collection."""
    if not id:
        raise NotFound(f"no {noun} ''")
    return quote(id, safe="")


def _value(model: type[M], data: Mapping[str, Any]) -> M:
    """Keys that a newer control plane adds are passed over."""
    try:
        return model.model_validate({k: v for k, v in data.items() if k in model.model_fields})
    except ValidationError as exc:
        raise FedspanError(
            f"the control plane sent a {model.__name__.lower()} this version cannot read: {exc}"
        ) from exc
