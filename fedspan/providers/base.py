"""What every provider of machines does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from fedspan.domain.credentials import Examination, Secret
from fedspan.domain.machines import Machine, MachineSpec, Offer, Role
from fedspan.domain.spec import Need

if TYPE_CHECKING:
    from fedspan.placement.book import Book  # NumPy loads with the use cases that need it


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do, as data: placement filters on it, the contract suite reads it."""

    spot: bool = False
    user_data_bytes: int = 16_384
    roles: frozenset[Role] = frozenset(Role)
    """What its machines may be: a private cloud runs no aggregators, a public one no clients."""
    here: bool = False
    """Its machines are on this computer, and see its loopback and its files."""


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def offers(self, need: Need) -> Sequence[Offer]:
        """What could run `need` now, priced. Changes nothing."""

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        """Return when accepted, not when booted. One key never makes two machines: while the
        first is not gone, a repeat returns it.

        Raises:
            NoCapacity, QuotaReached, NotOffered, Throttled, CloudUnavailable, Denied,
            CredentialRejected, ProviderError
        """

    def machines(self, job: str | None = None) -> Sequence[Machine]:
        """Our machines not yet gone, of `job` or of all. The cloud, not our store, is the truth.
        One whose firewall, key or address is still there is listed, as stopped; as pending, while
        it may be that its launch is under way. Where only a part of the cloud answers, it raises,
        and the error has what was `found`."""

    def terminate(self, machine: Machine) -> None:
        """Ask for its end, and remove what of it can go now. Idempotent: an unknown machine counts
        as terminated. It is gone when `machines` no longer shows it; until then, ask again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an adapter of a cloud is given beside its credential.

    `images` are the container images of each role; `owner` marks everything this installation
    makes; `ssh_key`, an OpenSSH public key, is put on machines if it is given. `book` has the
    prices. `endpoint` replaces a cloud's public address; `allow_loopback` lets endpoints be on
    loopback and in plain HTTP, as test clouds are.
    """

    owner: str
    images: dict[Role, str]
    book: Callable[[], Book]
    now: Callable[[], datetime]
    ssh_key: str = ""
    endpoint: str | None = None
    allow_loopback: bool = False


class Clouds(Protocol):
    """From a credential to its cloud."""

    def examine(self, secret: Secret) -> Examination:
        """Ask the cloud who the credential is and what it may do. Makes and changes nothing.

        Raises:
            CredentialRejected: it proves nothing: wrong, expired, revoked, of another project.
            InvalidRequest: it names an address where no cloud is.
            CloudUnavailable, Throttled, NotOffered, Denied, ProviderError
        """

    def provider(self, name: str, secret: Secret) -> Provider:
        """The machines of a credential, under its `name`. Asks nothing yet."""
