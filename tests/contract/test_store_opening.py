"""From a URL to a store."""

from __future__ import annotations

import secrets

import pytest

from fedspan.errors import InvalidRequest, StoreError
from fedspan.stores.base import Key, Put, Stored
from fedspan.stores.dynamodb import DynamoStore, create_table
from fedspan.stores.opening import open_store

KEY = Key("jobs", "a")


def written(store):
    store.write([Put(KEY, "x", expected=0)])
    found = store.get(KEY)
    store.close()
    return found == Stored(KEY, "x", 1)


@pytest.mark.parametrize("database", ["", "/", "/other-one", "/(default)"])
def test_a_url_names_a_firestore_database(firestore_host, monkeypatch, database):
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    project = f"opened-{secrets.token_hex(8)}"
    store = open_store(f"firestore://{project}{database}")
    other = open_store(f"firestore://{project}/elsewhere")

    assert written(store)
    assert other.get(KEY) is None
    other.close()


def test_a_url_names_a_table(moto_url, aws_client, monkeypatch):
    variables = {"ENDPOINT_URL": moto_url, "DEFAULT_REGION": "us-east-1"}
    for name, value in {**variables, "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    create_table(aws_client("dynamodb", moto_url), "opened")
    store = open_store("dynamodb://opened")

    assert isinstance(store, DynamoStore)
    assert written(store)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "table",
        "dynamodb://",
        "dynamodb://table/more",
        "dynamodb://id:hush@table",
        "firestore://",
        "firestore:///database",
        "firestore://project/database/more",
        "firestore://project?key=hush",
        "firestore://hush@project",
        "firestore://project#hush",
        "sqlite:///hush",
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidRequest, match=r"firestore://PROJECT\[/DATABASE\]") as raised:
        open_store(url)

    assert "hush" not in str(raised.value)


def test_google_without_credentials_is_our_error(monkeypatch, tmp_path):
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    with pytest.raises(StoreError, match=r"firestore open: .*not found") as raised:
        open_store("firestore://project")

    assert raised.type is StoreError


def test_importing_loads_no_sdk(python):
    script = python(
        "import sys, fedspan.stores.opening\n"
        "print({'boto3', 'botocore', 'google.api_core', 'grpc'} & set(sys.modules))"
    )

    assert script.communicate(timeout=180)[0] == "set()\n"
