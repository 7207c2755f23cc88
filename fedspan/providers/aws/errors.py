"""What AWS's refusals mean. The codes are those of EC2's reference, of STS, and of Systems Manager.

A code means one error. Where two causes hide behind one code, the message names both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    NoCapacity,
    NotOffered,
    ProviderError,
    QuotaReached,
    Throttled,
)

CODES: Final[Mapping[str, type[ProviderError]]] = {
    "InsufficientInstanceCapacity": NoCapacity,
    "InsufficientHostCapacity": NoCapacity,
    "InsufficientCapacity": NoCapacity,
    "UnfulfillableCapacity": NoCapacity,
    "SpotMaxPriceTooLow": NoCapacity,  # we name none, so it is the price on demand
    "MaxSpotInstanceCountExceeded": QuotaReached,
    "InstanceLimitExceeded": QuotaReached,
    "VcpuLimitExceeded": QuotaReached,
    "SecurityGroupLimitExceeded": QuotaReached,
    "RulesPerSecurityGroupLimitExceeded": QuotaReached,
    "NetworkInterfaceLimitExceeded": QuotaReached,
    "VolumeLimitExceeded": QuotaReached,
    "InsufficientFreeAddressesInSubnet": QuotaReached,
    "Unsupported": NotOffered,  # the type, in the zones there are
    "VolumeTypeNotAvailableInZone": NotOffered,
    "InvalidInstanceType": NotOffered,
    "InvalidAMIID.NotFound": NotOffered,
    "InvalidAMIID.Unavailable": NotOffered,
    "InvalidAMIID.Malformed": NotOffered,
    "VPCIdNotSpecified": NotOffered,  # no default VPC
    "OptInRequired": NotOffered,
    "RequestLimitExceeded": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "InternalError": CloudUnavailable,
    "InternalFailure": CloudUnavailable,
    "InternalServerError": CloudUnavailable,
    "Unavailable": CloudUnavailable,
    "ServiceUnavailable": CloudUnavailable,
    # What was made a moment ago is not yet seen everywhere: the same call will do soon.
    "InvalidGroup.NotFound": CloudUnavailable,
    "InvalidGroup.Duplicate": CloudUnavailable,
    "InvalidKeyPair.NotFound": CloudUnavailable,
    "IdempotentParameterMismatch": CloudUnavailable,
    "UnauthorizedOperation": Denied,
    "AccessDenied": Denied,
    "AccessDeniedException": Denied,
    "OperationNotPermitted": Denied,  # somebody protected the machine against termination
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": Denied,
    "PendingVerification": Denied,
    "Blocked": Denied,
    "AuthFailure": CredentialRejected,
    "InvalidClientTokenId": CredentialRejected,
    "UnrecognizedClientException": CredentialRejected,
    "ExpiredToken": CredentialRejected,
    "ExpiredTokenException": CredentialRejected,
    "RequestExpired": CredentialRejected,
    "SignatureDoesNotMatch": CredentialRejected,
    "InvalidSignatureException": CredentialRejected,
    "IncompleteSignature": CredentialRejected,
    "MissingAuthenticationToken": CredentialRejected,
}

_CLOCK: Final = "or the clock here is more than 5 minutes off: set it"
_DEFAULT_VPC: Final = (
    "the region has no default VPC: make one (aws ec2 create-default-vpc) or name other regions "
    "in the credential"
)
_EXPIRED: Final = "the session token has ended: register an access key of an IAM user"
HINTS: Final[Mapping[str, str]] = {
    "AuthFailure": "the access key is wrong or ended, or the region is not enabled",
    "InvalidClientTokenId": "AWS does not know the access key id: it is wrong, deleted or disabled",
    "UnrecognizedClientException": "AWS does not know the access key id",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": f"the session token has ended, {_CLOCK}",
    "SignatureDoesNotMatch": f"the secret access key is wrong, {_CLOCK}",
    "InvalidSignatureException": f"the secret access key is wrong, {_CLOCK}",
    "VPCIdNotSpecified": _DEFAULT_VPC,
    "OptInRequired": "the account is not subscribed to this, or the region is not enabled",
    "IdempotentParameterMismatch": "its machine was made a moment ago and is not shown yet",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "once per account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    ),
}

LACKING: Final = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
"""What AWS says where a permission lacks."""

_ZONAL: Final = frozenset(
    {"Unsupported", "VolumeTypeNotAvailableInZone", "InsufficientFreeAddressesInSubnet"}
)
_NO_SUBNET: Final = "No default subnet for availability zone"
"""Its code, InvalidInput, is that of much else."""

_STRANGE: Final = "the answer is not one of AWS's: is there a proxy in between?"
_ASIDES: Final = (
    " Encoded authorization failure message",
    "The Canonical String for this request",  # with the session token
)
MOST_SAID: Final = 400
"""Characters of AWS's own words; an encoded reason of a refusal has thousands."""


