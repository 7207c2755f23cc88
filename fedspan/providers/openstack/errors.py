"""What OpenStack's refusals mean."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urlsplit

import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from fedspan.domain.credentials import OpenStackSecret
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    NotOffered,
    ProviderError,
    QuotaReached,
    Throttled,
)

WORDS: Final = (
    # Nova's own answers come in words only: status, what is said, what it means.
    (403, r"quota exceeded|number of key pairs", QuotaReached),
    (409, r"quota exceeded", QuotaReached),  # Neutron's: OverQuota
    (403, r"zero disk", NotOffered),  # a flavor only for machines that boot from a volume
    (400, r"flavor .* could not be found|flavor's (memory|disk) is too small", NotOffered),
    (400, r"can not find requested image|image .* (could not be found|is not active)", NotOffered),
    (400, r"network .* could not be found", NotOffered),
)
STATUSES: Final[dict[int, type[ProviderError]]] = {
    401: Denied,  # by a service, although Keystone gave a token: see `_of_status`
    403: Denied,
    404: NotOffered,
    429: Throttled,
}
MALFORMED: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What an answer that is not as it should be comes to, here or in the SDK."""
LOGINS: Final = (
    "The request you have made requires authentication",
    "You are not authorized to perform the requested action",
    "Could not find Application Credential",
    "Could not find Project",
    "Could not find User",
    "Could not find Domain",
    "The password is expired and needs to be changed",
    "The account is locked",
)
"""Keystone's own words on a login. No others are repeated: whoever answers was sent the secret."""
LONGEST: Final = 2_000
"""Characters of an error."""
UNKNOWN_CA: Final = "register the credential with the PEM of the CA that signed it (`ca`)"


class Hidden:
    """What no error and no note says: the values of a secret, and the tokens it was given."""

    def __init__(self, secret: OpenStackSecret) -> None:
        self._spelled: frozenset[str] = frozenset()
        for one in (secret.password, secret.application_credential_secret):
            self.add(one.get_secret_value() if one else None)

    def add(self, value: str | None) -> None:
        if value and value not in self._spelled:
            spelled = {value, json.dumps(value)[1:-1], html.escape(value), quote(value)}
            self._spelled |= (spelled | {_plain(one) for one in spelled}) - {""}

    def out_of(self, said: str) -> str:
        for one in sorted(self._spelled, key=len, reverse=True):
            said = said.replace(one, "***")
        return said

    def told_by(self, exc: BaseException | None) -> bool:
        """Whether an error, or what it came from, says any of it."""
        while exc is not None:
            if self.out_of(str(exc)) != str(exc):
                return True
            exc = exc.__cause__ or exc.__context__
        return False


@contextmanager
def contained(action: str, hidden: Hidden) -> Iterator[None]:
    """Around all that is done with a cloud. Whatever it says, what comes out is of our own
    errors, and has nothing of what is `hidden`; nor have its causes, which logs show."""
    try:
        with translated(action):
            yield
    except FedspanError as exc:
        told = hidden.told_by(exc)
        if not told and len(str(exc)) <= LONGEST:
            raise
        raise type(exc)(hidden.out_of(str(exc))[:LONGEST]) from None if told else exc


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except FedspanError:
        raise
    except (auth.HttpError, sdk.HttpException) as exc:
        raise _of_answer(action, exc) from (None if _is_login(exc) else exc)
    except (auth.CatalogException, sdk.ServiceDisabledException) as exc:
        raise NotOffered(f"openstack {action}: {exc}") from exc
    except auth.SSLError as exc:
        raise ProviderError(f"openstack {action}: {_short(exc)}; {UNKNOWN_CA}") from exc
    except (auth.ConnectionError, requests.RequestException) as exc:
        raise CloudUnavailable(f"openstack {action}: {_short(exc)}") from exc
    except auth.InvalidResponse as exc:
        raise InvalidRequest("auth_url: who answers there is no Keystone v3") from exc
    except (auth.ClientException, sdk.SDKException) as exc:
        raise ProviderError(f"openstack {action}: {_short(exc)}") from exc
    except MALFORMED as exc:
        kind = type(exc).__name__
        raise ProviderError(
            f"openstack {action}: an answer makes no sense ({kind}: {_short(exc)})"
        ) from exc


@contextmanager
def despite(words: str) -> Iterator[None]:
    """Let a conflict pass that says these words: what was wanted is so already, or not yet. Other
    conflicts are not: Neutron says by them that a quota is reached."""
    try:
        yield
    except sdk.ConflictException as exc:
        if words not in str(exc).lower():
            raise


def _of_answer(action: str, exc: auth.HttpError | sdk.HttpException) -> FedspanError:
    status = int(getattr(exc, "http_status", 0) or getattr(exc, "status_code", 0) or 0)
    said = _short(exc)
    if _is_login(exc):
        return _of_login(action, status, said)
    for row, words, error in WORDS:
        if row == status and re.search(words, said, re.IGNORECASE):
            return error(f"openstack {action}: {said}")
    return _of_status(status)(f"openstack {action}: {said}")


def _of_login(action: str, status: int, said: str) -> FedspanError:
    words = next((one for one in LOGINS if one.lower() in said.lower()), "")
    told = f"openstack {action}: status {status}" + (f": {words}" if words else "")
    # An application credential that was deleted is 404: "Could not find Application Credential".
    if status in (401, 403) or (status == 404 and words):
        return CredentialRejected(told)
    if status in (300, 404, 405):
        return InvalidRequest("auth_url: who answers there is no Keystone v3")
    return _of_status(status)(f"openstack {action}: status {status}")


def _is_login(exc: auth.HttpError | sdk.HttpException) -> bool:
    asked = urlsplit(str(getattr(exc, "url", "") or "")).path
    return asked.endswith("/auth/tokens")


def _of_status(status: int) -> type[ProviderError]:
    """A service that takes no token Keystone has just given is forbidden by the access rules of
    an application credential: they answer 401, and a rejected credential fails at Keystone."""
    if status >= 500:
        return CloudUnavailable
    return STATUSES.get(status, ProviderError)


def _short(exc: BaseException) -> str:
    """What the cloud said, without its HTML pages."""
    return _plain(str(exc)) or type(exc).__name__


def _plain(said: str) -> str:
    said = re.sub(r"<[^>]*>", " ", said)
    return re.sub(r"\s+", " ", said).strip()
