"""The Google Cloud side: five HTTP functions, one target a process. No logic here.

=================== =================================================== =========================
entry point         what it answers                                     what its account needs
=================== =================================================== =========================
`score_placement`   where an aggregator would go                        nothing
`check_credential`  who a credential is and what it may do              nothing
`machines`          the four methods of a provider, for the provider    Compute Engine, as
                    `remote` of a control plane elsewhere               ``credential policy gcp``
`metadata`          jobs, rounds, events, bills and models on           Firestore, to read
                    Firestore, to read
`sweep`             what nobody wants is removed; by Cloud Scheduler    both, to write
=================== =================================================== =========================

Deploy each with ``--no-allow-unauthenticated``: Google's front end checks the caller's ID token
(signature and audience), and that the caller has ``roles/run.invoker`` on this very function,
before anything here runs. Nothing here looks at the token again: the front end removes its
signature (https://cloud.google.com/run/docs/troubleshooting#signature-removed), so its claims prove
nothing any more, and what anybody could write is no second lock. Each function is deployed by
itself, with an account and a list of callers of its own, so that no right opens more than one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel
from pydantic_core import to_json

from fedspan import logs
from fedspan.domain.cloud_functions import Launch, Machines, Offers, Proof
from fedspan.domain.machines import Machine
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.spec import MAX_SPEC_BYTES, Need
from fedspan.edge import (
    JSON,
    LONGEST_QUESTION,
    MOST_SHOWN,
    PROBLEM,
    a_word,
    json_body,
    problem_document,
    told,
    whole_number,
)
from fedspan.errors import NotFound
from fedspan.providers.base import Provider
from fedspan.services import reading
from fedspan.services.billing import job_bill
from fedspan.services.placements import SHOWN, score
from fedspan.services.sweep import clear
from fedspan.wiring import app_on_gcp

if TYPE_CHECKING:
    from flask import Request

Answer = tuple[str, int, dict[str, str]]
Entry = Callable[["Request"], Answer]

LONGEST_BODY: Final = MAX_SPEC_BYTES

logs.to_stdout()


def answered(*methods: str) -> Callable[[Callable[[Request], object]], Entry]:
    """What the view returns as JSON, an error of our tree as a problem document; only `methods`
    are answered."""

    def decorate(view: Callable[[Request], object]) -> Entry:
        @functools.wraps(view)
        def answer(request: Request) -> Answer:
            if request.method not in methods:
                return _not_allowed(request.method, methods)
            try:
                return _rendered(view(request)), 200, JSON
            except Exception as exc:
                error = told(exc, by=view.__name__)
                return json.dumps(problem_document(error)), error.http, PROBLEM

        return answer

    return decorate


def _rendered(made: object) -> str:
    return made.model_dump_json() if isinstance(made, BaseModel) else to_json(made).decode()


def _not_allowed(method: str, methods: tuple[str, ...]) -> Answer:
    """On AWS the API Gateway says this; it is no error of our tree."""
    allowed = ", ".join(methods)
    document = {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": f"{method} is not answered here; {allowed} is",
    }
    return json.dumps(document), 405, {**PROBLEM, "Allow": allowed}


@answered("POST")
def score_placement(request: Request) -> object:
    """A `PlacementQuestion`; `limit` and `compare` in the query, as ``POST /v1/placements`` takes
    them."""
    question = json_body(PlacementQuestion, request.get_data(), LONGEST_QUESTION)
    limit = whole_number("limit", request.args.get("limit"), SHOWN, MOST_SHOWN)
    compare = a_word("compare", request.args.get("compare"))
    return score(app_on_gcp(), question, limit=limit, compare=compare)


@answered("POST")
def check_credential(request: Request) -> object:
    """``{"secret": {...}}``, or a whole `Registration`: what real calls prove of it, as an
    `Examination`. Nothing is kept."""
    asked = json_body(Proof, request.get_data(), LONGEST_BODY)
    return app_on_gcp().clouds.examine(asked.secret)


def machines(request: Request) -> Answer:
    """The machines on Google Cloud, as `fedspan.providers.remote` asks for them. It needs a
    FEDSPAN_OWNER that is not that of `sweep`, to which jobs of another store are unknown."""
    return MACHINES.get(request.path.strip("/"), nowhere)(request)


def _provider() -> Provider:
    return app_on_gcp().providers["gcp"]


@answered("GET")
def _capabilities(request: Request) -> object:
    return _provider().capabilities


@answered("POST")
def _offers(request: Request) -> object:
    need = json_body(Need, request.get_data(), LONGEST_BODY)
    return Offers(offers=tuple(_provider().offers(need)))


@answered("POST")
def _launch(request: Request) -> object:
    asked = json_body(Launch, request.get_data(), LONGEST_BODY)
    return _provider().launch(asked.job, asked.spec)


@answered("GET")
def _machines(request: Request) -> object:
    """Of ``?job=``, or of all."""
    job = a_word("job", request.args.get("job"))
    return Machines(machines=tuple(_provider().machines(job)))


@answered("POST")
def _terminate(request: Request) -> object:
    _provider().terminate(json_body(Machine, request.get_data(), LONGEST_BODY))
    return {}


@answered("GET", "POST")
def nowhere(request: Request) -> object:
    raise NotFound(f"no such resource; here are: {', '.join(f'/{path}' for path in MACHINES)}")


MACHINES: Final[dict[str, Entry]] = {
    "capabilities": _capabilities,
    "offers": _offers,
    "launch": _launch,
    "machines": _machines,
    "terminate": _terminate,
}


@answered("GET")
def metadata(request: Request) -> object:
    """``/jobs``, ``/jobs/ID``, its ``/rounds``, ``/events`` and ``/bill``, ``/models``,
    ``/models/ID``: what ``/v1/...`` answers on AWS. To read only: a control plane writes to its
    store itself."""
    made, limit = app_on_gcp(), request.args.get("limit")
    most = whole_number("limit", limit, reading.LISTED, reading.MOST_LISTED)
    match request.path.strip("/").split("/"):
        case ["jobs"]:
            return reading.jobs(made, after=request.args.get("after", ""), limit=most)
        case ["jobs", id]:
            return made.jobs.get(id).value
        case ["jobs", id, "rounds"]:
            return reading.rounds(made, id)
        case ["jobs", id, "events"]:
            return reading.events(made, id)
        case ["jobs", id, "bill"]:
            return job_bill(made, id)
        case ["models"]:
            return reading.models(made, limit=most)
        case ["models", id]:
            return made.models.get(id).value
    raise NotFound("no such resource; here are /jobs and /models")


@answered("POST")
def sweep(request: Request) -> object:
    """Machines of its FEDSPAN_OWNER whose job this Firestore does not know are machines that nobody
    wants: those of a control plane with a store elsewhere need another owner."""
    return clear(app_on_gcp())
