"""Jobs and their places: what submitting refuses, and what a guess must not."""

from __future__ import annotations

import re

import pytest

from fedspan.domain.sites import Site
from fedspan.errors import InvalidRequest, NoCapacity, Throttled
from fedspan.services import steps
from fedspan.services.placements import place_job
from fedspan.services.submit import submit
from tests.support.world import dataset, spec, with_sites, world


@pytest.fixture
def here(tmp_path):
    made = world(tmp_path)
    with_sites(made.app)
    return made


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"aggregator": {"regions": {"allow": ["marz"]}}},
            InvalidRequest,
            "aggregator.regions.allow: nothing is called 'marz'",
        ),
        (
            {"aggregator": {"regions": {"allow": ["eu"]}}},
            NoCapacity,
            r"aggregator.regions.allow \(eu\) cannot be met",
        ),
        (
            {"aggregator": {"need": {"vcpus": 64, "memory_mib": 1}}},
            NoCapacity,
            r"aggregator.need.vcpus \(at least 64\)",
        ),
        (
            {"aggregator": {"need": {"arch": "arm"}}},
            NoCapacity,
            r"aggregator.need.arch \(arm\)",
        ),
    ],
    ids=["unknown", "elsewhere", "too-large", "arm"],
)
def test_a_job_that_has_no_place_is_refused_before_it_exists(here, changes, error, said, dry_run):
    with pytest.raises(error, match=said):
        submit(here.app, spec(**changes), dry_run=dry_run)

    assert here.app.jobs.list() == []


def test_a_provider_that_cannot_say_refuses_nothing(here):
    here.cloud.fail_next = Throttled("too many calls")

    assert submit(here.app, spec()).id


def test_how_long_a_site_trains_is_a_guess_that_refuses_no_job(here):
    job = submit(here.app, spec(rounds=900_000, limits={"deadline": "1h", "budget_usd": 0.01}))

    assert place_job(here.app, job).candidates


def test_what_sites_say_of_their_training_is_held_against_the_deadline(tmp_path):
    made = world(tmp_path)
    for name in ("seoul", "busan", "daejeon"):
        made.app.store.write([made.app.sites.put(site(name, compute_s=600.0), name, expected=0)])

    with pytest.raises(NoCapacity, match=r"limits.deadline \(at most 3600 s\)"):
        submit(made.app, spec(rounds=10, limits={"deadline": "1h"}))


@pytest.mark.parametrize("purchase", ["any", "deadline"])
def test_a_deadline_that_cannot_be_met_is_refused_with_the_nearest_that_can(tmp_path, purchase):
    made = world(tmp_path)
    for name in ("seoul", "busan", "daejeon"):
        made.app.store.write([made.app.sites.put(site(name, compute_s=600.0), name, expected=0)])

    def asked(deadline):
        limits, aggregator = {"deadline": deadline}, {"purchase": purchase}
        return submit(made.app, spec(rounds=10, limits=limits, aggregator=aggregator))

    with pytest.raises(NoCapacity) as refused:
        asked("1h")
    nearest = int(re.search(r"take limits\.deadline at least (\d+) s", str(refused.value))[1])

    assert 6_000 < nearest < 7_000
    assert asked(nearest).id
    with pytest.raises(NoCapacity):
        asked(nearest - 1)


def site(name, **changes):
    return Site(name=name, datasets=(dataset(),), **changes)


def test_a_site_with_half_a_position_trains_beside_us(tmp_path):
    made = world(tmp_path)
    for name in ("seoul", "busan", "daejeon"):
        half = site(name, latitude=37.5, rtt_ms={"aws:mars": 3.0})
        made.app.store.write([made.app.sites.put(half, name, expected=0)])
    job = submit(made.app, spec())

    steps.check(made.app, job.id)
    assert steps.place(made.app, job.id)["epoch"] == 1


def test_a_clock_that_is_a_little_behind_refuses_nothing(here):
    job = submit(here.app, spec(limits={"deadline": "7d"}))
    here.clock.tick(-0.5)

    assert place_job(here.app, job).candidates
