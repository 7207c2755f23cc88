"""Google's own Firestore emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clouds.firestore.emulator import FirestoreEmulator
from tests.clouds.firestore.relay import FirestoreRelay


@pytest.fixture(scope="session")
def firestore_host() -> Iterator[str]:
    """Where the emulator listens, for FIRESTORE_EMULATOR_HOST. Without it the tests fail: a
    store that nobody tried is not one that works."""
    with FirestoreEmulator() as emulator:
        yield emulator.host


@pytest.fixture
def firestore_relay(firestore_host) -> Iterator[FirestoreRelay]:
    """The emulator by way of a relay that can fail."""
    with FirestoreRelay(firestore_host) as relay:
        yield relay
