"""Google Cloud Storage on a loopback port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clouds.storage.server import StorageServer


@pytest.fixture(scope="session")
def storage() -> Iterator[StorageServer]:
    with StorageServer() as server:
        yield server


@pytest.fixture
def storage_server(storage: StorageServer) -> Iterator[StorageServer]:
    """No faults are left to it, and no machine."""
    yield storage
    storage.faults.clear()
    storage.calls.clear()
    storage.buckets.clear()
    storage.machine = ""
