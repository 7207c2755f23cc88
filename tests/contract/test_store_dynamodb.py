"""DynamoDB's own promises: its error table, case by case."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import NoCredentialsError

from fedspan.errors import Conflict, Corrupt, StoreError, StoreUnavailable
from fedspan.stores import dynamodb
from fedspan.stores.base import Delete, Key
from fedspan.stores.dynamodb import DynamoStore, create_table

KEY = Key("jobs", "a")


def refusing(aws_client, answering, code, status=400, reasons=None):
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "as asked"}
    if reasons is not None:
        body["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return DynamoStore(aws_client("dynamodb", answering(status, json.dumps(body))), "t")


@pytest.mark.parametrize("code, kind", dynamodb.CODES.items())
def test_each_dynamodb_code_means_what_the_table_says(aws_client, answering, code, kind):
    store = refusing(aws_client, answering, code)

    with pytest.raises(kind) as raised:
        store.get(KEY)

    assert raised.type is kind
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    "code, status, kind",
    [
        ("ResourceNotFoundException", 400, StoreError),
        ("AccessDeniedException", 400, StoreError),
        ("ValidationException", 400, StoreError),
        ("SomethingNew", 500, StoreUnavailable),
    ],
)
def test_what_the_table_lacks_is_passing_only_if_the_server_failed(
    aws_client, answering, code, status, kind
):
    store = refusing(aws_client, answering, code, status)

    with pytest.raises(StoreError) as raised:
        store.list("jobs")

    assert raised.type is kind


@pytest.mark.parametrize(
    "reasons, kind",
    [
        (["ConditionalCheckFailed", "None"], Conflict),
        (["None", "TransactionConflict"], Conflict),
        (["ThrottlingError", "ConditionalCheckFailed"], Conflict),
        (["ThrottlingError"], StoreUnavailable),
        (["ProvisionedThroughputExceeded"], StoreUnavailable),
        (["ValidationError"], StoreError),
        (["ValidationError", "ThrottlingError"], StoreError),
        ([], StoreError),
    ],
)
def test_a_cancelled_transaction_is_what_its_reasons_say(aws_client, answering, reasons, kind):
    store = refusing(aws_client, answering, "TransactionCanceledException", reasons=reasons)

    with pytest.raises(Exception) as raised:
        store.write([Delete(KEY)])

    assert raised.type is kind


def test_a_server_that_is_not_there_is_passing(aws_client):
    store = DynamoStore(aws_client("dynamodb", "http://127.0.0.1:9"), "t")

    with pytest.raises(StoreUnavailable):
        store.get(KEY)


def test_a_client_without_credentials_is_no_passing_fault():
    with pytest.raises(StoreError) as raised, dynamodb.translated("get"):
        raise NoCredentialsError

    assert raised.type is StoreError


def test_a_missing_table_is_no_passing_fault(aws_client, moto_url):
    store = DynamoStore(aws_client("dynamodb", moto_url), "missing")

    with pytest.raises(StoreError) as raised:
        store.get(KEY)

    assert raised.type is StoreError


def test_an_item_of_somebody_else_is_corrupt(aws_client, moto_url):
    client = aws_client("dynamodb", moto_url)
    create_table(client, "shared")
    client.put_item(TableName="shared", Item={"pk": {"S": "jobs"}, "sk": {"S": "a"}})

    with pytest.raises(Corrupt):
        DynamoStore(client, "shared").get(KEY)
