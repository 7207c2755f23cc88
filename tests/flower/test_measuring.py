"""An agent measures what it is told to: real children, real sockets, and the real REST API."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fedspan.access import Caller, CallerRole
from fedspan.domain.endpoints import Endpoint
from fedspan.domain.measurements import Asked, Question
from fedspan.domain.sites import Site, SiteKind
from fedspan.flower.agent import Agent, Settings
from fedspan.flower.measuring import Measuring
from fedspan.flower.reporting import Api
from fedspan.flower.warm import Family
from fedspan.local import functions
from fedspan.local.gateway import Gateway
from fedspan.probing import Probe
from fedspan.services.measure import ask, measurement
from fedspan.services.sites import register_site
from tests.support.world import START, World, serving, world

NEAR, OTHER = "aws:ap-northeast-2", "gcp:asia-northeast3"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(64)
        yield door.getsockname()[1]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path / "logs")
    yield made
    made.stop()


def probe(port: int, **settings: float) -> Probe:
    table = {"aws": Endpoint("127.0.0.1", port), "gcp": Endpoint("{region}.invalid")}
    return Probe(table=table, **{"pause_seconds": 0.0, **settings})  # type: ignore[arg-type]


def asked(id: str = "one", *regions: str) -> Asked:
    return Asked(id=id, at=START, regions=regions or (NEAR, OTHER))


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def followed(measuring: Measuring, family: Family, what: Asked | None) -> bool:
    family.reap()
    return measuring.follow(what)


def test_what_is_asked_is_measured_once_and_told_until_it_is_asked_no_more(
    tmp_path: Path, family: Family, port: int
) -> None:
    measuring = Measuring(family, tmp_path, probe(port))
    news = [followed(measuring, family, asked())]
    pid = family.children[0].pid
    until(lambda: news.append(followed(measuring, family, asked())) or any(news))
    answer = measuring.answer
    news.append(followed(measuring, family, asked()))

    assert news.count(True) == 1 and not news[-1]
    assert pid != os.getpid() and not family.children
    assert answer is not None and answer.request == "one"
    assert [one.region for one in answer.probed] == [NEAR, OTHER]
    assert answer.probed[0].answered == 5
    assert "does not resolve" in answer.probed[1].error
    assert measuring.answer == answer
    assert not measuring.follow(None) and measuring.answer is None


def test_a_new_request_takes_the_place_of_one_under_way(
    tmp_path: Path, family: Family, port: int
) -> None:
    measuring = Measuring(family, tmp_path, probe(port, pause_seconds=300.0))
    followed(measuring, family, asked("long"))
    first = family.children[0].pid
    followed(measuring, family, asked("short", OTHER))
    until(lambda: followed(measuring, family, asked("short", OTHER)))

    assert measuring.answer is not None and measuring.answer.request == "short"
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_child_that_is_killed_is_an_answer_with_the_reason(
    tmp_path: Path, family: Family, port: int
) -> None:
    measuring = Measuring(family, tmp_path, probe(port, pause_seconds=300.0))
    followed(measuring, family, asked())
    os.kill(family.children[0].pid, signal.SIGKILL)
    until(lambda: followed(measuring, family, asked()))

    assert measuring.answer is not None
    assert {one.error for one in measuring.answer.probed} == {"probe was killed by SIGKILL"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[World, str]]:
    """A control plane that answers on loopback, and its address."""
    made = world(tmp_path / "objects")
    gateway = Gateway(functions.chalice_app(), 0)
    gateway.start()
    with serving(made.app):
        yield made, f"http://127.0.0.1:{gateway.port}"
    gateway.stop()


def test_a_site_is_measured_by_its_agent_beside_its_heartbeats(
    tmp_path: Path, family: Family, port: int, here: tuple[World, str]
) -> None:
    from fedspan import wiring

    (made, url), site = here, "seoul"
    register_site(made.app, Site(name=site, kind=SiteKind.AGENT, latitude=37.5, longitude=127.0))
    caller = Caller(role=CallerRole.SITE, site=site)
    api = Api(url, made.app.tokens.issue(caller, wiring.now(), timedelta(hours=1)))
    work = tmp_path / "work"
    work.mkdir()
    agent = Agent(Settings(url, site, "seoul-1", work), family, api, probe(port))
    agent.report()
    request = ask(made.app, site, Question(regions=(NEAR, OTHER))).asked
    reports = 0
    while measurement(made.app, site).answered != request.id:
        agent._look_after_node()
        agent._make_it_so()
        assert agent.report()
        reports += 1
        assert reports < 10_000
    agent._make_it_so()
    kept = measurement(made.app, site)
    api.close()

    assert reports > 1
    assert kept.reached[NEAR].answered == 5
    assert "does not resolve" in kept.unreached[OTHER].reason
    assert list(made.app.sites.get(site).value.rtt_ms) == [NEAR]
    assert agent._measuring.answer is None
