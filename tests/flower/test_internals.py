"""Flower's private parts: there, or done without."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flwr.common.constant import HEARTBEAT_CALL_TIMEOUT, HEARTBEAT_PATIENCE

from fedspan.domain.reports import Phase
from fedspan.flower import internals
from tests.flower.machines import World, below


def test_this_flower_has_every_part_we_rely_on() -> None:
    assert internals.missing() == ()
    assert internals.stock(internals.ON_CLIENT) is None


@pytest.mark.parametrize("part", [internals.MIDDLEWARE, internals.LAUNCH, internals.PULL])
def test_a_part_that_is_gone_is_named_and_the_stock_commands_take_over(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, path = part.split(":")
    monkeypatch.delattr(importlib.import_module(module), path.split(".")[0])

    assert part in internals.missing()
    assert part in str(internals.stock(internals.ON_AGGREGATOR))


def test_the_environment_can_ask_for_the_stock_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(internals.MODE, "stock")

    assert internals.stock(internals.ON_CLIENT) == "FEDSPAN_FLOWER=stock"


def test_only_the_module_at_hand_sees_what_is_put(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = sys.modules[internals.SUPERNODE_LOOP.split(":")[0]]
    monkeypatch.setattr(loop, "time", time)
    stock_sleep = time.sleep

    internals.put(internals.SUPERNODE_LOOP, len)

    assert internals.look_up(internals.SUPERNODE_LOOP) is len
    assert time.sleep is stock_sleep


def test_the_middleware_we_narrow_to_its_paths_is_there() -> None:
    stock = internals.call(internals.MIDDLEWARE)()

    assert internals.MIDDLEWARE_PATHS.keys() <= {one.cls.__name__ for one in stock}


HEARTBEATS = """
import threading
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supernode import fleet_http_connection
from fedspan.flower.pace import Bell
from fedspan.flower.workers import prepare_supernode

class Ends(threading.Event):
    waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if len(self.waits) == 20:
            self.set()

prepare_supernode(Bell())
sender = HeartbeatSender(lambda: True)
sender._stop_event = Ends()
sender._run()
print(fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL, max(Ends.waits))
"""


def test_a_supernode_may_miss_a_heartbeat_before_it_counts_as_gone() -> None:
    """It tells the SuperLink one interval and could well keep another."""
    ran = subprocess.run([sys.executable, "-c", HEARTBEATS], capture_output=True, text=True)
    told, longest = (float(one) for one in ran.stdout.split())

    assert 2 * longest + HEARTBEAT_CALL_TIMEOUT < HEARTBEAT_PATIENCE * told


@pytest.mark.parametrize("mode", ["warm", "stock"])
def test_a_real_round_ends_done_either_way(mode: str, tmp_path: Path) -> None:
    with World(tmp_path, rounds=1, extra={internals.MODE: mode}) as world:
        world.api.until(lambda: world.api.aggregator is not None)
        world.api.until(lambda: len(world.api.rounds) == 1, seconds=120)
        commands = [" ".join(one.cmdline()) for one in below(world.aggregator)]
        world.api.until(lambda: getattr(world.api.aggregator, "phase", None) is Phase.DONE)
        codes = world.stop()

    assert set(codes.values()) == {0}
    assert any("flower-superlink" in command for command in commands) == (mode == "stock")
