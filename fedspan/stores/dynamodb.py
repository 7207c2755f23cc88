"""A store in one DynamoDB table: `pk` is the partition, `sk` the sort, both strings.

DynamoDB orders strings by their UTF-8 bytes, as the contract asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from fedspan.errors import Conflict, Corrupt, FedspanError, StoreError, StoreUnavailable
from fedspan.stores.base import Change, Key, Put, Stored
from fedspan.stores.limits import check_changes

TABLE: Final[Mapping[str, Any]] = {
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ],
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    # A federation writes in bursts, a job at a time: pay for each request, nothing in between.
    "BillingMode": "PAY_PER_REQUEST",
}

CODES: Final[Mapping[str, type[FedspanError]]] = {
    # Reasons of a cancelled transaction: nothing was written.
    "ConditionalCheckFailed": Conflict,
    "TransactionConflict": Conflict,
    "ThrottlingError": StoreUnavailable,
    "ProvisionedThroughputExceeded": StoreUnavailable,
    # Answers to a call.
    "TransactionInProgressException": StoreUnavailable,
    "ProvisionedThroughputExceededException": StoreUnavailable,
    "ThrottlingException": StoreUnavailable,
    "RequestLimitExceeded": StoreUnavailable,
    "ReplicatedWriteConflictException": StoreUnavailable,
    "InternalServerError": StoreUnavailable,
    "ServiceUnavailable": StoreUnavailable,
}


def create_table(client: Any, name: str) -> None:
    """Ask for the table of a `DynamoStore`. Returns when accepted, not when active."""
    with translated(f"create table {name}"):
        client.create_table(TableName=name, **TABLE)


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        raise _kind(exc.response)(f"dynamodb {action}: {exc}") from exc
    except (HTTPClientError, BotoConnectionError) as exc:
        raise StoreUnavailable(f"dynamodb {action}: {exc}") from exc
    except BotoCoreError as exc:
        raise StoreError(f"dynamodb {action}: {exc}") from exc


class DynamoStore:
    """Stateless but for `client`, a low-level boto3 client, which threads may share.

    Whoever passes the client chooses its endpoint, credentials, retries and timeouts.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, key: Key) -> Stored | None:
        with translated(f"get {key}"):
            answer = self._client.get_item(
                TableName=self._table, Key=_item_key(key), ConsistentRead=True
            )
        return _stored(answer["Item"]) if "Item" in answer else None

    def list(
        self, partition: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Sequence[Stored]:
        query = self._query(partition, after, newest_first)
        found: list[Stored] = []
        # One answer holds at most 1 MB, however many were asked for.
        while len(found) < limit:
            with translated(f"list {partition}"):
                page = self._client.query(**query, Limit=limit - len(found))
            found += [_stored(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        return found

    def write(self, changes: Sequence[Change]) -> None:
        check_changes(changes)
        if not changes:
            return
        # A transaction even for one change, at twice the price of a PutItem: botocore repeats a
        # call whose answer was lost, and adds a token by which DynamoDB knows the repeat. The
        # repeat of a conditional PutItem would meet its own first write and report a Conflict.
        items = [self._item(change) for change in changes]
        with translated(f"write {', '.join(str(c.key) for c in changes[:3])}"):
            self._client.transact_write_items(TransactItems=items)

    def close(self) -> None:
        self._client.close()

    def _query(self, partition: str, after: str, newest_first: bool) -> dict[str, Any]:
        condition, values = "pk = :pk", {":pk": {"S": partition}}
        if after:
            condition += f" AND sk {'<' if newest_first else '>'} :after"
            values[":after"] = {"S": after}
        return {
            "TableName": self._table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not newest_first,
            "ConsistentRead": True,
        }

    def _item(self, change: Change) -> dict[str, Any]:
        if not isinstance(change, Put):
            return {"Delete": {"TableName": self._table, "Key": _item_key(change.key)}}
        put: dict[str, Any] = {
            "TableName": self._table,
            "Item": {
                **_item_key(change.key),
                "body": {"S": change.body},
                "version": {"N": str(change.expected + 1)},
            },
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        if change.expected:
            put["ConditionExpression"] = "#version = :expected"  # "version" is a reserved word
            put["ExpressionAttributeNames"] = {"#version": "version"}
            put["ExpressionAttributeValues"] = {":expected": {"N": str(change.expected)}}
        return {"Put": put}


def _item_key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key.partition}, "sk": {"S": key.sort}}


def _stored(item: Mapping[str, Any]) -> Stored:
    try:
        key = Key(item["pk"]["S"], item["sk"]["S"])
        return Stored(key, item["body"]["S"], int(item["version"]["N"]))
    except (KeyError, ValueError) as exc:
        raise Corrupt(f"dynamodb: an item at {item.get('pk')} is none of ours") from exc


def _kind(response: Mapping[str, Any]) -> type[FedspanError]:
    """Which of our errors a refusal means. Of a transaction's reasons, a conflict wins: the
    caller loads, decides again, and meets the others then."""
    reasons = [r.get("Code", "None") for r in response.get("CancellationReasons", [])]
    kinds = {CODES.get(reason, StoreError) for reason in reasons if reason != "None"}
    for kind in (Conflict, StoreError, StoreUnavailable):
        if kind in kinds:
            return kind
    code = response["Error"]["Code"]
    if response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return CODES.get(code, StoreUnavailable)
    return CODES.get(code, StoreError)
