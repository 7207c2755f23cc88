"""From a URL to the metadata store there."""

from __future__ import annotations

from urllib.parse import urlsplit

from fedspan.errors import InvalidRequest
from fedspan.extras import needed
from fedspan.stores.base import Store

KNOWN = "dynamodb://TABLE or firestore://PROJECT[/DATABASE]"


def open_store(url: str) -> Store:
    """The store at ``dynamodb://TABLE`` or ``firestore://PROJECT[/DATABASE]``. Region, endpoint
    and credentials come from the usual environment.

    Raises:
        InvalidRequest: it is no such URL.
        StoreError: Google's usual places have no credentials.
        Unsupported: its SDK is not installed.
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    # The message does not repeat the URL: somebody may have put a password into it.
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidRequest(f"store: the URL is {KNOWN}, nothing more")
    # An SDK loads with the adapter that needs it.
    match parts.scheme:
        case "dynamodb" if parts.netloc and not path:
            with needed("dynamodb://", "aws"):
                import boto3

                from fedspan.stores.dynamodb import DynamoStore
            return DynamoStore(boto3.client("dynamodb"), parts.netloc)
        case "firestore" if parts.netloc and "/" not in path:
            with needed("firestore://", "gcp"):
                from google.cloud.firestore import Client

                from fedspan.stores.firestore import FirestoreStore, translated
            with translated("open"):
                return FirestoreStore(Client(project=parts.netloc, database=path or None))
        case scheme:
            raise InvalidRequest(f"store: {scheme or 'no'}: is not {KNOWN}")
