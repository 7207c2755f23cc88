"""What differs between one installation and another, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, ValidationError, field_validator

from fedspan.domain.assumed import RECOVERY_S
from fedspan.domain.values import Name, Value
from fedspan.errors import InvalidRequest

PREFIX = "FEDSPAN_"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Settings(Value):
    """Every field is read from ``FEDSPAN_<FIELD>``.

    `heartbeat_seconds` is how often machines report; one that misses them for `lost_seconds`
    counts as lost; an aggregator has `boot_seconds` from launch to its first report. A machine
    that gets no answer for `lease_seconds` ends itself: nobody is left who could end it. Clouds
    bill `billed_seconds` of a machine at least, and until a job has shown how long its aggregator
    takes to come back, that is `recovery_seconds`: `aggregator.between_rounds` goes by both.
    `owner` marks all that is made on clouds, so that two installations in one account keep apart.
    `allow_loopback` lets clouds and the API be on loopback and in plain HTTP: for test clouds.
    """

    api_url: str = "http://127.0.0.1:8470"
    objects_url: str = ""
    store_url: str = Field(
        default="dynamodb://fedspan", description="or firestore://PROJECT[/DATABASE]"
    )
    objects_role: str = Field(
        default="",
        description="the ARN of a role for the S3 bucket: what a machine gets is a part of it, for "
        "an hour; without it machines need access of their own",
    )
    master_key: str = Field(
        default="", description="an AWS KMS key's ARN or alias, or a Cloud KMS key's name"
    )
    owner: Name = "fedspan"
    aggregator_image: str = "ghcr.io/fedspan/aggregator"
    client_image: str = "ghcr.io/fedspan/client"
    aggregator_port: int = Field(default=8443, ge=0, le=65_535, description="0: any that is free")
    ssh_key: str = Field(default="", description="an OpenSSH public key that machines take")
    allow_loopback: bool = False
    aws_endpoint: str = Field(default="", description="instead of AWS's own, such as a test's")
    gcp_endpoint: str = Field(default="", description="instead of Google's own")
    remote_url: str = Field(
        default="", description="the `machines` Cloud Function, for GCP without a key of it here"
    )
    state_machine_arn: str = ""
    signing_key_parameter: str = Field(default="", description="SSM parameter with the token key")
    heartbeat_seconds: PositiveFloat = 10.0
    lost_seconds: PositiveFloat = 60.0
    boot_seconds: PositiveFloat = 600.0
    lease_seconds: PositiveFloat = 3600.0
    billed_seconds: PositiveFloat = 60.0
    recovery_seconds: PositiveFloat = RECOVERY_S

    @field_validator("api_url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if not _is_http(value):
            raise ValueError(f"{value!r} is no URL of http or https")
        return value

    @property
    def reached_from_afar(self) -> bool:
        """Whether machines elsewhere can call the API, and keep what they make. Those of test
        clouds are on this computer."""
        host = urlsplit(self.api_url).hostname or ""
        at_home = host in LOOPBACK or self.objects_url.startswith("file:")
        return self.allow_loopback or not at_home

    @classmethod
    def from_env(cls, environment: Mapping[str, str], **usual: object) -> Self:
        """What `environment` does not say is as `usual`, else the default. Raises
        `InvalidRequest` naming the variable that is wrong."""
        given = usual | {
            field: environment[PREFIX + field.upper()]
            for field in cls.model_fields
            if PREFIX + field.upper() in environment
        }
        try:
            return cls.model_validate(given)
        except ValidationError as exc:
            wrong = {str(one["loc"][0]): one["input"] for one in exc.errors(include_url=False)}
            raise InvalidRequest(
                *(
                    f"{PREFIX}{field.upper()}: {value!r} is not right; write {_right(field)}"
                    for field, value in wrong.items()
                )
            ) from None


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # which raises for one that is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)


def _right(field: str) -> str:
    """What can be read as a `field`."""
    kind = Settings.model_fields[field].annotation
    return {
        "api_url": "https://host",
        "owner": "up to 63 lower-case letters, digits and dashes",
        "aggregator_port": "a number from 0 to 65535",
    }.get(field, "true or false" if kind is bool else "seconds above 0, such as 60")
