"""The AWS side: REST for people and machines behind an authorizer, a Lambda for each task of the
state machine, one that places, and one schedule. No logic here: Chalice imports this module in
order to package it."""

from __future__ import annotations

from typing import Any

from chalice import Chalice, Rate
from chalice.app import AuthRequest, AuthResponse
from chalicelib.guard import REMEMBERED_SECONDS, admitted, guard
from chalicelib.placing import scored
from chalicelib.rest import routes
from chalicelib.rest_credentials import routes as credential_routes
from chalicelib.tasks import Event, task

from fedspan import logs
from fedspan.services import ending, keep, recover, steps, sweep, waits
from fedspan.wiring import app as wired

logs.to_stdout()
app = Chalice(app_name="fedspan")
app.register_blueprint(routes)
app.register_blueprint(credential_routes)


@app.lambda_function(name="check")
def check(event: Event, context: object) -> dict[str, Any]:
    return steps.check(*task(event))


@app.lambda_function(name="place")
def place(event: Event, context: object) -> dict[str, Any]:
    return steps.place(*task(event))


@app.lambda_function(name="launch")
def launch(event: Event, context: object) -> dict[str, Any]:
    return steps.launch(*task(event))


@app.lambda_function(name="await_approval")
def await_approval(event: Event, context: object) -> dict[str, Any]:
    return waits.await_approval(*task(event), event["token"])


@app.lambda_function(name="await_ready")
def await_ready(event: Event, context: object) -> dict[str, Any]:
    return waits.await_ready(*task(event), event["token"])


@app.lambda_function(name="link")
def link(event: Event, context: object) -> dict[str, Any]:
    return steps.link(*task(event))


@app.lambda_function(name="await_trained")
def await_trained(event: Event, context: object) -> dict[str, Any]:
    return waits.await_trained(*task(event), event["token"])


@app.lambda_function(name="await_rested")
def await_rested(event: Event, context: object) -> dict[str, Any]:
    return waits.await_rested(*task(event), event["token"])


@app.lambda_function(name="recover")
def recover_(event: Event, context: object) -> dict[str, Any]:
    return recover.recover(*task(event), event["epoch"], event["error"])


@app.lambda_function(name="select")
def select(event: Event, context: object) -> dict[str, Any]:
    return keep.select(*task(event))


@app.lambda_function(name="save")
def save(event: Event, context: object) -> dict[str, Any]:
    return keep.save(*task(event))


@app.lambda_function(name="give_up")
def give_up(event: Event, context: object) -> dict[str, Any]:
    return ending.give_up(*task(event), event["error"])


@app.lambda_function(name="notify")
def notify(event: Event, context: object) -> dict[str, Any]:
    return ending.notify(*task(event))


@app.lambda_function(name="tear_down")
def tear_down(event: Event, context: object) -> dict[str, Any]:
    return ending.tear_down(*task(event))


@app.lambda_function(name="finish")
def finish(event: Event, context: object) -> dict[str, Any]:
    return ending.finish(*task(event))


@app.lambda_function(name="score_placement")
def score_placement(event: Event, context: object) -> dict[str, Any]:
    return scored(wired(), event)


@app.schedule(Rate(1, unit=Rate.MINUTES), name="sweep")
def sweep_(event: object) -> dict[str, Any]:
    return sweep.sweep(wired())


@app.authorizer(name="authorize", ttl_seconds=REMEMBERED_SECONDS)
def authorize(request: AuthRequest) -> AuthResponse | dict[str, Any]:
    return admitted(wired(), request)


guard(app, authorize)  # last: it closes every route that is there by now
