"""Where a credential may send us: to a cloud, and not to what stands beside us.

A registered credential names an address (an OpenStack `auth_url`, the `token_uri` of a Google key)
to which the control plane then speaks. On a link-local address a cloud hands out the credentials of
the machine itself; on loopback our own parts listen.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from fedspan.errors import CloudUnavailable, InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA_NAMES: Final = frozenset({"metadata.google.internal", "metadata.goog", "metadata"})
METADATA: Final = frozenset(
    ipaddress.ip_address(one)
    for one in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NOBODY: Final = ipaddress.ip_network("240.0.0.0/4")  # reserved, and broadcast


def check_address(url: str, *, allow_loopback: bool, field: str) -> None:
    """Return if a request may be sent to `url`. Resolves its name and holds every address of it
    against the rules; private networks are fine, because private clouds are there.

    Raises:
        InvalidRequest: it may not; starts with `field`.
        CloudUnavailable: its name does not resolve.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as exc:
        raise InvalidRequest(f"{field}: {exc}") from exc
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_loopback):
        raise InvalidRequest(f"{field}: is no https URL, so a secret would go in plain text")
    if not host or "%" in host or parts.username is not None:
        raise InvalidRequest(f"{field}: needs a host and no user, as in https://host:5000/v3")
    if host in METADATA_NAMES:
        raise InvalidRequest(f"{field}: {host} is a cloud's metadata service")
    for address in _addresses(host, port, field):
        if wrong := _wrong(address, allow_loopback):
            raise InvalidRequest(f"{field}: {_named(host, address)} is {wrong}")


def _addresses(host: str, port: int | None, field: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise CloudUnavailable(f"{field}: {host} does not resolve: {exc}") from exc
    return [_inner(ipaddress.ip_address(str(one[4][0]).partition("%")[0])) for one in found]


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _wrong(address: Address, allow_loopback: bool) -> str:
    if address.is_loopback:
        return "" if allow_loopback else "on loopback, where no cloud is"
    if address.is_link_local:
        return "link-local, where metadata services are"
    if address in METADATA:
        return "a cloud's metadata service"
    if address.is_unspecified or address.is_multicast or address in _NOBODY:
        return "no machine's address"
    return ""


def _named(host: str, address: Address) -> str:
    return host if host == str(address) else f"{host} ({address})"
