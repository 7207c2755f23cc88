"""Which of an account's regions machines can be in, asked by calls that make nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from fedspan.errors import CloudUnavailable, Denied, NotOffered, ProviderError, Throttled
from fedspan.providers.aws.errors import LACKING, code_of, translated

MOST_AT_ONCE: Final = 12
NO_VPC: Final = "VPCIdNotSpecified"
_ORGANISATION: Final = "service control policy"
"""So AWS names the policy that refused, where it is none of the account's own."""


@dataclass(frozen=True, slots=True)
class Usable:
    regions: tuple[str, ...]
    notes: tuple[str, ...] = ()


def usable(
    regions: Sequence[str], client: Callable[[str], Any], ours: Any, firewall: dict[str, Any]
) -> Usable:
    """Those that let machines be seen, and have a network for them. Where no region does, and no
    organisation forbids it, the permission itself lacks: then all of them, and the check of
    permissions tells. `client` makes one of EC2 for a region.

    Raises:
        Denied: an organisation's policy closes all of them.
        NotOffered: none of those that are open has a default VPC; a name is no region's.
        CredentialRejected, ProviderError: what is wrong with one of them is no matter of it.
    """
    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        asked = [pool.submit(_tried, client, region, ours, firewall) for region in regions]
    said = dict(zip(regions, (one.result() for one in asked), strict=True))
    closed = [region for region, exc in said.items() if _code(exc) in LACKING]
    bare = [region for region, exc in said.items() if _code(exc) == NO_VPC]
    notes = []
    for region, exc in said.items():
        if isinstance(exc, CloudUnavailable | Throttled):
            notes.append(f"{region} did not answer: {exc}")
        elif exc is not None and region not in (*closed, *bare):
            raise exc
    left = tuple(one for one in regions if one not in (*closed, *bare))
    if len(closed) == len(regions):
        if any(_ORGANISATION in str(exc) for exc in said.values()):
            raise Denied(_forbidden(closed))
        return Usable(tuple(regions))
    if not left:
        raise NotOffered(_without_vpc(bare))
    if closed:
        notes.append(f"may not be used in {', '.join(closed)}: left out")
    if bare:
        notes.append(f"no default VPC in {', '.join(bare)}: left out; {_make_one(bare[0])}")
    return Usable(left, tuple(notes))


def _tried(
    client: Callable[[str], Any], region: str, ours: Any, firewall: dict[str, Any]
) -> ProviderError | None:
    try:
        with translated(f"look into {region}"):
            ec2 = client(region)
            ec2.describe_instances(Filters=ours)
            try:
                ec2.create_security_group(**firewall, DryRun=True)
            except ClientError as exc:
                # Any other refusal is about the permission, which is asked for by itself.
                if code_of(exc) == NO_VPC:
                    raise
    except ProviderError as exc:
        return exc
    return None


def _code(exc: ProviderError | None) -> str:
    cause = exc.__cause__ if exc else None
    return code_of(cause) if isinstance(cause, ClientError) else ""


def _forbidden(closed: Sequence[str]) -> str:
    return (
        f"aws: a policy of the account's organisation forbids {', '.join(closed)}: name regions "
        "in the credential that it allows"
    )


def _without_vpc(bare: Sequence[str]) -> str:
    return (
        f"aws: there is no default VPC in {', '.join(bare)}, and machines are in that: "
        f"{_make_one(bare[0])}, or name other regions in the credential"
    )


def _make_one(region: str) -> str:
    return f"aws ec2 create-default-vpc --region {region} makes one"
