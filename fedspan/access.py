"""Who calls, and what that allows: signed tokens, read without a look-up.

People hold tokens with a role (viewer, operator, admin). Machines hold tokens for one job and
epoch, or one site. A token opens only what it names; what is forbidden looks like what is
unknown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import jwt

from fedspan.domain.values import Value
from fedspan.errors import NotFound, Unauthorized

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "fedspan"


class CallerRole(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AGGREGATOR = "aggregator"
    SITE = "site"


PEOPLE: Final = (CallerRole.VIEWER, CallerRole.OPERATOR, CallerRole.ADMIN)


class Caller(Value):
    """Whom a token speaks for. `job` and `epoch` bind an aggregator, `site` a participant."""

    role: CallerRole
    job: str | None = None
    epoch: int | None = None
    site: str | None = None


class Tokens:
    """Issues and reads tokens under one secret key of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a signing key has at least 32 bytes")
        self._key = key

    def issue(self, caller: Caller, now: datetime, lifetime: timedelta) -> str:
        claims = caller.model_dump(mode="json", exclude_none=True)
        claims |= {"aud": AUDIENCE, "iat": now, "exp": now + lifetime}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def read(self, token: str | None) -> Caller:
        """The caller `token` speaks for. Raises `Unauthorized`."""
        if not token:
            raise Unauthorized("a token is needed: send `Authorization: Bearer TOKEN`")
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM], audience=AUDIENCE)
        except jwt.ExpiredSignatureError:
            raise Unauthorized("this token has expired; get a new one") from None
        except jwt.InvalidTokenError:
            raise Unauthorized("this token is not one of ours") from None
        return Caller.model_validate({k: v for k, v in claims.items() if k in Caller.model_fields})


def bearer(header: str) -> str | None:
    """The token of an ``Authorization`` header, if it has one."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def allow_person(caller: Caller, *, at_least: CallerRole) -> None:
    """Raises `NotFound` unless `caller` is a person with this role or a higher one."""
    if caller.role not in PEOPLE or PEOPLE.index(caller.role) < PEOPLE.index(at_least):
        raise NotFound("no such resource, or not for this token")


def allow_aggregator(caller: Caller, job: str, epoch: int) -> None:
    if caller != Caller(role=CallerRole.AGGREGATOR, job=job, epoch=epoch):
        raise NotFound(f"no job {job!r} for this token")


def allow_site(caller: Caller, site: str) -> None:
    if caller != Caller(role=CallerRole.SITE, site=site):
        raise NotFound(f"no site {site!r} for this token")
