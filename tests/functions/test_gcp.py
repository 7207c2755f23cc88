"""The Cloud Function `score_placement`, through functions-framework's test client, on memory
parts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from fedspan import wiring
from fedspan.domain.placements import PlacementAnswer, PlacementQuestion
from fedspan.domain.sites import Site
from fedspan.errors import FedspanError, InvalidRequest, tree
from fedspan.services.placements import score
from fedspan.services.sites import register_site
from tests.support import cloud_function
from tests.support.world import serving, world

MAIN = cloud_function.MAIN


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    with cloud_function.made("score_placement", monkeypatch).test_client() as made:
        yield made


def question(**changes: Any) -> dict[str, Any]:
    document = {
        "rounds": 20,
        "participants": [
            {"name": "seoul", "latitude": 37.57, "longitude": 126.98},
            {"name": "busan", "latitude": 35.18, "longitude": 129.08},
        ],
        "placement": {"model_bytes": 50_000_000},
    }
    return {**document, **changes}


def test_a_question_gets_the_answer_of_the_use_case(client: FlaskClient) -> None:
    got = client.post("/?limit=3&compare=aws:eu-west-1", json=question())

    assert (got.status_code, got.content_type) == (200, "application/json")
    answer = PlacementAnswer.model_validate_json(got.data)
    asked = PlacementQuestion.model_validate(question())
    assert answer == score(wiring.app_on_gcp(), asked, limit=3, compare="aws:eu-west-1")
    assert len(answer.candidates) == 3
    assert answer.compared is not None and answer.compared.place == "aws:eu-west-1"


def test_a_name_says_nothing_where_nobody_is_registered(client: FlaskClient) -> None:
    got = client.post("/", json=question(participants=["seoul"]))

    assert (got.status_code, got.json["type"]) == (422, "Unsupported")
    assert "inline" in got.json["detail"]


def test_a_name_is_looked_up_where_a_store_is_wired(client: FlaskClient, tmp_path: Path) -> None:
    app = world(tmp_path).app
    register_site(app, Site(name="seoul", latitude=37.57, longitude=126.98))
    with serving(app):
        got = client.post("/?limit=1", json=question(participants=["seoul"]))

    assert got.json["candidates"][0]["worst"]["participant"] == "seoul"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_only_post_is_answered(client: FlaskClient, method: str) -> None:
    got = client.open("/", method=method, json=question())

    assert (got.status_code, got.headers["Allow"]) == (405, "POST")
    assert got.content_type == "application/problem+json"
    assert method == "HEAD" or got.json["status"] == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"{" + b" " * (4 * 1024 * 1024), 413),
    ],
    ids=["nothing", "no-json", "no-object", "no-text", "a-deep-hole", "four-megabytes"],
)
def test_a_body_that_is_no_question_is_refused(
    client: FlaskClient, body: bytes, status: int
) -> None:
    got = client.post("/", data=body)

    assert (got.status_code, got.json["status"]) == (status, status)
    assert got.content_type == "application/problem+json"


def test_each_fault_of_a_question_is_a_sentence_of_its_own(client: FlaskClient) -> None:
    got = client.post("/", json=question(rounds=0, roundz=3, participants=[{"name": "seoul"}]))

    assert (got.status_code, got.json["type"]) == (400, "InvalidRequest")
    assert len(got.json["problems"]) == 3
    assert "roundz: unknown key; did you mean 'rounds'?" in got.json["problems"]


@pytest.mark.parametrize("limit", ["0", "101", "ten", "²", "-1", "9" * 5000])
def test_a_limit_out_of_range_is_named(client: FlaskClient, limit: str) -> None:
    got = client.post("/", query_string={"limit": limit}, json=question())

    assert got.status_code == 400
    assert got.json["detail"].startswith("limit: a whole number from 1 to 100")


def test_an_unknown_region_to_compare_is_named(client: FlaskClient) -> None:
    got = client.post("/?compare=aws:eu-west-11", json=question())

    assert got.status_code == 400
    assert "eu-west-1" in got.json["detail"]


def test_nothing_to_compare_with_is_named(client: FlaskClient) -> None:
    got = client.post("/?compare=", json=question())

    assert got.status_code == 400
    assert got.json["detail"].startswith("compare: is empty")


@pytest.mark.parametrize("name", tree())
def test_every_error_of_the_tree_becomes_a_problem_document(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind = tree()[name]

    def fails(*_: Any, **__: Any) -> None:
        raise kind("what went wrong")

    monkeypatch.setattr(sys.modules["main"], "score", fails)
    got = client.post("/", json=question())
    assert (got.status_code, got.json["status"]) == (kind.http, kind.http)
    assert (got.json["type"], got.json["detail"]) == (name, "what went wrong")
    assert ("problems" in got.json) == issubclass(kind, InvalidRequest)


def test_a_fault_of_our_own_says_nothing_of_itself(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(sys.modules["main"], "score", fails)
    got = client.post("/", json=question())
    assert (got.status_code, got.json["type"]) == (FedspanError.http, "FedspanError")
    assert "hunter2" not in got.text
    assert "RuntimeError" in capsys.readouterr().out


def test_importing_main_needs_no_framework_and_no_numbers() -> None:
    program = (
        "import sys; sys.path.insert(0, 'functions/gcp'); import main\n"
        "heavy = {'numpy', 'boto3', 'botocore', 'chalice', 'flask', 'functions_framework',\n"
        "    'requests', 'google.auth', 'google.cloud.firestore', 'openstack',\n"
        "    'obstore'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = MAIN.parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
    )

    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