def code_of(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def said_by(exc: ClientError) -> str:
    said = str(exc.response.get("Error", {}).get("Message", ""))
    for aside in _ASIDES:
        said = said.partition(aside)[0]
    return said[:MOST_SAID].rstrip()


def kind_of(exc: ClientError) -> type[ProviderError]:
    response: Mapping[str, Any] = exc.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return CODES.get(code_of(exc), CloudUnavailable if status >= 500 else ProviderError)


def of_zone(exc: ClientError) -> type[ProviderError] | None:
    """What the refusal of a launch in a zone means; None where another zone would say the same."""
    kind = kind_of(exc)
    if kind is NoCapacity or code_of(exc) in _ZONAL:
        return kind
    return NotOffered if said_by(exc).startswith(_NO_SUBNET) else None


@contextmanager
def translated(action: str) -> Iterator[None]:
    """As an error of ours. Of what botocore raises only AWS's own words are repeated: others may
    hold what was sent, a session token or a machine's token among it; nor are they its cause."""
    try:
        yield
    except ClientError as exc:
        code = code_of(exc)
        hint = f" ({HINTS[code]})" if code in HINTS else ""
        raise kind_of(exc)(f"aws {action}: {code}: {said_by(exc)}{hint}") from exc
    except (HTTPClientError, BotoConnectionError) as exc:
        raise _unsaid(action, exc) from None
    except ResponseParserError:
        raise CloudUnavailable(f"aws {action}: {_STRANGE}") from None
    except LookupError as exc:  # XML, without what AWS always says
        raise CloudUnavailable(f"aws {action}: {_STRANGE} (no {exc})") from exc
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as exc:
        raise CredentialRejected(f"aws {action}: this process has no role: {exc}") from exc
    except InvalidRegionError as exc:
        raise NotOffered(f"aws {action}: that is no name of a region") from exc
    except BotoCoreError as exc:
        raise ProviderError(f"aws {action}: {type(exc).__name__}") from None


def _unsaid(action: str, exc: BotoCoreError) -> ProviderError:
    inner = exc.kwargs.get("error")
    names = type(exc).__name__
    if isinstance(inner, Exception):
        names += f": {type(inner).__name__}"
    if type(exc) is HTTPClientError and isinstance(inner, ValueError):
        return ProviderError(
            f"aws {action}: {names}: the request could not be made; does the credential hold a "
            "line break, or what is not ASCII?"
        )
    return CloudUnavailable(f"aws {action}: {names}")


@contextmanager
def tolerating(*codes: str) -> Iterator[None]:
    """Refusals with these codes say that the thing is already as it should be."""
    try:
        yield
    except ClientError as exc:
        if code_of(exc) not in codes:
            raise


@contextmanager
def removing(seen: Callable[[], object], *codes: str) -> Iterator[None]:
    """As `tolerating`, of a call on something that may be gone by now: where the policy asks for
    its tag, EC2 says "denied" then. A denial counts while the thing is still `seen`."""
    try:
        yield
    except ClientError as exc:
        if code_of(exc) not in codes and (code_of(exc) not in LACKING or seen()):
            raise
