"""The public name that stands for a cloud's region: connecting to it shows how far the region is.

Only a name whose connections end in the region itself is honest. Each row says on whose word it
does. Nobody promises it for ever: a result that is faster than light is not believed
(`fedspan.domain.measurements`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` may carry ``{region}``."""

    host: str
    port: int = 443


ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        # The EC2 API of one region: "we direct your request to the us-east-2 endpoint" (EC2
        # developer guide, "service endpoints"). Every region has it; the name gives IPv4 only.
        "aws": Endpoint("ec2.{region}.amazonaws.com"),
        "aws:cn-north-1": Endpoint("ec2.cn-north-1.amazonaws.com.cn"),  # their own domain
        "aws:cn-northwest-1": Endpoint("ec2.cn-northwest-1.amazonaws.com.cn"),
        # A regional endpoint "terminates TLS sessions in the location specified" (Cloud Storage,
        # "regional endpoints"). The global names (storage.googleapis.com and all like it) end at
        # the front end nearest to whoever asks, so they would call every region near. Not every
        # region has a regional endpoint; where there is none, the name does not resolve.
        "gcp": Endpoint("storage.{region}.rep.googleapis.com"),
        # Azure Monitor's metrics intake: there for "all public cloud regions", and metrics "must
        # be emitted to the same regional endpoint as the region where the resource is deployed"
        # (Azure Monitor, "custom metrics"). That the connection ends in the region follows from
        # this; it is not said. Names of other services (blob, SQL, Cosmos) need an account, and
        # management.azure.com goes to whichever region is near.
        "azure": Endpoint("{region}.monitoring.azure.com"),
    }
)
"""By provider; a row for one region (``provider:region``) comes before its provider's."""


def endpoint(region: str, table: Mapping[str, Endpoint] = ENDPOINTS) -> Endpoint | None:
    """Where to connect for `region` (``provider:name``); None where no honest name is known."""
    provider, _, name = region.partition(":")
    found = table.get(region) or table.get(provider)
    return Endpoint(found.host.format(region=name), found.port) if found else None
