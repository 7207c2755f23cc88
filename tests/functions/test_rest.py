"""The REST routes, through the local gateway as through API Gateway, on memory parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from fedspan.access import Caller, CallerRole
from fedspan.domain.parsing import parsed
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.reports import Phase
from fedspan.errors import FedspanError, InvalidRequest, tree
from fedspan.local import functions
from fedspan.local.gateway import Gateway
from fedspan.services import steps, waits
from fedspan.services.placements import score
from fedspan.services.submit import submit
from tests.support.world import (
    World,
    aggregator_says,
    serving,
    site_says,
    spec,
    spec_document,
    with_sites,
    world,
)


@dataclass
class Api:
    """Real HTTP on loopback, as `who`."""

    world: World
    url: str

    def call(
        self, method: str, path: str, body: Any = None, who: Caller | None = None, **headers: str
    ) -> requests.Response:
        if who is not None:
            token = self.world.app.tokens.issue(who, NOW(), timedelta(hours=1))
            headers["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        headers.setdefault("Content-Type", "application/json")
        return requests.request(method, self.url + path, data=data, headers=headers, timeout=30)


def NOW() -> Any:
    from fedspan import wiring

    return wiring.now()


ADMIN = Caller(role=CallerRole.ADMIN)
VIEWER = Caller(role=CallerRole.VIEWER)
OPERATOR = Caller(role=CallerRole.OPERATOR)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = world(tmp_path)
    with_sites(made.app)
    gateway = Gateway(functions.chalice_app(), 0)
    gateway.start()
    with serving(made.app):
        yield Api(made, f"http://127.0.0.1:{gateway.port}")
    gateway.stop()


def test_health_needs_no_token(api: Api) -> None:
    assert api.call("GET", "/v1/health").json()["status"] == "ok"


def test_a_job_is_submitted_listed_shown_cancelled(api: Api) -> None:
    made = api.call("POST", "/v1/jobs", spec_document(), ADMIN)
    job = made.json()["id"]

    assert made.status_code == 202
    assert [j["id"] for j in api.call("GET", "/v1/jobs", who=VIEWER).json()["jobs"]] == [job]
    assert api.call("GET", f"/v1/jobs/{job}", who=VIEWER).json()["state"] == "submitted"
    assert api.call("GET", f"/v1/jobs/{job}/rounds", who=VIEWER).json() == {"rounds": []}
    events = api.call("GET", f"/v1/jobs/{job}/events", who=VIEWER).json()["events"]
    assert [event["code"] for event in events] == ["JobSubmitted"]
    assert api.call("POST", f"/v1/jobs/{job}/cancel", who=OPERATOR).status_code == 202
    refused = api.call("DELETE", f"/v1/jobs/{job}", who=OPERATOR)
    assert (refused.status_code, refused.json()["type"]) == (409, "Conflict")


@pytest.mark.parametrize("purchase", ["spot", "on_demand", "any", "deadline"])
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_deadline_that_cannot_be_met_is_refused_with_the_nearest(
    api: Api, purchase: str, query: str
) -> None:
    with_sites(api.world.app, compute_s=60.0)
    wanted = {"rounds": 100, "aggregator": {"purchase": purchase}}

    def asked(deadline: str) -> requests.Response:
        document = spec_document(**wanted, limits={"deadline": deadline})
        return api.call("POST", "/v1/jobs" + query, document, OPERATOR)

    refused = asked("1h")
    said = re.search(r"limits\.deadline.* ([\d.]+h)\.?$", refused.json()["detail"])

    assert (refused.status_code, refused.json()["type"]) == (400, "InvalidRequest")
    assert refused.json()["detail"].startswith("limits.deadline: ")
    assert api.call("GET", "/v1/jobs", who=VIEWER).json()["jobs"] == []
    assert said is not None
    assert asked(said[1]).ok


def test_a_viewer_reads_a_bill(api: Api) -> None:
    app = api.world.app
    job = submit(app, spec()).id
    for step in (steps.check, steps.place, steps.launch):
        step(app, job)
    api.world.clock.tick(3600)
    answer = api.call("GET", f"/v1/jobs/{job}/bill", who=VIEWER).json()
    nobody = api.call("GET", "/v1/jobs/none/bill", who=VIEWER)

    assert (answer["job"], answer["settled"], answer["incarnations"]) == (job, False, 1)
    assert answer["total"] == answer["clouds"]["local"]["machine"] == 100_000
    assert answer["overhead"]["machine"] == 100_000
    assert (nobody.status_code, nobody.json()["type"]) == (404, "NotFound")


def waiting(api: Api) -> str:
    """A job that waits for a person."""
    app = api.world.app
    job = submit(app, spec(aggregator={"approve": True})).id
    for step in (steps.check, steps.place):
        step(app, job)
    waits.await_approval(app, job, "token")
    return job


def test_an_operator_approves_a_place_and_a_viewer_does_not(api: Api) -> None:
    job = waiting(api)
    path = f"/v1/jobs/{job}/approval"
    assert api.call("POST", path, {"candidate": 2}, VIEWER).status_code == 404
    answer = api.call("POST", path, {"candidate": 2}, OPERATOR)
    again = api.call("POST", path, {"candidate": 2}, ADMIN)
    other = api.call("POST", path, {"candidate": 1}, OPERATOR)

    assert answer.status_code == again.status_code == 202
    assert answer.json() == again.json()
    placement = answer.json()["placement"]
    assert placement["chosen"] == 1
    assert (placement["approval"]["candidate"], placement["approval"]["by"]) == (2, "operator")
    assert (other.status_code, other.json()["type"]) == (409, "Conflict")
    assert api.world.app.executions.told == [  # type: ignore[attr-defined]
        ("token", "succeeded"),
        ("token", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"candidate": 0}, "candidate: input should be greater than 0, got 0"),
        ({"candidate": 3}, "candidate: job .* has 2 of them, got 3"),
        ({"candidate": "x"}, "candidate: input should be a valid integer"),
        ({"candidat": 1}, "candidat: unknown key; did you mean 'candidate'"),
    ],
)
def test_a_candidate_that_cannot_be_is_named(api: Api, body: Any, said: str) -> None:
    answer = api.call("POST", f"/v1/jobs/{waiting(api)}/approval", body, OPERATOR)

    assert answer.status_code == 400
    assert re.match(said, answer.json()["detail"])


def test_a_job_that_does_not_wait_is_not_approved(api: Api) -> None:
    job = submit(api.world.app, spec()).id
    answer = api.call("POST", f"/v1/jobs/{job}/approval", {"candidate": 1}, OPERATOR)

    assert answer.status_code == 409
    assert "is submitted; it does not wait for approval" in answer.json()["detail"]
    unknown = api.call("POST", "/v1/jobs/unknown/approval", {"candidate": 1}, OPERATOR)
    assert unknown.status_code == 404


def test_a_list_of_jobs_is_without_their_candidates(api: Api) -> None:
    job = waiting(api)

    assert api.call("GET", f"/v1/jobs/{job}", who=VIEWER).json()["placement"]["answer"]
    [listed] = api.call("GET", "/v1/jobs", who=VIEWER).json()["jobs"]
    assert "placement" not in listed


QUESTION = {
    "rounds": 3,
    "participants": [
        "seoul",
        {"name": "paris", "latitude": 48.86, "longitude": 2.35, "country": "FR"},
    ],
    "placement": {"model_bytes": 1_000_000},
}


def test_a_viewer_asks_where_an_aggregator_would_go(api: Api) -> None:
    with_sites(api.world.app, "seoul", latitude=37.57, longitude=126.98)
    path = "/v1/placements?limit=40&compare=eu-west-1"
    answer = api.call("POST", path, QUESTION, VIEWER)

    expected = score(
        api.world.app, parsed(PlacementQuestion, QUESTION), limit=40, compare="eu-west-1"
    )
    assert answer.status_code == 200
    assert answer.json() == expected.model_dump(mode="json")
    assert len(answer.json()["candidates"]) >= 40
    assert set(range(40, len(answer.json()["candidates"]))) <= set(answer.json()["front"])
    assert api.world.app.jobs.list() == []


def test_a_question_that_nothing_answers_is_answered_with_the_conflict(api: Api) -> None:
    with_sites(api.world.app, "seoul", latitude=37.57, longitude=126.98)
    impossible = {**QUESTION, "limits": {"max_rtt_ms": 0.001}}
    answer = api.call("POST", "/v1/placements", impossible, VIEWER)

    assert answer.status_code == 200
    assert answer.json()["candidates"] == []
    assert [one["constraint"] for one in answer.json()["conflict"]]


@pytest.mark.parametrize(
    ("query", "changes", "said"),
    [
        ("?limit=101", {}, "limit: a whole number from 1 to 100"),
        ("?compare=eu-wset-1", {}, "did you mean .*eu-west-1"),
        ("?compare=", {}, "compare: is empty; give it a value, or leave it out"),
        ("", {"participants": ["sol"]}, "no site 'sol' is registered"),
        ("", {"rounds": 0}, "rounds: input should be greater than 0"),
    ],
)
def test_a_question_that_cannot_be_right_is_refused(
    api: Api, query: str, changes: dict[str, Any], said: str
) -> None:
    with_sites(api.world.app, "seoul", latitude=37.57, longitude=126.98)
    answer = api.call("POST", f"/v1/placements{query}", {**QUESTION, **changes}, VIEWER)

    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidRequest")
    assert re.search(said, answer.json()["detail"])


def test_an_answer_is_short_however_much_of_the_question_is_wrong(api: Api) -> None:
    lost = [{"name": f"site-{n:04}", "cloud": "aws:moon-base-1"} for n in range(1000)]
    answer = api.call("POST", "/v1/placements", {**QUESTION, "participants": lost}, VIEWER)

    assert answer.status_code == 400
    problems = answer.json()["problems"]
    assert "site-0000 sits in no known region 'aws:moon-base-1'" in problems[0]
    assert (len(problems), problems[-1]) == (21, "and 980 more")
    assert len(answer.content) < 10_000


def test_a_retried_post_with_its_key_makes_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = api.call("POST", "/v1/jobs", spec_document(), ADMIN, **headers).json()
    second = api.call("POST", "/v1/jobs", spec_document(), ADMIN, **headers).json()

    assert first["id"] == second["id"]


def test_a_bad_spec_is_answered_with_each_fault_and_creates_nothing(api: Api) -> None:
    bad = spec_document(rounds=0, selection={"metric": "f2"}, roundz=3)
    answer = api.call("POST", "/v1/jobs", bad, ADMIN)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "InvalidRequest"
    assert len(answer.json()["problems"]) == 3
    assert api.world.app.jobs.list() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"{" + b" " * (5 * 1024 * 1024), 413),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
    ],
    ids=["no-json", "no-object", "five-megabytes", "no-text", "a-deep-hole"],
)
def test_a_body_that_is_no_spec_is_refused(api: Api, body: bytes, status: int) -> None:
    assert api.call("POST", "/v1/jobs", body, ADMIN).status_code == status


@pytest.mark.parametrize("length", [str(11 * 1024 * 1024), "9" * 5000, "²", "-1", "ten"])
def test_a_body_beyond_the_gateways_limit_is_not_read(api: Api, length: str) -> None:
    answer = api.call("GET", "/v1/health", **{"Content-Length": length})

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1/models", "/v1/sites", "/v1/jobs/x", "/v1/jobs/x/rounds", "/v1/jobs/x/bill"],
)
def test_without_a_token_nothing_opens(api: Api, path: str) -> None:
    assert api.call("GET", path).status_code == 401


TAKING_A_BODY = (
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/j/approval"),
    ("POST", "/v1/placements"),
    ("PUT", "/v1/sites/seoul"),
    ("POST", "/v1/reports/aggregator"),
    ("POST", "/v1/reports/site"),
)


@pytest.mark.parametrize(("method", "path"), TAKING_A_BODY)
@pytest.mark.parametrize("token", ["", "Bearer e30.e30.x", "Bearer ²", "Basic eA=="])
def test_the_body_of_a_stranger_is_not_parsed(api: Api, method: str, path: str, token: str) -> None:
    answer = api.call(method, path, b"{", Authorization=token)

    assert answer.status_code == 401
    assert "JSON" not in answer.text


@pytest.mark.parametrize(("method", "path"), TAKING_A_BODY)
def test_the_body_of_one_who_may_not_is_not_parsed_and_all_hear_the_same(
    api: Api, method: str, path: str
) -> None:
    may = {"aggregator": CallerRole.AGGREGATOR, "site": CallerRole.SITE}.get(path.split("/")[-1])
    others = [Caller(role=role, job="j", epoch=1) for role in CallerRole if role is not may]
    if may is None:
        people = {CallerRole.OPERATOR, CallerRole.ADMIN}
        people |= {CallerRole.VIEWER} if path == "/v1/placements" else set()
        others = [one for one in others if one.role not in people]
    heard = {api.call(method, path, b"{", who).text for who in others}

    assert [json.loads(one)["type"] for one in heard] == ["NotFound"]
    assert "JSON" not in heard.pop()


def test_a_stranger_learns_nothing_of_the_query(api: Api) -> None:
    for path in ("/v1/jobs?limit=ten", "/v1/models?limit=ten"):
        assert api.call("GET", path).status_code == 401


def test_a_token_of_another_installation_is_refused_and_not_repeated(api: Api) -> None:
    answer = api.call("GET", "/v1/jobs", Authorization="Bearer e30.e30.secret")

    assert answer.status_code == 401
    assert "secret" not in answer.text


def test_an_expired_token_is_refused(api: Api) -> None:
    token = api.world.app.tokens.issue(ADMIN, NOW(), timedelta(seconds=-10))
    answer = api.call("GET", "/v1/jobs", Authorization=f"Bearer {token}")

    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_viewer_changes_nothing(api: Api) -> None:
    answer = api.call("POST", "/v1/jobs", spec_document(), VIEWER)

    assert answer.status_code == 404
    assert api.world.app.jobs.list() == []


def test_unknown_and_forbidden_ids_look_alike(api: Api) -> None:
    app = api.world.app
    job = submit(app, spec()).id
    other = Caller(role=CallerRole.AGGREGATOR, job="another", epoch=1)
    for path in (f"/v1/jobs/{job}", "/v1/jobs/unknown"):
        assert api.call("GET", path, who=other).status_code == 404


def test_an_aggregators_token_opens_only_its_own_job_and_epoch(api: Api) -> None:
    app = api.world.app
    job = submit(app, spec()).id
    for step in (steps.check, steps.place, steps.launch):
        step(app, job)
    report = aggregator_says(job, 1, Phase.READY).model_dump(mode="json")
    mine = Caller(role=CallerRole.AGGREGATOR, job=job, epoch=1)

    answer = api.call("POST", "/v1/reports/aggregator", report, mine)
    assert answer.json()["desired"] == "run"
    for stranger in (
        Caller(role=CallerRole.AGGREGATOR, job=job, epoch=2),
        Caller(role=CallerRole.AGGREGATOR, job="another", epoch=1),
        Caller(role=CallerRole.SITE, site="seoul"),
        ADMIN,
    ):
        assert api.call("POST", "/v1/reports/aggregator", report, stranger).status_code == 404


def test_a_sites_token_opens_only_its_own_site(api: Api) -> None:
    report = site_says("j", "seoul", 1).model_dump(mode="json")
    mine = Caller(role=CallerRole.SITE, site="seoul")
    stranger = Caller(role=CallerRole.SITE, site="busan")

    assert api.call("POST", "/v1/reports/site", report, mine).json()["link"] is None
    assert api.call("POST", "/v1/reports/site", report, stranger).status_code == 404
    site = api.call("GET", "/v1/sites/seoul", who=VIEWER).json()
    assert [machine["machine"] for machine in site["machines"]] == ["j-client-seoul"]


def test_sites_are_put_and_removed(api: Api) -> None:
    site = {"name": "jeju", "city": "Jeju", "country": "KR"}

    assert api.call("PUT", "/v1/sites/jeju", site, OPERATOR).json()["city"] == "Jeju"
    assert api.call("PUT", "/v1/sites/ulsan", site, OPERATOR).status_code == 400
    assert api.call("DELETE", "/v1/sites/jeju", who=OPERATOR).json() == {"deleted": "jeju"}
    assert api.call("GET", "/v1/sites/jeju", who=VIEWER).status_code == 404


@pytest.mark.parametrize("limit", ["0", "501", "ten", "²", "٣", "9" * 5000])
def test_a_limit_out_of_range_is_named(api: Api, limit: str) -> None:
    answer = api.call("GET", f"/v1/jobs?limit={limit}", who=VIEWER)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("limit:")


@pytest.mark.parametrize("name", tree())
def test_every_error_of_the_tree_becomes_a_problem_document(name: str) -> None:
    functions.module()
    from chalicelib.answers import answered

    kind = tree()[name]

    @answered
    def view() -> None:
        raise kind("what went wrong")

    answer = view()
    document = json.loads(answer.body)
    assert answer.status_code == kind.http
    assert (document["type"], document["detail"]) == (name, "what went wrong")
    assert ("problems" in document) == issubclass(kind, InvalidRequest)


def test_a_fault_of_our_own_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    functions.module()
    from chalicelib.answers import answered

    @answered
    def view() -> None:
        raise RuntimeError("password=hunter2")

    answer = view()
    assert answer.status_code == FedspanError.http
    assert "hunter2" not in answer.body


def test_a_machine_reads_its_manifest_without_reporting(api: Api) -> None:
    app = api.world.app
    job = submit(app, spec()).id
    for step in (steps.check, steps.place, steps.launch):
        step(app, job)
    mine = Caller(role=CallerRole.AGGREGATOR, job=job, epoch=1)
    old = Caller(role=CallerRole.AGGREGATOR, job=job, epoch=9)
    seoul, busan = (Caller(role=CallerRole.SITE, site=name) for name in ("seoul", "busan"))

    path = f"/v1/manifests/aggregator/{job}"
    assert api.call("GET", path, who=mine).json()["desired"] == "run"
    assert api.call("GET", path, who=old).json()["type"] == "StaleEpoch"
    assert api.call("GET", "/v1/manifests/aggregator/other", who=mine).status_code == 404
    assert api.call("GET", "/v1/manifests/site/seoul/m", who=seoul).json()["link"] is None
    assert api.call("GET", "/v1/manifests/site/seoul/m", who=busan).status_code == 404
    assert api.call("GET", path).status_code == 401
