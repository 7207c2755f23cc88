"""From a URL to the metadata store there."""

from __future__ import annotations

from urllib.parse import urlsplit

from fedspan.errors import InvalidRequest
from fedspan.stores.base import Store


def open_store(url: str) -> Store:
    """The store at ``dynamodb://TABLE``. Region and credentials come from the usual environment.

    Raises:
        InvalidRequest: it is no such URL.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "dynamodb" if parts.netloc and not parts.path.strip("/"):
            import boto3  # an SDK loads with the adapter that needs it

            from fedspan.stores.dynamodb import DynamoStore

            return DynamoStore(boto3.client("dynamodb"), parts.netloc)
        case scheme:
            raise InvalidRequest(f"store: {scheme or 'no'}: is not dynamodb://TABLE")
