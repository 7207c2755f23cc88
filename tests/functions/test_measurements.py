"""The routes of measurements: who may, and what they answer."""

from __future__ import annotations

import pytest

from fedspan.access import Caller, CallerRole
from tests.functions.test_rest import ADMIN, OPERATOR, VIEWER, Api, api
from tests.support.world import site_says

__all__ = ["api"]

PATH = "/v1/sites/seoul/measurements"
QUESTION = {"regions": ["aws:ap-northeast-2"]}
SITE = Caller(role=CallerRole.SITE, site="seoul")


def test_a_measurement_is_asked_for_answered_and_read(api: Api) -> None:
    asked = api.call("POST", PATH, QUESTION, OPERATOR)
    request = asked.json()["asked"]["id"]
    one = {"region": "aws:ap-northeast-2", "median_ms": 4.0, "min_ms": 3.0, "answered": 5}
    kept = api.call("PUT", PATH, {"request": request, "probed": [one]}, OPERATOR)
    read = api.call("GET", PATH, who=VIEWER)

    assert (asked.status_code, asked.json()["places"][0]["city"]) == (202, "Seoul")
    assert kept.json()["reached"]["aws:ap-northeast-2"]["median_ms"] == 4.0
    assert read.json() == kept.json()
    assert api.call("GET", "/v1/sites/seoul", who=VIEWER).json()["rtt_ms"] == {one["region"]: 4.0}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_only_operators_ask_and_answer(api: Api, method: str) -> None:
    assert api.call(method, PATH, b"{").status_code == 401
    for who in (VIEWER, SITE):
        assert api.call(method, PATH, b"{", who).status_code == 404
    assert api.call(method, PATH, b"{", ADMIN).status_code == 400


def test_a_site_reads_no_measurements(api: Api) -> None:
    assert api.call("GET", PATH, who=SITE).status_code == 404
    assert api.call("GET", PATH).status_code == 401


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "0", "-1", "60001", '"fast"'])
def test_a_report_with_a_time_that_cannot_be_is_refused(api: Api, figure: str) -> None:
    report = site_says("j", "seoul", 1).model_dump_json(exclude={"measured"})
    one = f'{{"region": "aws:a", "median_ms": {figure}, "min_ms": 1, "answered": 1}}'
    body = f'{report[:-1]}, "measured": {{"request": "r", "probed": [{one}]}}}}'
    answer = api.call("POST", "/v1/reports/site", body.encode(), SITE)

    assert answer.status_code == 400
    assert answer.json()["problems"][0].startswith("measured.probed.0")


def test_a_report_with_more_connects_than_anybody_makes_is_refused(api: Api) -> None:
    probed = {"region": "aws:a", "median_ms": 2, "min_ms": 1, "answered": 1001}
    report = site_says("j", "seoul", 1).model_dump(mode="json")
    document = {**report, "measured": {"request": "r", "probed": [probed]}}
    answer = api.call("POST", "/v1/reports/site", document, SITE)

    assert answer.status_code == 400
    assert answer.json()["problems"][0].startswith("measured.probed.0.answered: input should be")


def test_a_long_reason_is_cut_and_the_report_is_heard(api: Api) -> None:
    request = api.call("POST", PATH, QUESTION, OPERATOR).json()["asked"]["id"]
    missed = {"region": "aws:ap-northeast-2", "error": "x" * 10_000}
    kept = api.call("PUT", PATH, {"request": request, "probed": [missed]}, OPERATOR)

    assert kept.status_code == 200
    assert kept.json()["unreached"]["aws:ap-northeast-2"]["reason"] == "x" * 500


def test_an_unknown_site_and_an_unknown_region_are_named(api: Api) -> None:
    nowhere = api.call("POST", "/v1/sites/nowhere/measurements", QUESTION, ADMIN)
    wrong = api.call("POST", PATH, {"regions": ["aws:eu-wst-1"]}, ADMIN)

    assert (nowhere.status_code, wrong.status_code) == (404, 400)
    assert wrong.json()["detail"].endswith("did you mean 'aws:eu-west-1'?")
