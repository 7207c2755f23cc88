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
METADATA: Final = tuple(
    ipaddress.ip_network(one)
    for one in (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS: metadata, names, time
        "fd20:ce::254/128",  # Google
    )
)
NOBODY: Final = tuple(
    ipaddress.ip_network(one)
    for one in (
        "0.0.0.0/8",  # this host, to many a system
        "240.0.0.0/4",  # reserved, and broadcast
        "fec0::/10",  # site-local, long deprecated
    )
)
WRAPPINGS: Final = tuple(
    (ipaddress.ip_network(network), positions)
    for network, positions in (
        ("::/96", (96,)),  # as IPv4 was once put into IPv6
        ("::ffff:0:0/96", (96,)),  # mapped
        ("::ffff:0:0:0/96", (96,)),  # translated
        ("64:ff9b::/96", (96,)),  # NAT64
        ("64:ff9b:1::/48", (48, 56, 64, 96)),  # NAT64 of one's own, by any of its lengths
        ("2002::/16", (16,)),  # 6to4
        ("2001::/32", (32,)),  # Teredo's server; its client is below
    )
)
"""IPv6 networks whose addresses only wrap an IPv4 address, and the bits where it may begin."""
_TEREDO: Final = ipaddress.ip_network("2001::/32")


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
    for found in _addresses(host, port, field):
        check_peer(host, found, allow_loopback=allow_loopback, field=field)


def check_peer(host: str, address: str, *, allow_loopback: bool, field: str) -> None:
    """Return if `address`, one of those of `host`, may be spoken to. Raises `InvalidRequest`."""
    for one in meant(address):
        if wrong := _wrong(one, allow_loopback):
            named = host if host == str(one) else f"{host} ({one})"
            raise InvalidRequest(f"{field}: {named} is {wrong}")


def metadata(address: str) -> str:
    """What speaks against `address`, in any spelling, where all else may be spoken to; or ""."""
    return next((why for one in meant(address) if (why := _metadata(one))), "")


def meant(address: str) -> tuple[Address, ...]:
    """The address, and the IPv4 addresses that it wraps."""
    whole = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(whole, ipaddress.IPv4Address) or whole.is_loopback or whole.is_unspecified:
        return (whole,)
    wrapped = []
    for network, positions in WRAPPINGS:
        if whole in network:
            read = [_bits(whole, one) for one in positions]
            # Where several readings are possible all but one are wrong: only the bad ones count.
            wrapped += read if len(read) == 1 else [one for one in read if _dangerous(one)]
    if whole in _TEREDO:
        wrapped.append(ipaddress.IPv4Address(int(whole) & 0xFFFF_FFFF ^ 0xFFFF_FFFF))
    return (whole, *wrapped)


def _bits(address: ipaddress.IPv6Address, position: int) -> ipaddress.IPv4Address:
    """The IPv4 address that begins at a bit; bits 64 to 71 are left out, as RFC 6052 says."""
    bits = f"{int(address):0128b}"
    skip = bits[position:64] + bits[72:] if 32 < position <= 64 else bits[position:]
    return ipaddress.IPv4Address(int(skip[:32], 2))


def _addresses(host: str, port: int | None, field: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise CloudUnavailable(f"{field}: {host} does not resolve: {exc}") from exc
    return [str(one[4][0]) for one in found]


def _dangerous(address: ipaddress.IPv4Address) -> bool:
    return address.is_loopback or bool(_metadata(address))


def _metadata(address: Address) -> str:
    if address.is_link_local:
        return "link-local, where metadata services are"
    if any(address in one for one in METADATA):
        return "a cloud's metadata service"
    return ""


def _wrong(address: Address, allow_loopback: bool) -> str:
    if address.is_loopback:
        return "" if allow_loopback else "on loopback, where no cloud is"
    if why := _metadata(address):
        return why
    if address.is_unspecified or address.is_multicast or any(address in one for one in NOBODY):
        return "no machine's address"
    return ""
