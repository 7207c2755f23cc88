"""``fedspan site measure``, against sockets on loopback."""

from __future__ import annotations

import socket
import threading

import pytest

from fedspan.cli import measuring
from fedspan.domain.endpoints import Endpoint
from fedspan.domain.measurements import Measured, Probed, Question
from fedspan.domain.sites import Site, SiteKind
from fedspan.probing import Probe
from fedspan.services.measure import ask, hear, measurement
from fedspan.services.sites import register_site
from tests.cli.conftest import serving, train_until_cancelled, until

NEAR, GONE = "aws:ap-northeast-2", "gcp:asia-northeast3"
"""Both in Seoul."""


@pytest.fixture
def listener(monkeypatch):
    """AWS answers; nothing else resolves."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(64)
        port = door.getsockname()[1]
        table = {"aws": Endpoint("127.0.0.1", port), "gcp": Endpoint("{region}.invalid")}
        probe = Probe(table={**table, "azure": table["gcp"]}, pause_seconds=0.0)
        monkeypatch.setattr(measuring, "PROBE", probe)
        yield probe


@pytest.fixture
def seoul(cli, tmp_path):
    """A site, and how to register it again."""
    (tmp_path / "data.csv").write_text("a,target\n1,x\n2,y\n")

    def add(*more: str):
        place = ("--lat", "37.6", "--lon", "127.0")
        return cli("site", "add", "seoul", "--dataset", f"d={tmp_path}/data.csv", *place, *more)

    assert add().code == 0
    return add


def test_a_local_site_is_measured_from_here_and_keeps_it(cli, seoul, listener):
    result = cli("site", "measure", "seoul", "--region", NEAR, "--region", GONE, "--json")
    near, gone = result.document["regions"]
    site = cli("site", "show", "seoul", "--json").document

    assert result.code == 0
    assert (result.document["site"], result.document["answered"]) == ("seoul", True)
    assert (near["region"], near["city"], near["answered"]) == (NEAR, "Seoul", 5)
    assert near["measured"] and near["error"] is None and near["estimate_ms"] > 0
    assert gone["median_ms"] is None
    assert gone["error"].startswith("asia-northeast3.invalid does not resolve")
    assert site["rtt_ms"] == {NEAR: near["median_ms"]}


def test_people_see_times_and_reasons(cli, seoul, listener):
    result = cli("site", "measure", "seoul", "--nearest", "3")
    times, reasons = result.out.split("Not reached")

    assert "Median ms" in times and "Estimate ms" in times
    assert NEAR in times.split("\n\n")[0]
    assert "asia-northeast3.invalid does not resolve" in reasons
    assert "koreacentral.invalid does not resolve" in reasons


def test_a_registered_site_says_what_its_link_takes(cli, seoul, listener):
    cli("site", "measure", "seoul", "--region", NEAR)
    added = seoul(
        *("--cloud", "ap-northeast-2", "--up-mbps", "100", "--down-mbps", "400"),
        *("--compute-s", "12.5", "--json"),
    ).document

    assert added["cloud"] == NEAR
    assert (added["up_mbps"], added["down_mbps"], added["compute_s"]) == (100.0, 400.0, 12.5)
    assert added["rtt_ms"] == {}  # what says where it is has changed


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--cloud", "aws:eu-wst-1", "cloud: 'aws:eu-wst-1' is no region; did you mean"),
        ("--up-mbps", "0", "up_mbps: "),
        ("--down-mbps", "nan", "down_mbps: "),
        ("--compute-s", "-1", "compute_s: "),
        ("--compute-s", "inf", "compute_s: "),
    ],
)
def test_a_link_that_cannot_be_is_refused(seoul, option, value, said):
    result = seoul(option, value)

    assert result.code == 2
    assert said in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("seoul", "--region", "aws:eu-wst-1"), 2, "did you mean 'aws:eu-west-1'?"),
        (("seoul", "--region", "aws:eu-west-1/../x"), 2, "is no region"),
        (("seoul", "--region", ""), 2, "is no region"),
        (("busan",), 5, "no site 'busan'"),
        (("seoul", "--nearest", "0"), 2, "--nearest"),
        (("seoul", "--wait", "nan"), 2, "--wait"),
    ],
)
def test_a_question_that_cannot_be_is_refused(cli, seoul, arguments, code, said):
    result = cli("site", "measure", *arguments)

    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err


def test_when_no_region_is_reached_it_says_so_and_nothing_is_kept(cli, seoul, listener):
    result = cli("site", "measure", "seoul", "--region", GONE, "--json")

    assert result.code == 1
    assert result.err == "no region was reached\n"
    assert result.document["regions"][0]["error"]
    assert cli("site", "show", "seoul", "--json").document["rtt_ms"] == {}


def with_agent(app):
    register_site(app, Site(name="jeju", kind=SiteKind.AGENT, latitude=33.5, longitude=126.5))


def probed(region):
    return Probed(region=region, median_ms=5.0, min_ms=4.0, answered=5)


def test_the_agent_of_a_site_is_waited_for(cli, home):
    with serving(home) as app:
        with_agent(app)

        def agent():
            until(lambda: measurement(app, "jeju").asked)
            asked = measurement(app, "jeju").asked
            hear(app, "jeju", Measured(request=asked.id, probed=tuple(map(probed, asked.regions))))

        thread = threading.Thread(target=agent)
        thread.start()
        result = cli("site", "measure", "jeju", "--nearest", "2", "--json")
        thread.join()

    assert result.code == 0
    assert [one["median_ms"] for one in result.document["regions"]] == [5.0, 5.0]


def test_an_agent_that_does_not_answer_is_named_and_stays_asked(cli, home):
    with serving(home) as app:
        with_agent(app)
        result = cli("site", "measure", "jeju", "--wait", "1", "--json")
        asked = measurement(app, "jeju").asked

    assert result.code == 1
    assert result.document["answered"] is False
    assert result.err == "the agent of jeju has not answered for 1 s; it stays asked\n"
    assert asked.id == result.document["request"]


def test_where_no_control_plane_runs_no_agent_is_waited_for(cli, home):
    with serving(home) as app:
        with_agent(app)
    result = cli("site", "measure", "jeju")

    assert result.code == 1
    assert "no control plane runs that it could tell" in result.out


def test_someone_who_asks_for_something_else_is_told_of(cli, home):
    with serving(home) as app:
        with_agent(app)

        def other():
            until(lambda: measurement(app, "jeju").asked)
            ask(app, "jeju", Question(regions=("aws:eu-west-1",)))

        thread = threading.Thread(target=other)
        thread.start()
        result = cli("site", "measure", "jeju", "--json")
        thread.join()

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
    assert "someone else asked" in result.err


def test_a_site_that_trains_is_measured_too(cli, home, spec_file, listener):
    with serving(home, act=train_until_cancelled) as app:
        job = cli("job", "submit", spec_file, "--json").document["job"]
        until(lambda: app.assignments.list("seoul"))
        result = cli("site", "measure", "seoul", "--region", NEAR, "--json")
        rtt = app.sites.get("seoul").value.rtt_ms
        cli("job", "cancel", job)

    assert result.code == 0
    assert list(rtt) == [NEAR]
