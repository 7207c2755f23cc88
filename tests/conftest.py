"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

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

ON_ONE_PLANE = (
    "_openstack.py",
    "cli/test_credentials_on_clouds.py",
    "contract/test_providers.py",
    "contract/test_sweep_crashes.py",
)
"""Files whose tests use `openstack_cloud`. One worker has them all: a second control plane takes
40 CPU seconds to start, and on a new machine its worker would wait while the first installs."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByPlane(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "openstack" if file.endswith(ON_ONE_PLANE) else file

    return ByPlane(config, log)


@pytest.fixture(scope="module")
def cheap_collections() -> Iterator[None]:
    with garbage.cheap_collections():
        yield
