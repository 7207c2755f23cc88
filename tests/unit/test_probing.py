"""The probe, against real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from fedspan.domain.endpoints import ENDPOINTS, Endpoint, endpoint
from fedspan.probing import Probe
from fedspan.services.books import shipped


@contextlib.contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET, waiting: int = 64) -> Iterator[int]:
    """A port whose connections the kernel takes, `waiting` of them; nobody ever accepts one."""
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.socket(family) as door:
        door.bind((host, 0))
        door.listen(waiting)
        yield door.getsockname()[1]


def closed_port() -> int:
    with listening() as port:
        return port


def probe(port: int, host: str = "127.0.0.1", **settings: float) -> Probe:
    given = {"pause_seconds": 0.0, "timeout_seconds": 5.0, **settings}
    return Probe(table={"aws": Endpoint(host, port)}, **given)  # type: ignore[arg-type]


def test_a_region_that_answers_has_its_median_and_its_least() -> None:
    with listening() as port:
        [one] = probe(port).measure(["aws:eu-west-1"])

    assert (one.region, one.answered, one.error) == ("aws:eu-west-1", 5, "")
    assert one.min_ms and one.median_ms
    assert 0 < one.min_ms <= one.median_ms


def test_only_so_many_connects_are_made_one_after_the_other() -> None:
    open_at_once, most = set(), 0
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)

        def serve() -> None:
            nonlocal most
            for _ in range(3):
                link, _ = door.accept()
                open_at_once.add(link)
                most = max(most, len(open_at_once))
                with link:
                    assert link.recv(1) == b""  # it was closed, and nothing was sent
                open_at_once.discard(link)

        server = threading.Thread(target=serve)
        server.start()
        [one] = probe(door.getsockname()[1], connects=3, pause_seconds=0.05).measure(["aws:a"])
        server.join()

    assert one.answered == 3
    assert most == 1


def test_a_closed_port_is_named() -> None:
    port = closed_port()
    [one] = probe(port).measure(["aws:eu-west-1"])

    assert one.median_ms is None
    assert one.error == f"127.0.0.1 refuses connections to port {port}"


def test_a_name_that_does_not_resolve_is_named() -> None:
    [one] = probe(443, "{region}.invalid").measure(["aws:eu-west-1"])

    assert one.median_ms is None
    assert one.error.startswith("eu-west-1.invalid does not resolve: ")


@pytest.mark.parametrize("host", ["a..b", "." * 3, "x" * 300, "\x1b[2J"])
def test_what_is_no_host_name_is_no_crash(host: str) -> None:
    [one] = probe(443, host).measure(["aws:eu-west-1"])

    assert "does not resolve" in one.error
    assert "\x1b" not in one.error


def test_a_resolver_that_never_answers_costs_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    late = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: late.wait(60) and [])
    [one] = probe(443, "here.invalid", timeout_seconds=0.05).measure(["aws:eu-west-1"])
    late.set()

    assert one.error == "here.invalid does not resolve: no answer within 0.05 s"


def test_a_host_that_takes_no_connection_costs_the_timeout() -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening(waiting=0))
        for _ in range(8):  # until the kernel lets no more wait
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", port))
        [one] = probe(port, timeout_seconds=0.1).measure(["aws:eu-west-1"])

    assert one.error == "127.0.0.1 does not answer within 0.1 s"


def test_the_other_family_is_tried_when_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening() as port:
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", closed_port(), 0, 0))
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: [six, four])
        [one] = probe(port, "both.invalid").measure(["aws:eu-west-1"])

    assert one.answered == 5


def test_ipv6_is_measured_where_a_name_has_nothing_else() -> None:
    try:
        with listening(socket.AF_INET6) as port:
            [one] = probe(port, "::1").measure(["aws:eu-west-1"])
    except OSError as exc:
        pytest.skip(f"no IPv6 loopback here: {exc}")

    assert one.answered == 5


def test_results_come_in_the_order_asked_and_are_told_as_they_come() -> None:
    with listening() as port:
        table = {"aws": Endpoint("127.0.0.1", port), "gcp": Endpoint("127.0.0.1", closed_port())}
        told = []
        regions = [f"{provider}:r{number}" for number in range(10) for provider in table]
        found = Probe(table=table, pause_seconds=0.0).measure(regions, told.append)

    assert [one.region for one in found] == regions
    assert sorted(told, key=lambda one: one.region) == sorted(found, key=lambda one: one.region)
    assert [bool(one.error) for one in found] == [False, True] * 10


def test_one_who_stops_looking_ends_the_probe() -> None:
    told = []

    def leave(one: object) -> None:
        told.append(one)
        raise KeyboardInterrupt

    with listening(waiting=1000) as port, pytest.raises(KeyboardInterrupt):
        probe(port, connects=10, pause_seconds=60, parallel=1, timeout_seconds=1).measure(
            ["local:at-once", "aws:long", "aws:longer"], leave
        )

    assert len(told) == 1


def test_a_provider_without_a_name_is_said_to_have_none() -> None:
    [one] = Probe().measure(["local:here"])

    assert one.error == "has no public endpoint that is known"


def test_every_region_of_the_book_has_a_name_of_its_own() -> None:
    regions = [one for one in shipped().regions.index if not one.startswith("local:")]
    places = [endpoint(one) for one in regions]

    assert None not in places
    assert len({place.host for place in places if place}) == len(regions) > 100
    assert all(
        region.partition(":")[2] in place.host
        for region, place in zip(regions, places, strict=True)
        if place
    )


def test_a_row_for_one_region_comes_before_its_providers() -> None:
    assert endpoint("aws:cn-north-1") == Endpoint("ec2.cn-north-1.amazonaws.com.cn")
    assert endpoint("aws:eu-west-1") == Endpoint("ec2.eu-west-1.amazonaws.com")
    assert set(ENDPOINTS) >= {"aws", "gcp", "azure"}
