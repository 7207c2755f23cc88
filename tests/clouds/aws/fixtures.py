"""AWS on a loopback port: moto's server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

AWS = {"region_name": "us-east-1", "aws_access_key_id": "id", "aws_secret_access_key": "secret"}


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """AWS on a loopback port. One request at a time: moto does not lock its tables."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        request_handler=MotoRequestHandler,
    )
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def aws_client() -> Iterator[Callable[..., Any]]:
    """Makes a boto3 client for a service at a URL; without retries, so that one fault is seen."""
    clients = []

    def make(service: str, url: str) -> Any:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
        clients.append(boto3.client(service, endpoint_url=url, config=config, **AWS))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
