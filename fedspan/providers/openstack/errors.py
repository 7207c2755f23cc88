"""What OpenStack's refusals mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

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
UNKNOWN_CA: Final = "register the credential with the PEM of the CA that signed it (`ca`)"


@contextmanager
def translated(action: str) -> Iterator[None]:
    try:
        yield
    except FedspanError:
        raise
    except (auth.HttpError, sdk.HttpException) as exc:
        raise _of_answer(action, exc) from exc
    except (auth.CatalogException, sdk.ServiceDisabledException) as exc:
        raise NotOffered(f"openstack {action}: {exc}") from exc
    except auth.SSLError as exc:
        raise ProviderError(f"openstack {action}: {_short(exc)}; {UNKNOWN_CA}") from exc
    except (auth.ConnectionError, requests.RequestException) as exc:
        raise CloudUnavailable(f"openstack {action}: {_short(exc)}") from exc
    except auth.InvalidResponse as exc:
        raise InvalidRequest("auth_url: who answers there is no Keystone v3") from exc
    except (auth.ClientException, sdk.SDKException, ValueError) as exc:
        raise ProviderError(f"openstack {action}: {_short(exc)}") from exc


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
    asked = urlsplit(str(getattr(exc, "url", "") or "")).path
    said = _short(exc)
    if asked.endswith("/auth/tokens"):
        return _of_login(action, status, said)
    for row, words, error in WORDS:
        if row == status and re.search(words, said, re.IGNORECASE):
            return error(f"openstack {action}: {said}")
    return _of_status(status)(f"openstack {action}: {said}")


def _of_login(action: str, status: int, said: str) -> FedspanError:
    # An application credential that was deleted is 404: "Could not find Application Credential".
    unknown = status == 404 and "could not find" in said.lower()
    if status in (401, 403) or unknown:
        return CredentialRejected(f"openstack {action}: {said}")
    if status in (300, 404, 405):
        return InvalidRequest("auth_url: who answers there is no Keystone v3")
    return _of_status(status)(f"openstack {action}: {said}")


def _of_status(status: int) -> type[ProviderError]:
    """A service that takes no token Keystone has just given is forbidden by the access rules of
    an application credential: they answer 401, and a rejected credential fails at Keystone."""
    if status >= 500:
        return CloudUnavailable
    return STATUSES.get(status, ProviderError)


def _short(exc: BaseException) -> str:
    """What the cloud said, without its HTML pages."""
    said = re.sub(r"<[^>]*>", " ", str(exc))
    return re.sub(r"\s+", " ", said).strip()[:500] or type(exc).__name__
