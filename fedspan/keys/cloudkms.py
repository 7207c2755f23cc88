"""A master key in Google's Cloud KMS, by REST: its client library would bring gRPC for two calls.

Each way carries checksums (CRC32C), as Google advises: a bit that flips on the way to Cloud KMS
would make a data key that never opens anything.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.exceptions import TransportError as AuthTransportError

from fedspan.errors import (
    CloudUnavailable,
    Corrupt,
    Denied,
    FedspanError,
    ProviderError,
    Throttled,
)
from fedspan.keys.context import canonical

ENDPOINT: Final = "https://cloudkms.googleapis.com"
TIMEOUT: Final = (5.0, 20.0)
STATUSES: Final[Mapping[str, type[FedspanError]]] = {
    "PERMISSION_DENIED": Denied,
    "RESOURCE_EXHAUSTED": Throttled,
    "UNAVAILABLE": CloudUnavailable,
    "INTERNAL": CloudUnavailable,
    "DEADLINE_EXCEEDED": CloudUnavailable,
}
NOT_OURS: Final = "Decryption failed"
"""How INVALID_ARGUMENT begins where the key or the additional data is another."""


class CloudKmsKey:
    """`session` authenticates (google-auth's `AuthorizedSession`); `name` is
    ``projects/P/locations/L/keyRings/R/cryptoKeys/K``."""

    def __init__(self, session: requests.Session, name: str, endpoint: str = ENDPOINT) -> None:
        self._session = session
        self._name = name
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        return self._name

    def prepare(self) -> None:
        """Whoever runs the cloud makes it."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        answer = self._called("encrypt", {"plaintext": data_key}, context)
        for word in ("verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c"):
            if answer.get(word) is not True:
                raise CloudUnavailable(f"cloud kms encrypt: {word} is missing; try again")
        return _checked(answer, "ciphertext")

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return _checked(self._called("decrypt", {"ciphertext": wrapped}, context), "plaintext")

    def _called(
        self, verb: str, given: Mapping[str, bytes], context: Mapping[str, str]
    ) -> dict[str, Any]:
        body: dict[str, str] = {}
        for name, value in {**given, "additionalAuthenticatedData": canonical(context)}.items():
            body |= {name: base64.b64encode(value).decode(), f"{name}Crc32c": str(crc32c(value))}
        action = f"cloud kms {verb} with {self._name}"
        with _translated(action):
            answer = self._session.post(
                f"{self._endpoint}/v1/{self._name}:{verb}",
                json=body,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
            document = _document(answer)
        if answer.status_code != 200:
            raise _refusal(action, verb, answer.status_code, document)
        return document


@contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, AuthTransportError) as exc:
        raise CloudUnavailable(f"{action}: {exc}") from exc
    except (requests.RequestException, GoogleAuthError) as exc:
        raise ProviderError(f"{action}: {exc}") from exc


def _document(answer: requests.Response) -> dict[str, Any]:
    """What is no JSON object says nothing."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(action: str, verb: str, code: int, document: Mapping[str, Any]) -> FedspanError:
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    message, status = str(error.get("message", "")), str(error.get("status", ""))
    said = f"{action}: {code} {status} {message}".rstrip()
    if verb == "decrypt" and status == "INVALID_ARGUMENT" and message.startswith(NOT_OURS):
        return Corrupt(said)
    return STATUSES.get(status, CloudUnavailable if code >= 500 else ProviderError)(said)


def _checked(answer: Mapping[str, Any], name: str) -> bytes:
    """The bytes of that field, unless they changed on their way."""
    try:
        value = base64.b64decode(str(answer[name]), validate=True)
        whole = crc32c(value) == int(answer[f"{name}Crc32c"])
    except (KeyError, ValueError) as exc:
        raise ProviderError(f"cloud kms: an answer without a {name} and its checksum") from exc
    if not whole:
        raise CloudUnavailable(f"cloud kms: the {name} changed on its way; try again")
    return value


def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli, reflected
        return value

    return tuple(map(entry, range(256)))


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """The checksum of Cloud KMS. Here it sees some hundred bytes at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
