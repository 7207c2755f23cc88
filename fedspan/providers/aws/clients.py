"""Clients of an AWS account: with an access key, or with the role this process runs under."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config

from fedspan.domain.credentials import AwsSecret

HOME: Final = "us-east-1"
"""Enabled in every account: where is asked what is not of a region."""

# Two repeats, each given up after 8 s: a region that does not answer is told of within the 30 s
# that a Lambda has. EC2 launches within 5 s, and what it makes is asked for with a token.
CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 3},
    ignore_configured_endpoint_urls=True,
)


class Clients:
    """One client a service and region, made when it is first asked for; threads may share it.
    Without a `secret` they act as the role of the process. Close it at the end."""

    def __init__(self, secret: AwsSecret | None, endpoint: str | None = None) -> None:
        self._session = _session(secret)
        self._endpoint = endpoint
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()  # a session is not for several threads at once

    def of(self, service: str, region: str = HOME) -> Any:
        with self._lock:
            if (service, region) not in self._made:
                self._made[service, region] = self._session.create_client(
                    service, region_name=region, endpoint_url=self._endpoint, config=CONFIG
                )
            return self._made[service, region]

    def close(self) -> None:
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()


def _session(secret: AwsSecret | None) -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _descriptions())
    if secret is not None:
        token = secret.session_token
        session.set_credentials(
            secret.access_key_id,
            secret.secret_access_key.get_secret_value(),
            token.get_secret_value() if token else None,
        )
    return session


@cache
def _descriptions() -> Any:
    """What botocore knows of the services. Reading EC2's takes 0.1 CPU seconds: once a process."""
    return botocore.session.Session().get_component("data_loader")
