"""The proxy that injects faults between clients and test clouds."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.clouds.proxy import Fault, FaultProxy


@pytest.fixture
def cloud() -> Iterator[FaultProxy]:
    """A cloud that answers everything with 201: a proxy that never forwards."""
    with FaultProxy("http://127.0.0.1:9/") as one:
        one.faults += [Fault(201, b"made") for _ in range(20)]
        yield one


@pytest.fixture
def proxy(cloud: FaultProxy) -> Iterator[FaultProxy]:
    with FaultProxy(cloud.url + "/base") as one:
        yield one


def ask(url: str, method: str = "GET", path: str = "/a") -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, body=b"x" if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_forwards_what_no_fault_concerns(cloud: FaultProxy, proxy: FaultProxy) -> None:
    assert ask(proxy.url, "POST", "/a?b=1") == 201
    assert cloud.seen == [("POST", "/base/a?b=1")]


def test_a_fault_strikes_the_request_it_names_and_once(
    cloud: FaultProxy, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault(503, method="POST", path="/servers$", skip=1))

    assert [ask(proxy.url, "GET", "/servers"), ask(proxy.url, "POST", "/servers")] == [201, 201]
    assert ask(proxy.url, "POST", "/servers") == 503
    assert ask(proxy.url, "POST", "/servers") == 201
    assert len(cloud.seen) == 3


@pytest.mark.parametrize(("cut", "reached"), [("before", 0), ("after", 1)])
def test_a_connection_is_cut_before_or_after_the_cloud_acts(
    cloud: FaultProxy, proxy: FaultProxy, cut: str, reached: int
) -> None:
    proxy.faults.append(Fault(cut=cut))

    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy.url)
    assert len(cloud.seen) == reached


def test_a_cloud_that_is_gone_cuts_too(cloud: FaultProxy, proxy: FaultProxy) -> None:
    cloud.faults.clear()  # from here on it would forward to where nobody listens

    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy.url)
