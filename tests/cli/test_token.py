"""A token for a person's own scripts opens the REST API as far as its role."""

from __future__ import annotations

import pytest
import requests

from tests.cli.conftest import serving


def asked(home, token, method, path, body=None):
    control = home.running()
    url = f"http://127.0.0.1:{control.port}{path}"
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, url, json=body, headers=headers, timeout=30)


def test_a_viewer_asks_where_an_aggregator_would_go_and_changes_nothing(cli, home):
    question = {
        "rounds": 20,
        "participants": [{"name": "seoul", "latitude": 37.57, "longitude": 126.98}],
        "placement": {"model_bytes": 50_000_000},
    }
    with serving(home):
        token = cli("token").out.strip()
        answer = asked(home, token, "POST", "/v1/placements?limit=3", question)
        refused = asked(home, token, "DELETE", "/v1/sites/seoul")

    assert answer.status_code == 200
    assert len(answer.json()["candidates"]) == 3
    assert refused.status_code == 404


def test_the_document_says_what_it_allows_and_until_when(cli):
    made = cli("token", "--role", "operator", "--for", "10m", "--json").document

    assert made["role"] == "operator"
    assert made["expires"] > "2026"
    assert made["token"].count(".") == 2


@pytest.mark.parametrize("wrong", ["soon", "0s", "2000d", "-1h"])
def test_a_lifetime_that_is_none_is_refused(cli, wrong):
    result = cli("token", "--for", wrong)

    assert result.code == 2
    assert "--for" in result.err
