"""The Cloud Function `check_credential`: what is proved, and what is never repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.credentials import Examination
from fedspan.errors import tree
from tests.support.cloud_function import Call, call
from tests.support.clouds import (
    WORDS,
    MemoryClouds,
    aws_document,
    cloudy_world,
    gcp_file,
    openstack_document,
)
from tests.support.world import serving

__all__ = ["call"]


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[MemoryClouds]:
    made, clouds = cloudy_world(tmp_path)
    with serving(made.app):
        yield clouds


@pytest.mark.parametrize(
    "secret",
    [aws_document(), {"provider": "gcp", **gcp_file()}, openstack_document()],
    ids=["aws", "gcp", "openstack"],
)
def test_it_says_what_a_credential_is_and_keeps_nothing(
    call: Call, clouds: MemoryClouds, secret: dict[str, Any]
) -> None:
    alone = call("check_credential", "POST", body={"secret": secret})
    named = call("check_credential", "POST", body={"name": "mine", "secret": secret})

    assert (alone.status_code, alone.content_type) == (200, "application/json")
    assert Examination.model_validate_json(alone.data).identity.account
    assert named.json == alone.json
    assert call("metadata", "GET", "/jobs").json == {"jobs": []}
    assert not any(word in alone.text for word in WORDS)


def test_a_rejected_one_is_told_without_its_secret(
    call: Call, clouds: MemoryClouds, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = aws_document("a-word-that-is-unknown")
    got = call("check_credential", "POST", body={"secret": secret})

    assert (got.status_code, got.json["type"]) == (422, "CredentialRejected")
    assert "a-word-that-is-unknown" not in got.text + capsys.readouterr().out


@pytest.mark.parametrize(
    "body",
    [
        b"hush",
        ["hush"],
        "hush",
        {"secret": "hush"},
        {"secret": {"provider": "hush"}},
        {"secret": {"access_key_id": "hush", "secret_access_key": "hush"}},
        {"secret": aws_document("hush")},
        {"secret": aws_document(), "name": "Hush!"},
        {"secret": {**gcp_file(), "private_key": "hush"}},
        {"secret": {"provider": "gcp", **gcp_file(), "private_key": "hush"}},
        {"secret": openstack_document(application_credential_secret=["hush"])},
        {"secret": openstack_document(auth_url="hush")},
    ],
)
def test_what_cannot_be_one_is_refused_and_not_repeated(
    call: Call, clouds: MemoryClouds, capsys: pytest.CaptureFixture[str], body: Any
) -> None:
    got = call("check_credential", "POST", body=body)

    assert (got.status_code, got.json["type"]) == (400, "InvalidRequest")
    assert "hush" not in (got.text + capsys.readouterr().out).lower()
    assert clouds.examined == 0


def test_a_long_one_is_not_read(call: Call, clouds: MemoryClouds) -> None:
    got = call("check_credential", "POST", body=b"{" + b" " * 1_000_000)

    assert (got.status_code, got.json["type"]) == (413, "TooLarge")


@pytest.mark.parametrize("name", tree())
def test_every_error_becomes_a_problem(call: Call, clouds: MemoryClouds, name: str) -> None:
    clouds.fail_next = tree()[name]("what went wrong")
    got = call("check_credential", "POST", body={"secret": aws_document()})

    assert (got.status_code, got.json["type"]) == (tree()[name].http, name)
    assert got.content_type == "application/problem+json"
