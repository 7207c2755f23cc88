"""Who calls: service accounts, their keys, and the tokens made with these."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.clouds.gcp.projects import ApiError

TOKEN_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
SCOPES: Final = frozenset(
    f"https://www.googleapis.com/auth/{one}" for one in ("cloud-platform", "cloudkms", "compute")
)
LIFETIME_S: Final = 3600
SKEW_S: Final = 300
TIMEFRAME: Final = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)


@cache
def private_key(which: str = "usual") -> str:
    """PEM. Making one takes a while, so one serves all who do not ask for another."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, kind, serialization.NoEncryption()).decode()


@cache
def _public(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), None).public_key()


@dataclass
class Account:
    """A service account and the public keys that prove it, by their ids."""

    email: str
    project: str
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass
class Accounts:
    """`now` is the server's clock, in seconds since 1970."""

    now: Callable[[], float] = time.time
    by_email: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, tuple[Account, float]] = field(default_factory=dict)

    def add(self, email: str, project: str, key_id: str, pem: str) -> Account:
        account = self.by_email.setdefault(email, Account(email, project))
        account.keys[key_id] = _public(pem)
        return account

    def grant(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What ``POST /token`` answers to a JWT bearer grant."""
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant"}
        try:
            account, claims = self._proved(form.get("assertion", ""))
        except jwt.PyJWTError as exc:
            return 400, {"error": "invalid_grant", "error_description": str(exc)}
        if claims.get("aud") != TOKEN_AUDIENCE:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT: bad audience"}
        if not SCOPES & set(str(claims.get("scope", "")).split()):
            said = "Invalid OAuth scope or ID token audience provided."
            return 400, {"error": "invalid_scope", "error_description": said}
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.tokens[token] = account, self.now() + LIFETIME_S
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def caller(self, header: str, service: str) -> Account:
        """Who sends this ``Authorization`` to `service`, by a token of ours or one self-signed."""
        token = header.removeprefix("Bearer ")
        if token in self.tokens:
            account, until = self.tokens[token]
            if self.now() < until:
                return account
        elif token.count(".") == 2:
            try:
                account, claims = self._proved(token)
            except jwt.PyJWTError:
                raise _unknown() from None
            known = claims.get("aud") == f"https://{service}/"
            if claims.get("sub") == account.email and (
                known or SCOPES & set(str(claims.get("scope", "")).split())
            ):
                return account
        raise _unknown()

    def _proved(self, token: str) -> tuple[Account, dict[str, Any]]:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss", "")
        account = self.by_email.get(issuer)
        if account is None:
            raise jwt.InvalidIssuerError("Invalid grant: account not found")
        key = account.keys.get(jwt.get_unverified_header(token).get("kid", ""))
        unverified = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
        try:
            claims = jwt.decode(token, key, algorithms=["RS256"], options=unverified) if key else {}
        except jwt.InvalidSignatureError:
            claims = {}
        if not claims:
            raise jwt.InvalidSignatureError("Invalid JWT Signature.")
        made, ends = float(claims.get("iat", 0)), float(claims.get("exp", 0))
        if not (made - SKEW_S <= self.now() <= ends and ends - made <= LIFETIME_S + SKEW_S):
            raise jwt.ExpiredSignatureError(TIMEFRAME)
        return account, dict(claims)


def _unknown() -> ApiError:
    said = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential."
    )
    return ApiError(401, "authError", said, status="UNAUTHENTICATED")
