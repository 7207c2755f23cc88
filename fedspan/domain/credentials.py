"""Credentials of clouds: what a person registers, and what is kept and shown of it."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from fedspan.domain.values import Instant, Name, Value


class Cloud(StrEnum):
    AWS = "aws"
    GCP = "gcp"
    OPENSTACK = "openstack"


class Confidential(Value):
    """What is wrong with it is told without what was given: that may be a secret, or half of one
    in a wrong place."""

    model_config = ConfigDict(hide_input_in_errors=True)


def _visible(word: SecretStr) -> SecretStr:
    """What goes into a header of HTTP: a client that refuses another character repeats it all."""
    if not re.fullmatch(r"[\x21-\x7e]+", word.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as AWS gives it")
    return word


Visible = Annotated[SecretStr, AfterValidator(_visible)]


class AwsSecret(Confidential):
    """An access key of an IAM user. `regions` are those machines may be in; default: all that
    turn out to be usable when it is registered. A rotation that names regions changes them."""

    provider: Literal[Cloud.AWS] = Cloud.AWS
    access_key_id: str = Field(min_length=16, max_length=128, pattern=r"^[A-Za-z0-9_]+$")
    secret_access_key: Visible = Field(min_length=16, max_length=128)
    session_token: Visible | None = None
    regions: tuple[str, ...] = ()


class GcpSecret(Confidential):
    """The key of a service account, as Google's console gives it (JSON). `regions`: as of AWS."""

    provider: Literal[Cloud.GCP] = Cloud.GCP
    project_id: str = Field(pattern=r"^[a-z][a-z0-9:.-]{4,62}$")
    client_email: str = Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    private_key_id: str = Field(min_length=1, max_length=128)
    private_key: SecretStr
    token_uri: str = "https://oauth2.googleapis.com/token"
    regions: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def what_matters_of_a_key_file(cls, data: Any) -> Any:
        """Google's file says more than is needed, such as where its own certificates are."""
        if not isinstance(data, dict) or data.get("type") != "service_account":
            return data
        return {field: data[field] for field in cls.model_fields if field in data}

    @field_validator("private_key")
    @classmethod
    def is_a_private_key(cls, key: SecretStr) -> SecretStr:
        if "BEGIN PRIVATE KEY" not in key.get_secret_value():
            raise ValueError("is no PEM private key (-----BEGIN PRIVATE KEY-----)")
        return key


def _keystone(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s@?#]+", url):
        raise ValueError("must be Keystone's address: http[s]://HOST[:PORT]/v3, no user, no query")
    return url


class OpenStackSecret(Confidential):
    """A password in a project, or an application credential, which brings its own project.

    `image` and `network` are what machines are made from, by name or id; default: the only one
    there is. `ca` is the PEM of the CA that signed the endpoints, where the public ones did not.
    """

    provider: Literal[Cloud.OPENSTACK] = Cloud.OPENSTACK
    auth_url: Annotated[str, AfterValidator(_keystone)]
    region: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    project: str | None = None
    user_domain: str = "Default"
    project_domain: str = "Default"
    application_credential_id: str | None = None
    application_credential_secret: SecretStr | None = None
    ca: str | None = None
    image: str | None = None
    network: str | None = None

    @model_validator(mode="after")
    def one_way_in(self) -> Self:
        by_password = self.username and self.password and self.project
        by_application = self.application_credential_id and self.application_credential_secret
        if bool(by_password) == bool(by_application):
            raise ValueError(
                "needs either username, password and project, or application_credential_id and "
                "application_credential_secret"
            )
        return self


Secret = Annotated[AwsSecret | GcpSecret | OpenStackSecret, Field(discriminator="provider")]


class Identity(Value):
    """Who a credential is, as its cloud says: an ARN, a service account, user and project."""

    subject: str
    account: str = Field(description="AWS account, Google project, OpenStack project (its id)")
    expires: Instant | None = None


class Permission(Value):
    """One action needed, as the cloud names it, and what it is needed for. `allowed` is None
    where the cloud does not tell without doing it."""

    action: str
    purpose: str
    allowed: bool | None


class Examination(Value):
    """What real calls proved of a credential. `notes` hold what a person should know besides:
    quotas, the images there are, what could not be asked."""

    identity: Identity
    permissions: tuple[Permission, ...]
    regions: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(one.action for one in self.permissions if one.allowed is False)


class Credential(Value):
    """What is shown of a credential. Its secret is kept apart, sealed, and never shown."""

    name: Name
    provider: Cloud
    registered: Instant
    rotated: Instant | None = None
    examination: Examination


class Sealed(Value):
    """A secret under a data key of its own, which a master key has wrapped. All is base64 but
    `key`, which names the master key."""

    name: Name
    provider: Cloud
    key: str
    wrapped: str
    nonce: str
    ciphertext: str
    version: PositiveInt = 1


class Registration(Confidential):
    """What a person sends to register or rotate a credential."""

    name: Name
    secret: Secret


class Kept(Confidential):
    """What is sealed."""

    secret: Secret


def revealed(value: Confidential) -> bytes:
    """As JSON, with its secrets: to be sealed, or sent by whoever was given them."""
    return json.dumps(value.model_dump(exclude_none=True), default=_revealed).encode()


def _revealed(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"{type(value).__name__} is no JSON")


Policy = dict[str, JsonValue]
"""A least-privilege policy, in the form its cloud takes."""
