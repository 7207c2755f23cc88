"""How far regions are from here: the time of TCP connects to their public endpoints.

Polite: no data is sent, one connect at a time per region, a pause between two. A name is resolved
before the clock starts.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Final

from fedspan.domain.endpoints import ENDPOINTS, Endpoint, endpoint
from fedspan.domain.measurements import Probed
from fedspan.domain.texts import brief

PER_FAMILY: Final = 2
"""Addresses of IPv4 and of IPv6 that are tried before a region counts as unreachable."""

SHORTEST_MS: Final = 0.001
"""A clock may not tell two moments apart; a time is never zero."""

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True)
class Probe:
    """Measures `connects` times a region, `parallel` regions at once."""

    connects: int = 5
    parallel: int = 8
    timeout_seconds: float = 3.0
    pause_seconds: float = 0.1
    table: Mapping[str, Endpoint] = field(default_factory=lambda: ENDPOINTS)

    def measure(
        self, regions: Sequence[str], seen: Callable[[Probed], None] | None = None
    ) -> tuple[Probed, ...]:
        """One result a region, in their order; `seen` is told of each as it comes, in this
        thread. What cannot be reached is a result, never an error."""
        stop, found = threading.Event(), {}
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="probe")
        try:
            for done in as_completed([pool.submit(self._probed, one, stop) for one in regions]):
                found[done.result().region] = done.result()
                if seen is not None:
                    seen(done.result())
        finally:  # at Ctrl-C after what is under way
            stop.set()
            pool.shutdown(cancel_futures=True)
        return tuple(found[region] for region in regions)

    def _probed(self, region: str, stop: threading.Event) -> Probed:
        place = endpoint(region, self.table)
        if place is None:
            return Probed(region=region, error="has no public endpoint that is known")
        try:
            times = self._times(self._resolved(place), stop)
        except OSError as exc:
            return Probed(region=region, error=brief(self._why(place, exc)))
        median, least = statistics.median(times), min(times)
        return Probed(region=region, median_ms=median, min_ms=least, answered=len(times))

    def _times(self, addresses: Sequence[Address], stop: threading.Event) -> list[float]:
        """Of the connects to the first address that answers. Raises `OSError` when none does."""
        address, first = self._answering(addresses)
        times = [first]
        for _ in range(self.connects - 1):
            if stop.wait(self.pause_seconds):
                break
            try:
                times.append(self._connect_ms(address))
            except OSError:
                continue  # lost once; `answered` tells
        return times

    def _answering(self, addresses: Sequence[Address]) -> tuple[Address, float]:
        why: OSError = OSError("no address")
        for address in addresses:
            try:
                return address, self._connect_ms(address)
            except OSError as exc:
                why = exc
        raise why

    def _connect_ms(self, address: Address) -> float:
        family, where = address
        with socket.socket(family, socket.SOCK_STREAM) as link:
            link.settimeout(self.timeout_seconds)
            began = time.perf_counter_ns()
            link.connect(where)
            took = time.perf_counter_ns() - began
        return max(SHORTEST_MS, round(took / 1e6, 3))

    def _resolved(self, place: Endpoint) -> list[Address]:
        """Raises `OSError`. The system's resolver may take as long as it likes, so it gets a
        thread that nobody waits for."""
        found: list[Address] = []
        failed: list[OSError] = []

        def resolve() -> None:
            try:
                known = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
                found.extend(dict.fromkeys((one[0], one[4]) for one in known))
            except OSError as exc:
                failed.append(exc)
            except UnicodeError:  # a label that is empty or too long
                failed.append(socket.gaierror(socket.EAI_NONAME, "is no host name"))

        thread = threading.Thread(target=resolve, daemon=True)
        thread.start()
        thread.join(self.timeout_seconds)
        if thread.is_alive():
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {self.timeout_seconds:g} s")
        if failed:
            raise failed[0]
        return [
            address
            for family in dict.fromkeys(family for family, _ in found)
            for address in [one for one in found if one[0] is family][:PER_FAMILY]
        ]

    def _why(self, place: Endpoint, exc: OSError) -> str:
        match exc:
            case socket.gaierror():
                return f"{place.host} does not resolve: {exc.strerror}"
            case TimeoutError():
                return f"{place.host} does not answer within {self.timeout_seconds:g} s"
            case ConnectionRefusedError():
                return f"{place.host} refuses connections to port {place.port}"
            case _:
                return f"{place.host}: {exc.strerror or exc}"
