"""What Google's refusals mean to us. One table has the reasons of answers and the codes of
operations: stock and quota are told by either."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
from google.auth import exceptions as auth

from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    NoCapacity,
    NotOffered,
    ProviderError,
    QuotaReached,
    Throttled,
)

CODES: Final[Mapping[str, type[ProviderError]]] = {
    # Codes of operations.
    "ZONE_RESOURCE_POOL_EXHAUSTED": NoCapacity,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": NoCapacity,
    "QUOTA_EXCEEDED": QuotaReached,
    "RESOURCE_NOT_FOUND": NotOffered,
    "PERMISSIONS_ERROR": Denied,
    "RESOURCE_ALREADY_EXISTS": CloudUnavailable,  # by another launch of this key: it will be shown
    "RESOURCE_OPERATION_RATE_EXCEEDED": Throttled,
    "INTERNAL_ERROR": CloudUnavailable,
    # Reasons of answers.
    "SERVICE_DISABLED": Denied,
    "BILLING_DISABLED": Denied,
    "accessNotConfigured": Denied,
    "insufficientPermissions": Denied,
    "forbidden": Denied,
    "conditionNotMet": Denied,  # 412: a policy of the organisation
    "quotaExceeded": QuotaReached,
    "rateLimitExceeded": Throttled,
    "userRateLimitExceeded": Throttled,
    "RATE_LIMIT_EXCEEDED": Throttled,
    "notFound": NotOffered,
    "authError": CredentialRejected,
    "alreadyExists": CloudUnavailable,  # as above
    "resourceNotReady": CloudUnavailable,  # another operation on it is under way
    "backendError": CloudUnavailable,
    # The status that APIs newer than Compute tell instead.
    "PERMISSION_DENIED": Denied,
    "UNAUTHENTICATED": CredentialRejected,
    "RESOURCE_EXHAUSTED": Throttled,
    "UNAVAILABLE": CloudUnavailable,
}

TOKEN_CODES: Final[Mapping[str, type[ProviderError]]] = {
    # Of the endpoint that gives tokens (RFC 6749).
    "invalid_grant": CredentialRejected,
    "invalid_client": CredentialRejected,
    "unauthorized_client": CredentialRejected,
    "disabled_client": CredentialRejected,
}

LONGEST: Final = 600
_SKEWED: Final = "reasonable timeframe"
_METADATA: Final = re.compile(r"(field 'resource\.metadata[^']*': )'.*'", re.DOTALL)


class Refused(Exception):
    """An answer, or the result of an operation, that is no success. `codes` are its reasons, the
    most exact first."""

    def __init__(self, status: int, codes: tuple[str, ...], message: str) -> None:
        super().__init__(_METADATA.sub(r"\1'...'", message)[:LONGEST])
        self.status = status
        self.codes = codes

    @property
    def kind(self) -> type[ProviderError]:
        for code in self.codes:
            if code in CODES:
                return CODES[code]
        return CloudUnavailable if self.status >= 500 else ProviderError


def of_answer(answer: requests.Response) -> Refused:
    try:
        error = answer.json()["error"]
        details = [one.get("reason", "") for one in error.get("details", [])]
        reasons = [one.get("reason", "") for one in error.get("errors", [])]
        codes = (*details, *reasons, error.get("status", ""))
        return Refused(answer.status_code, tuple(filter(None, codes)), error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's page
        return Refused(answer.status_code, (), f"HTTP {answer.status_code} {answer.reason}")


def of_operation(operation: Mapping[str, Any]) -> Refused | None:
    """Why an operation failed; None if it did not, or not yet."""
    errors = operation.get("error", {}).get("errors", [])
    if not errors:
        return None
    codes = tuple(one.get("code", "") for one in errors)
    said = "; ".join(one.get("message", "") for one in errors)
    return Refused(operation.get("httpErrorStatusCode", 400), codes, f"{codes[0]}: {said}")


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except Refused as exc:
        raise exc.kind(f"gcp {action}: {_told(exc)}") from exc
    except auth.RefreshError as exc:
        raise _of_token(action, exc) from exc
    except (auth.TransportError, requests.RequestException) as exc:
        raise CloudUnavailable(f"gcp {action}: no answer: {exc}") from exc
    except auth.GoogleAuthError as exc:
        raise CredentialRejected(f"gcp {action}: {exc}") from exc


def _told(exc: Refused) -> str:
    if exc.kind is CredentialRejected:
        return f"{exc} The key is revoked, or the clock of this computer is wrong."
    return str(exc)


def _of_token(action: str, exc: auth.RefreshError) -> ProviderError:
    """Of what google-auth makes of an answer that is no token: its error and description."""
    if exc.retryable:
        return CloudUnavailable(f"gcp {action}: {str(exc.args[0])[:LONGEST]}")
    answer = exc.args[1] if len(exc.args) > 1 and isinstance(exc.args[1], dict) else {}
    said = str(answer.get("error_description") or exc.args[0])[:LONGEST]
    if _SKEWED in said:
        said += " The clock of this computer is not Google's: set it."
    return TOKEN_CODES.get(str(answer.get("error")), ProviderError)(f"gcp {action}: {said}")
