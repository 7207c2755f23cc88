"""Jobs and their places: what submitting refuses, and what a guess must not."""

from __future__ import annotations

import re

import pytest

from fedspan.domain.sites import Site
from fedspan.domain.spec import seconds
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


def trained(tmp_path, compute_s):
    made = world(tmp_path)
    for name in ("seoul", "busan", "daejeon"):
        made.app.store.write(
            [made.app.sites.put(site(name, compute_s=compute_s), name, expected=0)]
        )
    return made


def test_how_long_a_site_trains_is_a_guess_that_refuses_no_job(here):
    job = submit(here.app, spec(rounds=1_000, limits={"deadline": "1h"}))

    assert place_job(here.app, job).candidates


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_a_job_takes_without_any_training_is_no_guess(here, dry_run):
    with pytest.raises(InvalidRequest) as refused:
        submit(here.app, spec(rounds=5_000, limits={"deadline": "1h"}), dry_run=dry_run)
    said = re.fullmatch(
        r"limits\.deadline: no place can meet it \(at most 1h\), even if training took no time; it "
        r"takes ([\d.]+h), and what the training takes",
        str(refused.value),
    )

    assert 5_000 < seconds(said[1]) < 8_000
    assert here.app.jobs.list() == []
    assert submit(here.app, spec(rounds=5_000, limits={"deadline": said[1]}), dry_run=dry_run).id


@pytest.mark.parametrize("purchase", ["any", "on_demand", "deadline"])
def test_a_deadline_that_cannot_be_met_is_refused_with_the_nearest_that_can(tmp_path, purchase):
    made = trained(tmp_path, 600.0)

    def asked(deadline):
        limits, aggregator = {"deadline": deadline}, {"purchase": purchase}
        return submit(made.app, spec(rounds=10, limits=limits, aggregator=aggregator))

    with pytest.raises(InvalidRequest) as refused:
        asked("1h")
    said = re.fullmatch(
        r"limits\.deadline: no place can meet it \(at most 1h\); the nearest that can be met is "
        r"([\d.]+h)",
        str(refused.value),
    )

    assert 6_000 < seconds(said[1]) < 7_000
    assert made.app.jobs.list() == []
    assert asked(said[1]).id
    with pytest.raises(InvalidRequest):
        asked(seconds(said[1]) - 36)


def test_a_job_by_the_deadline_is_held_to_what_on_demand_machines_take(tmp_path):
    """All on spot it would be late; it is on spot only while that leaves slack."""
    made = trained(tmp_path, 600.0)

    def wanted(purchase):
        return spec(
            rounds=100,
            limits={"deadline": "17h"},
            placement={"interruptions_per_hour": 5.0},
            aggregator={"purchase": purchase},
        )

    first = place_job(made.app, submit(made.app, wanted("deadline"))).candidates[0]

    assert (first.purchase, first.hours.expected > 17) == ("spot", True)
    with pytest.raises(InvalidRequest) as refused:
        submit(made.app, wanted("spot"))
    assert re.fullmatch(
        r"limits\.deadline: None of 2 candidates fits: aggregator\.purchase \(spot\) and "
        r"limits\.deadline \(at most 17h\) cannot all be met\. All else kept, it would take "
        r"aggregator\.purchase on_demand or any; or limits\.deadline at least [\d.]+h\.",
        str(refused.value),
    )


def test_a_limit_that_no_value_of_would_do_is_told_so(tmp_path):
    made = trained(tmp_path, 600.0)

    with pytest.raises(InvalidRequest, match=r"Nothing limits\.deadline may be set to is enough"):
        submit(made.app, spec(rounds=10_000))


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
