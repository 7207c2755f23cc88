"""AWS on a loopback port: moto's server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.clouds.aws.server import forget_machines, moto_server
from tests.clouds.aws.wire import Wire

AWS = {"region_name": "us-east-1", "aws_access_key_id": "id", "aws_secret_access_key": "secret"}


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def aws_wire(moto_url: str) -> Iterator[Wire]:
    """The same behind a proxy that injects faults and remembers what was said."""
    with Wire(moto_url) as wire:
        yield wire
    forget_machines()


@pytest.fixture
def aws_client() -> Iterator[Callable[..., Any]]:
    """Makes a boto3 client for a service at a URL; without retries, so that one fault is seen."""
    clients = []

    def make(service: str, url: str) -> Any:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=20, read_timeout=20)
        clients.append(boto3.client(service, endpoint_url=url, config=config, **AWS))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
