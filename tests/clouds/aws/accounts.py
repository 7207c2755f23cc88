"""An account on moto: a provider with an owner of its own, so that tests do not meet."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from fedspan.domain.credentials import AwsSecret
from fedspan.domain.machines import Role
from fedspan.providers.aws.machines import AwsProvider
from fedspan.providers.base import Surroundings
from fedspan.services.books import shipped

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
REGIONS = ("eu-west-1", "us-east-1")
SECRET = AwsSecret(
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key=SecretStr("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    regions=REGIONS,
)


def around(url: str, **changes: Any) -> Surroundings:
    made = Surroundings(
        owner=f"t-{secrets.token_hex(8)}",
        images={Role.AGGREGATOR: "registry.test/aggregator:1", Role.CLIENT: "registry.test/c:1"},
        book=shipped,
        now=lambda: NOW,
        endpoint=url,
        allow_loopback=True,
    )
    return replace(made, **changes)


def provider(url: str, secret: AwsSecret | None = SECRET, **changes: Any) -> AwsProvider:
    return AwsProvider("aws", secret, around(url, **changes))
