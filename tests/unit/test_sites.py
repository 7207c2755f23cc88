"""Sites as they are registered, and as earlier versions left them in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.countries import COUNTRIES
from fedspan.domain.parsing import parsed
from fedspan.domain.placements import Participant, PlacementQuestion
from fedspan.domain.sites import Site
from fedspan.errors import InvalidRequest
from fedspan.services.examine import examine
from fedspan.services.placements import score
from fedspan.services.sites import register_site
from fedspan.stores.memory import MemoryStore
from tests.support.world import World, dataset, spec, with_sites, world


class Counting(MemoryStore):
    """Says how often it was read."""

    reads = 0

    def get(self, key):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super().get(key)

    def list(self, partition, **how):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super().list(partition, **how)


@pytest.fixture
def here(tmp_path: Path) -> World:
    return world(tmp_path, store=Counting())


def stored(here: World, name: str = "seoul", **more: Any) -> Site:
    """As another version wrote it: past every check of a new site."""
    site = Site(name=name, datasets=(dataset(),), **more)
    here.app.store.write([here.app.sites.put(site, name, expected=0)])
    return site


def refused(here: World, **more: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        register_site(here.app, parsed(Site, {"name": "seoul", **more}))
    assert here.app.sites.find("seoul") is None
    return str(caught.value)


def test_a_country_of_an_earlier_version_keeps_no_site_from_being_read(here: World) -> None:
    stored(here, country="XX")
    with_sites(here.app, "busan", country="KR")

    assert [site.country for site in here.app.sites.list()] == ["KR", "XX"]
    [fault] = here.app.sites.get("seoul").value.faults
    assert fault.startswith("country: site seoul: 'XX' is no country; write its two letters")
    assert here.app.sites.get("busan").value.faults == ()


@pytest.mark.parametrize("country", ["XX", "korea", "K", "ZZ", "xx"])
def test_a_new_site_and_a_participant_are_somewhere_that_is(here: World, country: str) -> None:
    assert "is no country; write its two letters, such as KR" in refused(here, country=country)

    inline = {"name": "seoul", "latitude": 1, "longitude": 1, "country": country}
    with pytest.raises(InvalidRequest, match=r"country: .* is no country"):
        parsed(Participant, inline)


@pytest.mark.parametrize(
    ("written", "kept"), [("kr", "KR"), ("uk", "GB"), ("UK", "GB"), ("XK", "XK"), ("", "")]
)
def test_a_country_is_kept_as_iso_writes_it(here: World, written: str, kept: str) -> None:
    site = register_site(here.app, parsed(Site, {"name": "seoul", "country": written}))

    assert here.app.sites.get("seoul").value.country == site.country == kept
    assert not kept or kept in COUNTRIES


def test_measured_times_to_regions_nobody_knows_are_refused(here: World) -> None:
    said = refused(here, rtt_ms={"aws:eu-west-1": 3.0, "aws:eu-wst-1": 4.0, "moon": 5.0})

    assert said == (
        "rtt_ms: site seoul: 'aws:eu-wst-1' is no region; did you mean 'aws:eu-west-1'?; "
        "rtt_ms: site seoul: 'moon' is no region"
    )
    assert register_site(here.app, Site(name="seoul", rtt_ms={"aws:eu-west-1": 3.0})).rtt_ms


@pytest.mark.parametrize(
    ("given", "lacking"), [("latitude", "longitude"), ("longitude", "latitude")]
)
def test_half_a_position_is_refused_and_one_that_is_stored_is_read(
    here: World, given: str, lacking: str
) -> None:
    half = {given: 37.5}
    said = refused(here, **half)
    stored(here, **half)

    assert said == f"{lacking}: site seoul has half a position; give both or none"
    assert here.app.sites.get("seoul").value.faults == (said,)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"up_mbps": 1e10},
            "up_mbps: site seoul: input should be less than or equal to 1000000000",
        ),
        ({"down_mbps": 1e-9}, "down_mbps: site seoul: input should be greater than or equal to"),
        ({"compute_s": 1e300}, "compute_s: site seoul: input should be less than or equal to"),
        (
            {"rtt_ms": {"aws:eu-west-1": 60_001}},
            "rtt_ms.aws:eu-west-1: site seoul: input should be less than or equal to 60000",
        ),
    ],
)
def test_a_figure_nobody_has_is_refused_and_one_that_is_stored_is_read(
    here: World, figures: dict[str, Any], said: str
) -> None:
    assert refused(here, **figures).startswith(said)
    stored(here, **figures)

    [fault] = here.app.sites.get("seoul").value.faults
    assert fault.startswith(said)
    with pytest.raises(InvalidRequest, match=said.partition(": ")[0]):
        parsed(Participant, {"name": "seoul", "latitude": 1, "longitude": 1, **figures})


def test_a_site_with_half_a_position_still_trains(here: World) -> None:
    stored(here, latitude=37.5)
    _, sites = examine(here.app, spec(participants=["seoul"]))

    assert [site.name for site in sites] == ["seoul"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"country": "XX", "latitude": 37.5, "longitude": 127.0}, "'XX' is no country"),
        ({"latitude": 37.5}, "has half a position"),
    ],
)
def test_placing_by_a_site_that_cannot_be_right_names_it_and_how_to_mend_it(
    here: World, wrong: dict[str, Any], said: str
) -> None:
    stored(here, **wrong)
    question = {"rounds": 1, "participants": ["seoul"], "placement": {"model_bytes": 1}}
    with pytest.raises(InvalidRequest) as caught:
        score(here.app, parsed(PlacementQuestion, question))

    assert "site seoul" in str(caught.value)
    assert said in str(caught.value)
    assert "fedspan site add" in str(caught.value)


def test_a_site_that_is_put_anew_is_mended(here: World) -> None:
    stored(here, country="XX", latitude=37.5)
    register_site(here.app, Site(name="seoul", country="KR", latitude=37.5, longitude=127.0))

    assert here.app.sites.get("seoul").value.faults == ()


def test_many_sites_are_read_in_a_few_reads(here: World) -> None:
    names = [f"site-{n:04}" for n in range(1500)]
    for name in names:
        stored(here, name)
    few, many = names[5:25], names[1400:3:-1]
    before = here.app.store.reads  # type: ignore[attr-defined]
    found = here.app.sites.find_all([*many, "unknown"])
    reads = here.app.store.reads - before  # type: ignore[attr-defined]

    assert list(found) == many
    assert {name: one.value.name for name, one in found.items()} == {name: name for name in many}
    assert reads == 3  # two pages, and one that is empty
    assert list(here.app.sites.find_all(["nobody", *few[:19]])) == few[:19]
    assert list(here.app.sites.find_all(few)) == few


def test_a_site_that_cannot_be_read_stands_in_the_way_of_no_other(here: World) -> None:
    names = [f"site-{n:02}" for n in range(30)]
    for name in names:
        stored(here, name)
    broken = here.app.sites.put(Site(name="broken"), "broken", expected=0)
    here.app.store.write([type(broken)(broken.key, "{", 0)])

    assert list(here.app.sites.find_all(names)) == names
    assert list(here.app.sites.ids()) == ["broken", *names]


def test_of_many_unknown_sites_the_first_are_named(here: World) -> None:
    for n in range(300):
        stored(here, f"hospital-{n:03}")
    with pytest.raises(InvalidRequest) as caught:
        examine(here.app, spec(participants=[f"hopsital-{n:04}" for n in range(1000)]))

    problems = caught.value.problems
    assert len(problems) == 21
    assert problems[0].startswith("participants: no site 'hopsital-0000' is registered; did you")
    assert problems[20] == "and 980 more"
