"""Clouds in memory: accounts with secrets, permissions and machines, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fedspan.domain.credentials import (
    AwsSecret,
    Cloud,
    Examination,
    GcpSecret,
    Identity,
    OpenStackSecret,
    Permission,
    Registration,
    Secret,
)
from fedspan.domain.machines import Role
from fedspan.domain.parsing import parsed
from fedspan.errors import CredentialRejected, FedspanError, InvalidRequest
from fedspan.keys.file import FileKey
from fedspan.providers.base import Capabilities, Provider
from fedspan.providers.memory import MemoryProvider
from fedspan.services.registered import Registered
from tests.support.world import World, world

ACTIONS: Final[Mapping[Cloud, Mapping[str, str]]] = {
    Cloud.AWS: {"ec2:RunInstances": "start machines", "ec2:TerminateInstances": "end them"},
    Cloud.GCP: {"compute.instances.create": "start machines"},
    Cloud.OPENSTACK: {"compute:create": "start machines"},
}
ROLES: Final = {
    Cloud.AWS: frozenset({Role.AGGREGATOR}),
    Cloud.GCP: frozenset({Role.AGGREGATOR}),
    Cloud.OPENSTACK: frozenset({Role.CLIENT}),
}
PEM: Final = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"


@dataclass
class Account:
    """Who one credential is. `words` are the secrets by which it is let in now: a rotation has
    two of them for a while."""

    subject: str
    id: str
    words: set[str]
    denied: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    regions: tuple[str, ...] = ("region-1", "region-2")
    notes: tuple[str, ...] = ()


class MemoryClouds:
    """`accounts` by the public part of their credential. `fail_next` is raised by the next
    examination."""

    def __init__(self, now: Callable[[], datetime], *accounts: tuple[str, Account]) -> None:
        self.accounts = dict(accounts)
        self.fail_next: FedspanError | None = None
        self.examined = 0
        self._now = now
        self._machines: dict[str, MemoryProvider] = {}

    def examine(self, secret: Secret) -> Examination:
        self.examined += 1
        if self.fail_next is not None:
            fault, self.fail_next = self.fail_next, None
            raise fault
        account = self._account(secret)
        limits = () if isinstance(secret, OpenStackSecret) else secret.regions
        unknown = set(limits) - set(account.regions)
        if unknown:
            raise InvalidRequest(f"regions: no region {', '.join(sorted(unknown))}")
        return Examination(
            identity=Identity(subject=account.subject, account=account.id),
            permissions=tuple(
                Permission(action=action, purpose=purpose, allowed=self._allowed(account, action))
                for action, purpose in ACTIONS[secret.provider].items()
            ),
            regions=limits or account.regions,
            notes=account.notes,
        )

    def provider(self, name: str, secret: Secret) -> Provider:
        """The same machines for each credential of an account."""
        id = self._account(secret).id
        made = MemoryProvider(
            self._now, name=name, capabilities=Capabilities(roles=ROLES[secret.provider])
        )
        return self._machines.setdefault(id, made)

    def _account(self, secret: Secret) -> Account:
        who, word = _parts(secret)
        account = self.accounts.get(who)
        if account is None or word not in account.words:
            raise CredentialRejected(f"{secret.provider} does not know {who}, or not this secret")
        return account

    @staticmethod
    def _allowed(account: Account, action: str) -> bool | None:
        return None if action in account.unknown else action not in account.denied


def _parts(secret: Secret) -> tuple[str, str]:
    """What is public of it, and what is not."""
    match secret:
        case AwsSecret():
            return secret.access_key_id, secret.secret_access_key.get_secret_value()
        case GcpSecret():
            key = secret.private_key.get_secret_value()
            return secret.client_email, key.splitlines()[1]
        case OpenStackSecret(application_credential_secret=word) if word is not None:
            return str(secret.application_credential_id), word.get_secret_value()
        case OpenStackSecret(password=word):
            return str(secret.username), word.get_secret_value() if word else ""


KEY_ID: Final = "AKIAIOSFODNN7EXAMPLE"
AWS_WORD: Final = "wJalrXUtnFEMI/K7MDENG/first"
AWS_SECOND: Final = "wJalrXUtnFEMI/K7MDENG/second"
ROBOT: Final = "robot@fedspan-test.iam.gserviceaccount.com"
GCP_WORD: Final = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
USER: Final = "federator"
OPENSTACK_WORD: Final = "correct horse battery staple"
APPLICATION: Final = "21dced0fd20347869b93710d2b98aae0"
APPLICATION_WORD: Final = "application-credential-word"
WORDS: Final = (AWS_WORD, AWS_SECOND, GCP_WORD, OPENSTACK_WORD, APPLICATION_WORD)


def memory_clouds(now: Callable[[], datetime]) -> MemoryClouds:
    """An account on each cloud."""
    project = Account(USER, "project-1", {OPENSTACK_WORD}, regions=("RegionOne",))
    return MemoryClouds(
        now,
        (KEY_ID, Account("arn:aws:iam::1:user/f", "123456789012", {AWS_WORD, AWS_SECOND})),
        (ROBOT, Account(ROBOT, "fedspan-test", {GCP_WORD})),
        (USER, project),
        (APPLICATION, Account(USER, "project-1", {APPLICATION_WORD}, regions=("RegionOne",))),
    )


def aws_document(word: str = AWS_WORD, **more: Any) -> dict[str, Any]:
    return {"provider": "aws", "access_key_id": KEY_ID, "secret_access_key": word, **more}


def gcp_file() -> dict[str, Any]:
    """As Google's console gives it."""
    return {
        "type": "service_account",
        "project_id": "fedspan-test",
        "private_key_id": "k1",
        "private_key": PEM.format(GCP_WORD),
        "client_email": ROBOT,
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }


def openstack_document(**more: Any) -> dict[str, Any]:
    return {
        "provider": "openstack",
        "auth_url": "https://keystone.example/v3",
        "username": USER,
        "password": OPENSTACK_WORD,
        "project": "research",
        **more,
    }


def registration(name: str, secret: dict[str, Any]) -> Registration:
    return parsed(Registration, {"name": name, "secret": secret})


def cloudy_world(folder: Path, **parts: Any) -> tuple[World, MemoryClouds]:
    """A world with clouds, a master key, and the providers of what is registered."""
    made = world(folder / "objects", **parts)
    clouds, keys = memory_clouds(made.clock), FileKey(folder / "master.key")
    app = made.app
    providers = Registered(app.store, keys, clouds, {"local": made.cloud})
    given: dict[str, Any] = {"clouds": clouds, "keys": keys, "providers": providers}
    return replace(made, app=replace(app, **given)), clouds
