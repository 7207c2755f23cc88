"""Asking a site how far the regions are, and keeping what it says. By the shipped book."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from fedspan.domain.measurements import Measured, Probed, Question
from fedspan.domain.reports import SiteManifest
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.waits import Assignment
from fedspan.errors import Conflict, Corrupt, InvalidRequest, NotFound
from fedspan.services import books
from fedspan.services.measure import answer, ask, measurement
from fedspan.services.report_site import report_site, site_manifest
from fedspan.services.sites import delete_site, register_site
from fedspan.stores.base import Change
from fedspan.stores.memory import MemoryStore
from tests.support.world import START, World, dataset, site_says, world

SEOUL = (37.5665, 126.978)
TWO = ("aws:ap-northeast-2", "gcp:asia-northeast3")
"""Both in Seoul."""


class Contested(MemoryStore):
    """Someone else is faster so many times."""

    faster = 0

    def write(self, changes: Sequence[Change]) -> None:
        if self.faster:
            self.faster -= 1
            raise Conflict("someone else was faster")
        super().write(changes)


@pytest.fixture
def here(tmp_path: Path) -> World:
    return world(tmp_path, store=Contested())


def site(here: World, name: str = "seoul", **more: object) -> Site:
    given = {"latitude": SEOUL[0], "longitude": SEOUL[1], "datasets": (dataset(),), **more}
    return register_site(here.app, Site.model_validate({"name": name, **given}))


def told(request: str, *regions: str, ms: float = 4.0) -> Measured:
    probed = (Probed(region=one, median_ms=ms, min_ms=ms / 2, answered=5) for one in regions)
    return Measured(request=request, probed=tuple(probed))


def says(here: World, name: str, seq: int, **more: object) -> SiteManifest:
    report = site_says("j", name, seq, **{"machine": f"{name}-1", **more})
    return report_site(here.app, report)


def agent_site(here: World, *machines: str) -> None:
    site(here, kind=SiteKind.AGENT)
    for machine in machines or ("seoul-1",):
        says(here, "seoul", 1, machine=machine)


class TestAsking:
    def test_without_names_the_nearest_are_asked_for(self, here: World) -> None:
        site(here)
        plan = ask(here.app, "seoul", Question(nearest=5))

        assert {place.city for place in plan.places[:3]} == {"Seoul"}
        assert plan.asked.regions == tuple(place.region for place in plan.places)
        assert [place.km for place in plan.places] == sorted(place.km or 0 for place in plan.places)
        assert len(plan.places) == 5

    def test_the_models_estimate_comes_with_each(self, here: World) -> None:
        site(here)
        [near, far] = ask(
            here.app, "seoul", Question(regions=("aws:ap-northeast-2", "aws:sa-east-1"))
        ).places

        assert (near.km or 0) < 50 < 15_000 < (far.km or 0)
        assert (near.estimate_ms or 0) < 50 < (far.estimate_ms or 0)
        assert near.band_ms and far.band_ms

    def test_a_region_may_leave_its_provider_out_and_counts_once(self, here: World) -> None:
        site(here)
        regions = ("eu-west-1", "aws:eu-west-1", "westeurope")
        plan = ask(here.app, "seoul", Question(regions=regions))

        assert plan.asked.regions == ("aws:eu-west-1", "azure:westeurope")

    def test_an_unknown_region_is_told_with_the_nearest_name(self, here: World) -> None:
        site(here)
        with pytest.raises(InvalidRequest) as caught:
            ask(here.app, "seoul", Question(regions=("aws:eu-wst-1",)))

        assert str(caught.value) == (
            "regions: 'aws:eu-wst-1' is no region; did you mean 'aws:eu-west-1'?"
        )
        assert measurement(here.app, "seoul").asked is None

    def test_a_site_without_a_position_has_to_name_them(self, here: World) -> None:
        site(here, latitude=None, longitude=None)
        with pytest.raises(InvalidRequest, match="site seoul has no position"):
            ask(here.app, "seoul", Question())

        assert ask(here.app, "seoul", Question(regions=TWO)).places[0].km is None

    def test_a_site_in_a_cloud_is_where_that_is(self, here: World) -> None:
        site(here, latitude=None, longitude=None, cloud="aws:eu-west-1")

        assert ask(here.app, "seoul", Question(nearest=1)).places[0].city == "Dublin"

    def test_what_is_asked_already_is_asked_once_and_something_else_takes_its_place(
        self, here: World
    ) -> None:
        site(here)
        first = ask(here.app, "seoul", Question(regions=TWO)).asked
        here.clock.tick(9)
        again = ask(here.app, "seoul", Question(regions=TWO)).asked
        other = ask(here.app, "seoul", Question(regions=TWO[:1])).asked

        assert again == first
        assert other.id != first.id
        assert measurement(here.app, "seoul").asked == other

    def test_of_a_site_nobody_knows_nothing_is_asked(self, here: World) -> None:
        with pytest.raises(NotFound):
            ask(here.app, "nowhere", Question(regions=TWO))


class TestAnswering:
    def test_it_is_kept_with_its_time_and_with_the_site(self, here: World) -> None:
        site(here, rtt_ms={"aws:eu-west-1": 250.0})
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        kept = answer(here.app, "seoul", told(asked.id, *TWO))

        assert (kept.asked, kept.answered, kept.unreached) == (None, asked.id, {})
        one = kept.reached[TWO[0]]
        assert (one.median_ms, one.min_ms, one.answered, one.at) == (4.0, 2.0, 5, START)
        rtt = here.app.sites.get("seoul").value.rtt_ms
        assert rtt == {"aws:eu-west-1": 250.0, **dict.fromkeys(TWO, 4.0)}
        assert measurement(here.app, "seoul") == kept

    def test_measuring_again_replaces(self, here: World) -> None:
        site(here)
        for ms in (4.0, 7.0):
            here.clock.tick(1)
            asked = ask(here.app, "seoul", Question(regions=TWO)).asked
            kept = answer(here.app, "seoul", told(asked.id, *TWO, ms=ms))

        assert kept.reached[TWO[0]].median_ms == 7.0
        assert kept.reached[TWO[0]].at == here.clock()
        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 7.0)

    def test_what_cannot_be_reached_has_its_reason_and_keeps_what_was_known(
        self, here: World
    ) -> None:
        site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        answer(here.app, "seoul", told(asked.id, *TWO))
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        failed = Probed(region=TWO[0], error="does not\nresolve \x1b[2J")
        kept = answer(here.app, "seoul", Measured(request=asked.id, probed=(failed,)))

        assert kept.unreached[TWO[0]].reason == "does not resolve [2J"
        assert kept.unreached[TWO[1]].reason == "the answer does not tell of it"
        assert kept.fresh(TWO) == {}
        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 4.0)

    def test_what_answers_faster_than_light_is_not_believed(self, here: World) -> None:
        site(here)
        far = "aws:sa-east-1"
        asked = ask(here.app, "seoul", Question(regions=(TWO[0], far))).asked
        kept = answer(here.app, "seoul", told(asked.id, TWO[0], far, ms=2.0))

        assert "faster than light" in kept.unreached[far].reason
        assert here.app.sites.get("seoul").value.rtt_ms == {TWO[0]: 2.0}

    def test_a_repeat_is_answered_as_the_first_was(self, here: World) -> None:
        site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        first = answer(here.app, "seoul", told(asked.id, *TWO))

        assert answer(here.app, "seoul", told(asked.id, *TWO, ms=99.0)) == first

    def test_what_was_not_asked_is_refused(self, here: World) -> None:
        site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        with pytest.raises(InvalidRequest, match="aws:eu-west-1 was not asked for"):
            answer(here.app, "seoul", told(asked.id, *TWO, "aws:eu-west-1"))
        with pytest.raises(Conflict, match="'older' is not open"):
            answer(here.app, "seoul", told("older", *TWO))

        assert here.app.sites.get("seoul").value.rtt_ms == {}

    def test_others_may_write_meanwhile(self, here: World) -> None:
        site(here)
        assert isinstance(here.app.store, Contested)
        here.app.store.faster = 3
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        here.app.store.faster = 3
        answer(here.app, "seoul", told(asked.id, *TWO))

        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 4.0)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"median_ms": 0.0, "min_ms": 0.0, "answered": 5},
            {"median_ms": float("nan"), "min_ms": 1.0, "answered": 5},
            {"median_ms": float("inf"), "min_ms": 1.0, "answered": 5},
            {"median_ms": -1.0, "min_ms": -1.0, "answered": 5},
            {"median_ms": 1.0, "min_ms": 2.0, "answered": 5},
            {"median_ms": 1.0, "answered": 5},
            {"median_ms": 1.0, "min_ms": 1.0, "answered": 0},
            {"answered": 0},
            {"region": "aws:evil.example/", "error": "x"},
            {"region": "eu-west-1", "error": "x"},
        ],
    )
    def test_times_that_cannot_be_are_no_answer(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            Probed.model_validate({"region": "aws:eu-west-1", **wrong})


class TestAgents:
    def test_an_agent_is_told_until_it_has_answered(self, here: World) -> None:
        agent_site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        before = [says(here, "seoul", seq).measure for seq in (2, 2, 3)]
        after = says(here, "seoul", 4, measured=told(asked.id, *TWO)).measure
        later = says(here, "seoul", 5).measure

        assert before == [asked] * 3
        assert (after, later) == (None, None)
        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 4.0)

    def test_one_machine_measures_for_its_site(self, here: World) -> None:
        agent_site(here, "a", "b")
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        first = {machine: says(here, "seoul", 2, machine=machine).measure for machine in "ab"}
        here.clock.tick(here.app.settings.lost_seconds + 1)
        then = says(here, "seoul", 3, machine="b").measure

        assert first == {"a": asked, "b": None}
        assert then == asked
        assert site_manifest(here.app, "seoul", "c").measure is None

    def test_what_an_agent_says_unasked_changes_nothing(self, here: World) -> None:
        agent_site(here)
        says(here, "seoul", 2, measured=told("mine", *TWO))
        asked = ask(here.app, "seoul", Question(regions=TWO[:1])).asked
        says(here, "seoul", 3, measured=told("older", *TWO))
        still = measurement(here.app, "seoul").asked
        says(here, "seoul", 4, measured=told(asked.id, *TWO, "aws:eu-west-1"))

        assert still == asked
        assert here.app.sites.get("seoul").value.rtt_ms == {TWO[0]: 4.0}

    def test_a_local_site_asks_nothing_of_the_machine_of_a_job(self, here: World) -> None:
        site(here)
        ask(here.app, "seoul", Question(regions=TWO))

        assert says(here, "seoul", 1).measure is None

    def test_a_book_that_is_damaged_costs_no_heartbeat(
        self, here: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def damaged(app: object) -> None:
            raise Corrupt("the book is damaged")

        agent_site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        with monkeypatch.context() as patched:
            patched.setattr(books, "current", damaged)
            heard = says(here, "seoul", 2, measured=told(asked.id, *TWO))
        says(here, "seoul", 3, measured=told(asked.id, *TWO))

        assert heard.measure == asked
        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 4.0)


class TestSites:
    def test_a_site_in_a_job_is_measured_too(self, here: World) -> None:
        site(here)
        at_work = Assignment(job="job-1", site="seoul")
        here.app.store.write([here.app.assignments.put(at_work, "job-1", "seoul", expected=0)])
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        answer(here.app, "seoul", told(asked.id, *TWO))
        site(here)  # registered again as it is: no change

        assert here.app.sites.get("seoul").value.rtt_ms == dict.fromkeys(TWO, 4.0)
        with pytest.raises(Conflict):
            site(here, city="Seoul")

    def test_what_was_measured_outlives_a_site_that_is_registered_again(self, here: World) -> None:
        site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        answer(here.app, "seoul", told(asked.id, *TWO))

        assert site(here, city="Seoul", up_mbps=100.0).rtt_ms == dict.fromkeys(TWO, 4.0)
        assert site(here, rtt_ms={TWO[0]: 9.0}).rtt_ms == {TWO[0]: 9.0}

    def test_a_site_that_moved_was_measured_elsewhere(self, here: World) -> None:
        site(here)
        asked = ask(here.app, "seoul", Question(regions=TWO)).asked
        answer(here.app, "seoul", told(asked.id, *TWO))
        moved = site(here, latitude=51.5, longitude=-0.1)

        assert moved.rtt_ms == {}
        assert measurement(here.app, "seoul").reached == {}

    def test_a_site_that_is_deleted_leaves_no_measurement(self, here: World) -> None:
        site(here)
        ask(here.app, "seoul", Question(regions=TWO))
        delete_site(here.app, "seoul")
        with pytest.raises(NotFound):
            measurement(here.app, "seoul")
        site(here)

        assert measurement(here.app, "seoul").asked is None

    def test_the_cloud_a_site_sits_in_is_a_region(self, here: World) -> None:
        with pytest.raises(InvalidRequest, match=r"cloud: 'aws:eu-west-11'.*'aws:eu-west-1'"):
            site(here, cloud="aws:eu-west-11")

        assert site(here, cloud="eu-west-1").cloud == "aws:eu-west-1"
