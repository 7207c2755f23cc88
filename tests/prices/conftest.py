from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from fedspan.prices.web import Web
from tests.prices import serving

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.fixture
def cloud() -> Iterator[serving.Cloud]:
    with serving.cloud() as made:
        made.as_recorded()
        yield made


@pytest.fixture
def pauses() -> list[float]:
    """What `web` would have waited, in seconds."""
    return []


@pytest.fixture
def web(pauses: list[float]) -> Iterator[Web]:
    made = Web(timeout_s=(5, 5), pause=pauses.append)
    yield made
    made.close()
