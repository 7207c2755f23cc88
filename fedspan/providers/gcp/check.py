"""Who a Google key is, and what it may do: asked of Google itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from fedspan.domain.credentials import Examination, GcpSecret, Identity, Permission
from fedspan.errors import CredentialRejected, InvalidRequest, NotOffered
from fedspan.providers.addresses import check_address
from fedspan.providers.base import Surroundings
from fedspan.providers.gcp.documents import NETWORK_NAME
from fedspan.providers.gcp.errors import Refused, translated
from fedspan.providers.gcp.identity import LONGEST_S, SCOPE, key_file, of_key
from fedspan.providers.gcp.policy import PERMISSIONS
from fedspan.providers.gcp.rest import Calls

TOKEN_HOSTS: Final = frozenset(
    {"oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"}
)
"""Where Google gives tokens. google-auth would post to any address that a key names."""

USUAL: Final = "https://oauth2.googleapis.com/token"
NO_GPUS: Final = "no machines with GPUs: Container-Optimized OS, which they run, has no driver"

LISTING: Final = "compute.regions.list"
LOOKING: Final = "compute.networks.get"


def examine(secret: GcpSecret, around: Surroundings) -> Examination:
    """Raises `NotOffered`, too, where machines would have no network."""
    _check_token_uri(secret.token_uri, around.allow_loopback)
    key = of_key(secret)
    with translated(f"refresh the key {secret.private_key_id}"):
        _refresh(secret)
    with closing(Calls(key, around.endpoint)) as calls:
        allowed = _allowed(calls, secret)
        regions: Sequence[Mapping[str, Any]] = ()
        if LISTING in allowed:
            with translated("list regions"):
                shown = "name,status,quotas(metric,limit,usage)"
                regions = list(calls.listed("regions", fields=shown))
        if LOOKING in allowed:
            _check_network(calls, secret.project_id)
    names = _chosen(secret, regions) if LISTING in allowed else secret.regions
    return Examination(
        identity=Identity(subject=secret.client_email, account=secret.project_id),
        permissions=tuple(
            Permission(action=action, purpose=purpose, allowed=action in allowed)
            for action, purpose in PERMISSIONS.items()
        ),
        regions=names,
        notes=(*_notes(secret, regions, names), *_unasked(allowed), NO_GPUS),
    )


def _check_token_uri(uri: str, allow_loopback: bool) -> None:
    """Raises `InvalidRequest` unless it is Google's, or a test's. Never repeats it: it may be a
    key that was pasted at the wrong place."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if host not in TOKEN_HOSTS and not (allow_loopback and _loopback(host)):
        raise InvalidRequest(f"token_uri: is not where Google gives tokens, such as {USUAL}")
    check_address(uri, allow_loopback=allow_loopback, field="token_uri")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refresh(secret: GcpSecret) -> None:
    """Have Google give a token for it, which nobody uses: a key that was revoked gets none."""
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key_file(secret), scopes=[SCOPE]
    )
    with requests.Session() as session:
        session.max_redirects = 0
        credentials.refresh(partial(Request(session), timeout=LONGEST_S))


def _allowed(calls: Calls, secret: GcpSecret) -> set[str]:
    """Raises `CredentialRejected` when it has nothing to do with the project."""
    try:
        with translated("test permissions"):
            return _tested(calls, secret)
    except _Stranger as exc:
        raise CredentialRejected(
            f"gcp: {secret.client_email} has no part in the project {secret.project_id}: it is of "
            "another project, or there is no such project"
        ) from exc


class _Stranger(Exception):
    pass


def _tested(calls: Calls, secret: GcpSecret) -> set[str]:
    try:
        allowed = calls.allowed(list(PERMISSIONS))
    except Refused as exc:
        disabled = {"SERVICE_DISABLED", "accessNotConfigured"} & set(exc.codes)
        if exc.status in (403, 404) and not disabled:
            raise _Stranger from exc
        raise
    if not allowed and f"@{secret.project_id}." not in secret.client_email:
        raise _Stranger
    return allowed


def _check_network(calls: Calls, project: str) -> None:
    """Raises `NotOffered` unless it is there, with a subnetwork in every region."""
    why = ""
    with translated("look for the network"):
        try:
            shown = "name,autoCreateSubnetworks"
            network = calls.get("global", "networks", NETWORK_NAME, fields=shown)
            if network.get("autoCreateSubnetworks") is False:
                why = "makes no subnetworks by itself (mode custom): delete it"
        except Refused as exc:
            if exc.status != 404:
                raise
            why = "is not there: make it"
    if why:
        raise NotOffered(
            f"gcp: machines are in the network {NETWORK_NAME}, which {why}; "
            f"gcloud compute networks create {NETWORK_NAME} --subnet-mode=auto --project={project}"
        )


def _chosen(secret: GcpSecret, regions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    up = tuple(one["name"] for one in regions if one.get("status") == "UP")
    unknown = [name for name in secret.regions if name not in up]
    if unknown:
        raise NotOffered(
            f"gcp: the project {secret.project_id} has no region {', '.join(unknown)}; it has "
            f"{', '.join(up)}"
        )
    return secret.regions or up


def _notes(
    secret: GcpSecret, regions: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Iterator[str]:
    if not regions:
        yield f"regions and quotas could not be asked: {LISTING} is missing"
        return
    left = {
        one["name"]: int(quota["limit"] - quota["usage"])
        for one in regions
        if one["name"] in names
        for quota in one.get("quotas", ())
        if quota.get("metric") == "CPUS"
    }
    if left:
        low, high = min(left, key=left.__getitem__), max(left, key=left.__getitem__)
        yield f"vCPUs left of the quota: from {left[low]} in {low} to {left[high]} in {high}"


def _unasked(allowed: Collection[str]) -> Iterator[str]:
    if LOOKING not in allowed:
        yield f"the network {NETWORK_NAME} could not be looked for: {LOOKING} is missing"
