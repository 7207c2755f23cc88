"""A master key in AWS KMS. The context is its encryption context, so CloudTrail shows for which
credential a data key was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from fedspan.errors import (
    CloudUnavailable,
    Corrupt,
    Denied,
    FedspanError,
    ProviderError,
    Throttled,
)

CODES: Final[Mapping[str, type[FedspanError]]] = {
    "InvalidCiphertextException": Corrupt,
    "IncorrectKeyException": Corrupt,
    "AccessDeniedException": Denied,
    "ThrottlingException": Throttled,
    "DependencyTimeoutException": CloudUnavailable,
    "KMSInternalException": CloudUnavailable,
    "KeyUnavailableException": CloudUnavailable,
}


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        raise _kind(exc.response)(f"kms {action}: {exc}") from exc
    except (HTTPClientError, BotoConnectionError) as exc:
        raise CloudUnavailable(f"kms {action}: {exc}") from exc
    except BotoCoreError as exc:
        raise ProviderError(f"kms {action}: {exc}") from exc


def _kind(response: Mapping[str, Any]) -> type[FedspanError]:
    known = CODES.get(response["Error"]["Code"])
    failed = response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    return known or (CloudUnavailable if failed else ProviderError)


class KmsKey:
    """`client` is a boto3 client for KMS, which threads may share; `key_id` an ARN or an alias.

    Whoever passes the client chooses its endpoint, credentials, retries and timeouts. KMS turns
    the key's material over by itself; an alias that is given to another key opens nothing of
    before.
    """

    def __init__(self, client: Any, key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    @property
    def name(self) -> str:
        return self._key_id

    def prepare(self) -> None:
        """Whoever runs the cloud makes it."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        with translated(f"encrypt with {self._key_id}"):
            answer = self._client.encrypt(
                KeyId=self._key_id, Plaintext=data_key, EncryptionContext=dict(context)
            )
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if not wrapped:
            raise Corrupt(f"{self._key_id}: there is nothing to unwrap")
        with translated(f"decrypt with {self._key_id}"):
            answer = self._client.decrypt(
                KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context)
            )
        return bytes(answer["Plaintext"])
