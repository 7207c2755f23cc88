"""What is done to a job: which of its parts is hurt, and how.

An attack that needs time (a stop, a cut) holds it for longer than the heartbeat may be missed,
and then lets go: what was replaced meanwhile comes back and must do no harm.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import psutil

from fedspan.flower.workers import HEARTBEAT_SECONDS
from tests.chaos.federation import LOST_SECONDS, SITES, Federation
from tests.chaos.relay import nobody

HELD_SECONDS: Final = LOST_SECONDS + 2.0
GONE_SECONDS: Final = 2.5 * HEARTBEAT_SECONDS
"""A SuperLink takes a SuperNode for gone that has missed two heartbeats."""
AWAY_SECONDS: Final = 1.5
"""Between the death of a control plane and its next start."""
NOTICE_SECONDS: Final = 30.0
FOUND_SECONDS: Final = 20.0
AGGREGATOR: Final = "aggregator"

Wound = Callable[[Federation, Random], None]


class NotThere(Exception):
    """There was nothing of the kind to hurt."""


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    wound: Wound


def killed(machine: str, part: str = "") -> Wound:
    """SIGKILL to the part of a machine, or to all of it; ``client`` is one of the clients."""

    def wound(here: Federation, random: Random) -> None:
        for one in _found(here, _which(machine, random), part):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    return wound


def stopped(machine: str, part: str = "") -> Wound:
    """SIGSTOP for longer than the heartbeat limit, then SIGCONT."""

    def wound(here: Federation, random: Random) -> None:
        found = _found(here, _which(machine, random), part)
        _signal(found, signal.SIGSTOP)
        time.sleep(HELD_SECONDS)
        _signal(found, signal.SIGCONT)

    return wound


def cut(machine: str) -> Wound:
    """No word between a machine (``""``: all of them) and the API, for as long."""

    def wound(here: Federation, random: Random) -> None:
        name = _which(machine, random)
        here.relay.cut(lambda one: name in one)
        time.sleep(HELD_SECONDS)
        here.relay.cut(nobody)

    return wound


def front_cut(here: Federation, random: Random) -> None:
    """No word between a client's machine and the aggregator's front, until it counts as gone."""
    name = _which("client", random)
    here.relay.cut_fronts(lambda one: name in one)
    time.sleep(GONE_SECONDS)
    here.relay.cut_fronts(nobody)


def plane_killed(here: Federation, random: Random) -> None:
    here.down()
    time.sleep(random.uniform(0.0, AWAY_SECONDS))
    here.up()


def plane_stopped(here: Federation, random: Random) -> None:
    here.plane.send_signal(signal.SIGSTOP)
    time.sleep(HELD_SECONDS)
    here.plane.send_signal(signal.SIGCONT)


def noticed(here: Federation, random: Random) -> None:
    """The cloud's word, and, when its time is over, the end it spoke of."""
    folders = sorted(here.home.machines.glob(f"*{AGGREGATOR}*"))
    if not folders:
        raise NotThere("no aggregator")
    expires = datetime.now(UTC) + timedelta(seconds=NOTICE_SECONDS)  # noqa: TID251  the cloud's clock
    (folders[-1] / "work" / "notice.json").write_text(f'{{"expires": "{expires.isoformat()}"}}')


def _which(machine: str, random: Random) -> str:
    return f"client-{random.choice(SITES)}" if machine == "client" else machine


def _found(here: Federation, machine: str, part: str) -> list[psutil.Process]:
    """Raises `NotThere`. A ClientApp lives for an instant: it is waited for."""
    end = time.monotonic() + FOUND_SECONDS
    while time.monotonic() < end:
        if part:
            found = [one for one in (here.part(machine, part),) if one]
        else:
            found = here.processes(machine)
        if found:
            return found
        time.sleep(0.005)
    raise NotThere(f"no {part or 'process'} of {machine} within {FOUND_SECONDS:g} s")


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(number)


ATTACKS: Final = (
    Attack("aggregator machine, SIGKILL", killed(AGGREGATOR)),
    Attack("aggregator machine, SIGSTOP", stopped(AGGREGATOR)),
    Attack("ServerApp, SIGKILL", killed(AGGREGATOR, "serverapp")),
    Attack("ServerApp, SIGSTOP", stopped(AGGREGATOR, "serverapp")),
    Attack("SuperLink, SIGKILL", killed(AGGREGATOR, "flower-superlink")),
    Attack("SuperLink, SIGSTOP", stopped(AGGREGATOR, "flower-superlink")),
    Attack("front, SIGKILL", killed(AGGREGATOR, "front")),
    Attack("front, SIGSTOP", stopped(AGGREGATOR, "front")),
    Attack("aggregator and API, cut", cut(AGGREGATOR)),
    Attack("SuperNode, SIGKILL", killed("client", "flower-supernode")),
    Attack("SuperNode, SIGSTOP", stopped("client", "flower-supernode")),
    Attack("ClientApp, SIGKILL", killed("client", "clientapp")),
    Attack("ClientApp, SIGSTOP", stopped("client", "clientapp")),
    Attack("client machine, SIGKILL", killed("client")),
    Attack("client machine, SIGSTOP", stopped("client")),
    Attack("client and API, cut", cut("client")),
    Attack("client and front, cut", front_cut),
    Attack("all machines and API, cut", cut("")),
    Attack("control plane, SIGKILL", plane_killed),
    Attack("control plane, SIGSTOP", plane_stopped),
    Attack("aggregator, spot notice", noticed),
)
