"""Parts that are made when they are first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedspan.late import late
from fedspan.stores.base import Key
from fedspan.stores.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[2]


def test_it_is_made_once_and_not_before() -> None:
    made: list[MemoryStore] = []

    def make() -> MemoryStore:
        made.append(MemoryStore())
        return made[0]

    store = late(make)
    assert made == []

    assert store.get(Key("site", "seoul")) is None
    assert list(store.list("site")) == []
    assert len(made) == 1


def test_one_that_could_not_be_made_is_tried_again() -> None:
    faults = [OSError("not yet")]

    def make() -> MemoryStore:
        if faults:
            raise faults.pop()
        return MemoryStore()

    store = late(make)
    with pytest.raises(OSError, match="not yet"):
        store.list("site")

    assert list(store.list("site")) == []


OPENING = """
import sys
from fedspan.wiring import app_on_gcp
app = app_on_gcp()
heavy = {"google.auth", "google.cloud.firestore", "boto3", "obstore", "openstack", "requests"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_cloud_function_opens_nothing_before_it_is_asked() -> None:
    environment = {
        "PYTHONPATH": str(ROOT),
        "FEDSPAN_STORE_URL": "firestore://a-project",
        "FEDSPAN_OBJECTS_URL": "gs://a-bucket",
        "FEDSPAN_MASTER_KEY": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    }
    command = [sys.executable, "-c", OPENING]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
