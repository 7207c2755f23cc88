"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import garbage

# The same examples each time, so that a failure is of the change and not of the day; EXPLORE=1
# looks for new ones. No deadlines: a slow machine is no bug.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if os.environ.get("EXPLORE") else "same")

# Children inherit what is ignored: run by nohup or in the background of a script, the tests would
# find that no terminal closes and nobody presses Ctrl-C.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

pytest_plugins = (
    "tests.clouds.aws.fixtures",
    "tests.clouds.firestore.fixtures",
    "tests.clouds.gcp.fixtures",
    "tests.clouds.openstack.fixtures",
    "tests.clouds.storage.fixtures",
)


@pytest.fixture(scope="module")
def cheap_collections() -> Iterator[None]:
    with garbage.cheap_collections():
        yield
