"""As whom we call: by a service account's key, or as what the environment makes of us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import google.auth
import requests
from google.auth import jwt
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from requests.auth import AuthBase

from fedspan.domain.credentials import GcpSecret
from fedspan.errors import CredentialRejected

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
LONGEST_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Credentials of google-auth, and the project they are used in."""

    credentials: Credentials
    project: str
    regions: tuple[str, ...] = ()


def of_key(secret: GcpSecret) -> Identity:
    """It makes its tokens itself, with the private key, as Google's own clients do.

    Raises:
        CredentialRejected: that is no key.
    """
    try:
        credentials = jwt.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            key_file(secret), audience=None, additional_claims={"scope": SCOPE}
        )
    except ValueError:  # its words may be of the key
        raise CredentialRejected("gcp: the credential's private key cannot be read") from None
    return Identity(credentials, secret.project_id, secret.regions)


def of_environment() -> Identity:
    """A function's own, or what ``GOOGLE_APPLICATION_CREDENTIALS`` names.

    Raises:
        CredentialRejected: there is none, or no project is known.
    """
    try:
        credentials, project = google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as exc:
        raise CredentialRejected(f"gcp: {exc}") from exc
    if not project:
        raise CredentialRejected("gcp: no project is known here; set GOOGLE_CLOUD_PROJECT")
    return Identity(credentials, project)


def key_file(secret: GcpSecret) -> dict[str, str]:
    """As google-auth takes it."""
    return {
        "type": "service_account",
        "client_email": secret.client_email,
        "private_key_id": secret.private_key_id,
        "private_key": secret.private_key.get_secret_value(),
        "token_uri": secret.token_uri,
    }


class Bearer(AuthBase):
    """Adds a token that `credentials` make or fetch; a new one when it has run out."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session = requests.Session()  # for what needs no token: to get one
        self._request = Request(self._session)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._credentials.valid:
            self._credentials.refresh(self._timed)  # type: ignore[no-untyped-call]
        token = self._credentials.token
        text = token.decode() if isinstance(token, bytes) else token
        request.headers["Authorization"] = f"Bearer {text}"
        return request

    def close(self) -> None:
        self._session.close()

    def _timed(self, *given: Any, **named: Any) -> Any:
        return self._request(*given, **{**named, "timeout": LONGEST_S})
