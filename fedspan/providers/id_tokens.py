"""ID tokens of Google's: they say who calls a Cloud Function, and open nothing else.

On Google Cloud the metadata server gives them for the service account of the machine. Elsewhere
``GOOGLE_APPLICATION_CREDENTIALS`` names a file: the key of a service account, or the configuration
of a workload identity federation, which holds no secret: a Lambda proves its role to Google, and
gets tokens of the service account that its role may stand for.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import google.auth.transport.requests
import jwt
import requests
from google.auth import aws, exceptions
from google.oauth2 import id_token

from fedspan.errors import CloudUnavailable, CredentialRejected, Denied, ProviderError
from fedspan.providers.remote import Bearer

FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
EARLY: Final = timedelta(minutes=5)
"""A token that ends so soon is replaced: what it opens may take a while."""
TIMEOUT_S: Final = 10.0
SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
AWS: Final = "urn:ietf:params:aws:token-type:aws4_request"
NO_TOKEN: Final = "what Google gave is no ID token"
ACCESS, IDENTITY = ":generateAccessToken", ":generateIdToken"


@dataclass
class IdTokens:
    """The ID token for `audience`, kept until shortly before it ends.

    Raises (when called):
        CredentialRejected: there is no identity here, or Google does not take it.
        Denied: the identity may not stand for the service account.
        CloudUnavailable, ProviderError
    """

    audience: str
    now: Callable[[], datetime]
    _token: str = field(default="", repr=False)
    _until: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(self) -> str:
        with self._lock:
            if self._until is None or self.now() >= self._until - EARLY:
                token = _fetched(self.audience)
                self._token, self._until = token, _end(token)
            return self._token


def _end(token: str) -> datetime:
    """When `token` ends, by its own word: whoever it is shown to will check it."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError):
        raise ProviderError(NO_TOKEN) from None


class _Asking:
    """google-auth's transport, which waits less long and leaves it to our callers to try again:
    google-auth would for a quarter of a minute."""

    def __init__(self, session: requests.Session) -> None:
        self._request = google.auth.transport.requests.Request(session=session)
        self.session = session

    def __call__(self, *given: Any, **named: Any) -> Any:
        answer = self._request(*given, **{"timeout": TIMEOUT_S, **named})
        if answer.status == 429 or answer.status >= 500:
            raise CloudUnavailable(f"Google gives no ID token just now: status {answer.status}")
        return answer


def _fetched(audience: str) -> str:
    config = _configuration(os.environ.get(FILE))
    with requests.Session() as session:
        asking = _Asking(session)
        try:
            if config is not None and config.get("type") == "external_account":
                return _federated(config, audience, asking)
            return str(id_token.fetch_id_token(asking, audience))  # type: ignore[no-untyped-call]
        except (exceptions.GoogleAuthError, ValueError) as exc:
            raise _translated(exc) from exc


def _translated(exc: Exception) -> ProviderError:
    """google-auth's words stay in the cause: they may repeat what was answered."""
    transport = exceptions.TransportError
    if isinstance(exc, transport) or isinstance(exc.__cause__, transport):
        return CloudUnavailable("Google gives no ID token: no answer")
    if isinstance(exc, exceptions.MalformedError) or not isinstance(
        exc, exceptions.GoogleAuthError
    ):
        return ProviderError(NO_TOKEN)
    if isinstance(exc, exceptions.DefaultCredentialsError):
        return CredentialRejected(
            f"no Google identity here: no metadata server answers, and {FILE} names no service "
            "account or federation"
        )
    return CredentialRejected("Google does not take the identity of this machine")


def _configuration(file: str | None) -> dict[str, Any] | None:
    """What is in `file`, if one is named."""
    if not file:
        return None
    try:
        found = json.loads(Path(file).read_bytes())
    except (OSError, ValueError) as exc:
        raise CredentialRejected(f"{FILE}: cannot be read: {type(exc).__name__}") from exc
    if not isinstance(found, dict):
        raise CredentialRejected(f"{FILE}: is no credential of Google's")
    return found


def _federated(config: Mapping[str, Any], audience: str, asking: _Asking) -> str:
    """An ID token of the service account that `config` lets us stand for. google-auth gets us in
    as ourselves; what it would make of that is access tokens only."""
    account = str(config.get("service_account_impersonation_url", ""))
    if config.get("subject_token_type") != AWS or not account.endswith(ACCESS):
        raise CredentialRejected(f"{FILE}: lets no AWS role stand for a service account")
    own = {name: value for name, value in config.items() if not name.startswith("service_account_")}
    try:
        credentials = aws.Credentials.from_info(own, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    except (exceptions.GoogleAuthError, ValueError) as exc:
        raise CredentialRejected(f"{FILE}: is no whole configuration of a federation") from exc
    credentials.refresh(asking)
    try:
        answer = asking.session.post(
            account.removesuffix(ACCESS) + IDENTITY,
            json={"audience": audience, "includeEmail": True},
            auth=Bearer(credentials.token),
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )
    except requests.RequestException as exc:
        raise CloudUnavailable(f"IAM gives no ID token: {type(exc).__name__}") from None
    return _given(answer)


def _given(answer: requests.Response) -> str:
    match answer.status_code:
        case 200:
            try:
                return str(answer.json()["token"])
            except (ValueError, KeyError, TypeError):
                raise ProviderError(NO_TOKEN) from None
        case 401:
            raise CredentialRejected("IAM does not take the federated identity")
        case 403 | 404:
            raise Denied(
                "the federated identity needs iam.serviceAccounts.getOpenIdToken on the service "
                "account (roles/iam.serviceAccountOpenIdTokenCreator)"
            )
        case status if status == 429 or status >= 500:
            raise CloudUnavailable(f"IAM gives no ID token just now: status {status}")
        case status:
            raise ProviderError(f"IAM gives no ID token: status {status}")
