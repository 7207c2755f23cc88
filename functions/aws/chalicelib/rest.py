"""REST routes. Each parses, calls one use case, and renders."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response

from chalicelib import answers
from chalicelib.answers import (
    answered,
    body,
    caller,
    dry_run,
    dumped,
    json_response,
    number,
    word,
)
from fedspan import __version__
from fedspan.access import Caller, CallerRole, allow_aggregator, allow_site
from fedspan.app import App
from fedspan.domain.jobs import Approving
from fedspan.domain.measurements import Measured, Question
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.reports import AggregatorReport, SiteReport
from fedspan.domain.sites import Site
from fedspan.domain.spec import JobSpec
from fedspan.edge import LONGEST_QUESTION, MOST_SHOWN
from fedspan.errors import InvalidRequest, NotFound
from fedspan.services import reading
from fedspan.services.approve import approve
from fedspan.services.billing import job_bill
from fedspan.services.cancel import cancel, delete, delete_model
from fedspan.services.measure import answer, ask, measurement
from fedspan.services.placements import SHOWN, score
from fedspan.services.report_aggregator import aggregator_manifest, report_aggregator
from fedspan.services.report_site import report_site, site_manifest
from fedspan.services.sites import delete_site, register_site
from fedspan.services.submit import submit
from fedspan.wiring import app

routes = Blueprint(__name__)
LONGEST_REPORT = 4 * 1024 * 1024


def person(at_least: CallerRole) -> App:
    """The app, for a person of this role or a higher one."""
    return answers.person(routes.current_request, at_least)


def machine(role: CallerRole) -> tuple[App, Caller]:
    """The app, and the machine of this role that calls. Nothing of its body was read yet."""
    made = app()
    known = caller(made, routes.current_request)
    if known.role is not role:
        raise NotFound("no such resource, or not for this token")
    return made, known


@routes.route("/v1/health", methods=["GET"])
@answered
def health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


@routes.route("/v1/jobs", methods=["POST"])
@answered
def post_job() -> Response:
    made, request = person(CallerRole.OPERATOR), routes.current_request
    spec = body(JobSpec, request)
    only = dry_run(request)
    job = submit(made, spec, key=request.headers.get("idempotency-key"), dry_run=only)
    return json_response(dumped(job), 200 if only else 202)


@routes.route("/v1/jobs", methods=["GET"])
@answered
def get_jobs() -> dict[str, Any]:
    made, request = person(CallerRole.VIEWER), routes.current_request
    limit = number(request, "limit", reading.LISTED, reading.MOST_LISTED)
    after = (request.query_params or {}).get("after", "")
    return reading.jobs(made, after=after, limit=limit)


@routes.route("/v1/jobs/{job_id}", methods=["GET"])
@answered
def get_job(job_id: str) -> dict[str, Any]:
    return dumped(person(CallerRole.VIEWER).jobs.get(job_id).value)


@routes.route("/v1/jobs/{job_id}", methods=["DELETE"])
@answered
def delete_job(job_id: str) -> dict[str, Any]:
    delete(person(CallerRole.OPERATOR), job_id)
    return {"deleted": job_id}


@routes.route("/v1/jobs/{job_id}/cancel", methods=["POST"])
@answered
def cancel_job(job_id: str) -> Response:
    return json_response(dumped(cancel(person(CallerRole.OPERATOR), job_id)), 202)


@routes.route("/v1/jobs/{job_id}/approval", methods=["POST"])
@answered
def approve_job(job_id: str) -> Response:
    made, request = person(CallerRole.OPERATOR), routes.current_request
    number, by = body(Approving, request).candidate, caller(made, request).role
    return json_response(dumped(approve(made, job_id, number, by)), 202)


@routes.route("/v1/placements", methods=["POST"])
@answered
def post_placement() -> dict[str, Any]:
    made, request = person(CallerRole.VIEWER), routes.current_request
    question = body(PlacementQuestion, request, LONGEST_QUESTION)
    limit = number(request, "limit", SHOWN, MOST_SHOWN)
    compare = word(request, "compare")
    return dumped(score(made, question, limit=limit, compare=compare))


@routes.route("/v1/jobs/{job_id}/rounds", methods=["GET"])
@answered
def get_rounds(job_id: str) -> dict[str, Any]:
    return reading.rounds(person(CallerRole.VIEWER), job_id)


@routes.route("/v1/jobs/{job_id}/events", methods=["GET"])
@answered
def get_events(job_id: str) -> dict[str, Any]:
    return reading.events(person(CallerRole.VIEWER), job_id)


@routes.route("/v1/jobs/{job_id}/bill", methods=["GET"])
@answered
def get_bill(job_id: str) -> dict[str, Any]:
    return dumped(job_bill(person(CallerRole.VIEWER), job_id))


@routes.route("/v1/models", methods=["GET"])
@answered
def get_models() -> dict[str, Any]:
    made = person(CallerRole.VIEWER)
    limit = number(routes.current_request, "limit", reading.LISTED, reading.MOST_LISTED)
    return reading.models(made, limit=limit)


@routes.route("/v1/models/{model_id}", methods=["GET"])
@answered
def get_model(model_id: str) -> dict[str, Any]:
    return dumped(person(CallerRole.VIEWER).models.get(model_id).value)


@routes.route("/v1/models/{model_id}", methods=["DELETE"])
@answered
def remove_model(model_id: str) -> dict[str, Any]:
    delete_model(person(CallerRole.OPERATOR), model_id)
    return {"deleted": model_id}


@routes.route("/v1/sites", methods=["GET"])
@answered
def get_sites() -> dict[str, Any]:
    made = person(CallerRole.VIEWER)
    return {"sites": [dumped(site) for site in made.sites.list()]}


@routes.route("/v1/sites/{name}", methods=["GET"])
@answered
def get_site(name: str) -> dict[str, Any]:
    made = person(CallerRole.VIEWER)
    site = made.sites.get(name).value
    return {**dumped(site), "machines": [dumped(agent) for agent in made.agents.list(name)]}


@routes.route("/v1/sites/{name}", methods=["PUT"])
@answered
def put_site(name: str) -> dict[str, Any]:
    made = person(CallerRole.OPERATOR)
    site = body(Site, routes.current_request)
    if site.name != name:
        raise InvalidRequest(f"name: the path says {name!r}, the body {site.name!r}")
    return dumped(register_site(made, site))


@routes.route("/v1/sites/{name}", methods=["DELETE"])
@answered
def remove_site(name: str) -> dict[str, Any]:
    delete_site(person(CallerRole.OPERATOR), name)
    return {"deleted": name}


@routes.route("/v1/sites/{name}/measurements", methods=["GET"])
@answered
def get_measurements(name: str) -> dict[str, Any]:
    return dumped(measurement(person(CallerRole.VIEWER), name))


@routes.route("/v1/sites/{name}/measurements", methods=["POST"])
@answered
def post_measurements(name: str) -> Response:
    made = person(CallerRole.OPERATOR)
    return json_response(dumped(ask(made, name, body(Question, routes.current_request))), 202)


@routes.route("/v1/sites/{name}/measurements", methods=["PUT"])
@answered
def put_measurements(name: str) -> dict[str, Any]:
    made = person(CallerRole.OPERATOR)
    return dumped(answer(made, name, body(Measured, routes.current_request)))


@routes.route("/v1/reports/aggregator", methods=["POST"])
@answered
def post_aggregator_report() -> dict[str, Any]:
    made, known = machine(CallerRole.AGGREGATOR)
    report = body(AggregatorReport, routes.current_request, LONGEST_REPORT)
    allow_aggregator(known, report.job, report.epoch)
    return dumped(report_aggregator(made, report))


@routes.route("/v1/reports/site", methods=["POST"])
@answered
def post_site_report() -> dict[str, Any]:
    made, known = machine(CallerRole.SITE)
    report = body(SiteReport, routes.current_request)
    allow_site(known, report.site)
    return dumped(report_site(made, report))


@routes.route("/v1/manifests/aggregator/{job_id}", methods=["GET"])
@answered
def get_aggregator_manifest(job_id: str) -> dict[str, Any]:
    made, known = machine(CallerRole.AGGREGATOR)
    epoch = known.epoch or 0
    allow_aggregator(known, job_id, epoch)
    return dumped(aggregator_manifest(made, job_id, epoch))


@routes.route("/v1/manifests/site/{name}/{machine_id}", methods=["GET"])
@answered
def get_site_manifest(name: str, machine_id: str) -> dict[str, Any]:
    made, known = machine(CallerRole.SITE)
    allow_site(known, name)
    return dumped(site_manifest(made, name, machine_id))
