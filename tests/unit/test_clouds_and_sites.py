"""Which clouds run what: public ones aggregators, private ones the machines of their sites."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fedspan.domain.credentials import Cloud, Credential, Examination, Identity
from fedspan.domain.machines import MachineSpec, MachineState, Offer, Role
from fedspan.domain.measurements import Question
from fedspan.domain.sites import Site, SiteKind
from fedspan.domain.spec import Need
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    InvalidRequest,
    NoCapacity,
    NotOffered,
    Throttled,
)
from fedspan.providers.base import Capabilities
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, steps
from fedspan.services.measure import ask
from fedspan.services.placements import place_job
from fedspan.services.report_site import report_site
from fedspan.services.sites import register_site
from fedspan.services.submit import execution_input, submit
from fedspan.services.sweep import clear
from fedspan.settings import Settings
from tests.support.world import dataset, site_says, spec, with_sites, world

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class PublicCloud(MemoryProvider):
    """Offers one machine of a region that the book knows."""

    def offers(self, need):
        self._fail()
        machine = {"machine_type": "m5.large", "vcpus": 2, "memory_mib": 8192, "price": 96_000}
        return [Offer(provider=self.name, region="eu-west-1", **machine)]


def clouds():
    aws = PublicCloud(lambda: NOW, "aws", Capabilities(roles=frozenset({Role.AGGREGATOR})))
    private = Capabilities(roles=frozenset({Role.CLIENT}))
    return aws, MemoryProvider(lambda: NOW, "clinic", private)


def credential(name: str, provider: Cloud) -> Credential:
    examined = Examination(
        identity=Identity(subject="me", account="1"), permissions=(), regions=("here",)
    )
    return Credential(name=name, provider=provider, registered=NOW, examination=examined)


def a_world(folder, *providers, **settings):
    made = world(
        folder,
        providers={one.name: one for one in providers},
        settings=Settings(**{"allow_loopback": True, **settings}),
    )
    for name, kind in (("clinic", Cloud.OPENSTACK), ("aws", Cloud.AWS)):
        row = credential(name, kind)
        made.app.store.write([made.app.credentials.put(row, name, expected=0)])
    return made


def placeable(app):
    with_sites(app, latitude=37.5, longitude=127.0)


def test_a_private_cloud_is_never_asked_for_an_aggregator(tmp_path):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    placeable(here.app)
    answer = place_job(here.app, submit(here.app, spec()))

    assert {one.provider for one in answer.candidates} == {"aws"}


def test_a_cloud_that_does_not_answer_hides_no_other(tmp_path):
    aws, other = clouds()[0], MemoryProvider(lambda: NOW, "local")
    here = a_world(tmp_path, aws, other)
    placeable(here.app)
    job = submit(here.app, spec())
    aws.fail_next = CloudUnavailable("aws: no answer")

    assert {one.provider for one in place_job(here.app, job).candidates} == {"local"}


def test_when_no_cloud_answers_the_job_asks_again(tmp_path):
    aws, _ = clouds()
    here = a_world(tmp_path, aws)
    placeable(here.app)
    job = submit(here.app, spec())
    aws.fail_next = CloudUnavailable("aws: no answer")

    with pytest.raises(CloudUnavailable):
        place_job(here.app, job)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_url": "http://127.0.0.1:8470", "objects_url": "s3://bucket"},
        {"api_url": "https://api.example.org", "objects_url": "file:///home/me/objects"},
    ],
)
def test_no_aggregator_goes_where_it_could_not_call_back(tmp_path, settings):
    aws, _ = clouds()
    here = a_world(tmp_path, aws, allow_loopback=False, **settings)
    placeable(here.app)
    job = submit(here.app, spec())

    with pytest.raises(NoCapacity, match=f"FEDSPAN_API_URL is {settings['api_url']}"):
        place_job(here.app, job)


def test_why_a_cloud_was_passed_over_is_told_where_this_computer_takes_its_place(tmp_path):
    aws, near = clouds()[0], MemoryProvider(lambda: NOW, "local")
    here = a_world(tmp_path, aws, near, allow_loopback=False, api_url="http://127.0.0.1:8470")
    placeable(here.app)
    job = submit(here.app, spec())
    steps.check(here.app, job.id)
    steps.place(here.app, job.id)
    said = [one.message for _, one in here.app.events.all(job.id)]

    assert "Clouds were passed over" in said[-1]
    with pytest.raises(NoCapacity, match="FEDSPAN_API_URL is http:"):
        submit(here.app, spec(aggregator={"regions": {"allow": ["aws"]}}))


def test_this_computer_aggregates_for_nobody_in_a_cloud(tmp_path):
    """Its aggregator listens on loopback."""
    aws, private = clouds()
    near = MemoryProvider(lambda: NOW, "local")
    public = {"api_url": "https://api.example.org", "objects_url": "s3://bucket"}
    here = a_world(tmp_path, aws, private, near, allow_loopback=False, **public)
    job = with_one_in_a_cloud(here.app)

    assert {one.provider for one in place_job(here.app, job).candidates} == {"aws"}


def test_machines_that_could_not_call_back_are_not_started(tmp_path):
    aws, private = clouds()
    far = {"allow_loopback": False, "api_url": "http://127.0.0.1:8470"}
    here = a_world(tmp_path, aws, private, MemoryProvider(lambda: NOW, "local"), **far)

    with pytest.raises(InvalidRequest, match="participants: busan: machines in clouds could not"):
        with_one_in_a_cloud(here.app)
    assert here.app.jobs.list() == []


def test_one_goes_to_a_cloud_from_a_control_plane_that_it_can_call(tmp_path):
    aws, _ = clouds()
    public = {"api_url": "https://api.example.org", "objects_url": "s3://bucket"}
    here = a_world(tmp_path, aws, allow_loopback=False, **public)
    placeable(here.app)

    assert place_job(here.app, submit(here.app, spec())).candidates


def test_the_machine_of_a_site_starts_in_its_own_cloud(tmp_path):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    placeable(here.app)
    in_cloud = Site(
        name="busan",
        kind=SiteKind.OPENSTACK,
        credential="clinic",
        latitude=35.1,
        longitude=129.0,
        datasets=(dataset(),),
    )
    register_site(here.app, in_cloud)
    job = submit(here.app, spec(participants=["busan"]))
    steps.check(here.app, job.id)
    steps.place(here.app, job.id)
    steps.launch(here.app, job.id)

    [client] = private.machines(job.id)
    assert client.role is Role.CLIENT
    assert [one.role for one in aws.machines(job.id)] == [Role.AGGREGATOR]


def with_one_in_a_cloud(app, **more):
    site = {"name": "busan", "kind": SiteKind.OPENSTACK, "credential": "clinic"}
    place = {"latitude": 35.1, "longitude": 129.0}
    register_site(app, Site(**site, **place, datasets=(dataset(),), **more))
    return submit(app, spec(participants=["busan"]))


def test_a_site_whose_credential_is_gone_is_told_before_anything_starts(tmp_path):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    job = with_one_in_a_cloud(here.app)
    del here.app.providers["clinic"]

    with pytest.raises(NotOffered, match="site busan cannot be started: there is no credential"):
        steps.check(here.app, job.id)
    assert aws.launched == 0


@pytest.mark.parametrize("fault", [CredentialRejected("clinic: expired"), Throttled("slowly")])
def test_a_private_cloud_that_refuses_is_told_before_anything_starts(tmp_path, fault):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    job = with_one_in_a_cloud(here.app)
    private.fail_next = fault

    with pytest.raises(type(fault)):
        steps.check(here.app, job.id)


def test_a_private_cloud_without_a_machine_large_enough_is_told_before_anything_starts(tmp_path):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    job = with_one_in_a_cloud(here.app, need=Need(vcpus=99))

    with pytest.raises(NoCapacity, match="no offer has 99 vCPU"):
        steps.check(here.app, job.id)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "openstack"}, "one of kind openstack names the credential"),
        ({"credential": "clinic"}, "one of kind openstack names the credential"),
        ({"kind": "openstack", "credential": "clinik"}, "did you mean 'clinic'"),
        ({"kind": "openstack", "credential": "aws"}, "'aws' is one of aws"),
    ],
)
def test_a_site_that_names_no_cloud_of_its_own_is_refused(tmp_path, changes, said):
    here = a_world(tmp_path, *clouds())
    site = Site.model_validate({"name": "busan", "datasets": [dataset()], **changes})

    with pytest.raises(InvalidRequest, match=said):
        register_site(here.app, site)
    assert here.app.sites.find("busan") is None


def test_a_part_of_a_cloud_that_is_silent_does_not_keep_the_machines_of_the_rest(tmp_path):
    """A region that is down must not keep a job's machine in another one alive."""
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    job = with_one_in_a_cloud(here.app)
    steps.check(here.app, job.id)
    steps.place(here.app, job.id)
    steps.launch(here.app, job.id)
    half = CloudUnavailable("1 of the regions did not answer (us-west-2)")
    half.found = tuple(aws.machines(job.id))
    aws.fail_next = half
    answer = ending.tear_down(here.app, job.id)

    assert aws.machines(job.id) == []
    assert answer["status"] in ("gone", "waiting")


def test_what_is_left_of_a_launch_under_way_is_no_lost_aggregator(tmp_path):
    aws, private = clouds()
    here = a_world(tmp_path, aws, private)
    job = with_one_in_a_cloud(here.app)
    steps.check(here.app, job.id)
    steps.place(here.app, job.id)
    placed = here.app.jobs.get(job.id).value
    key, offer = steps.aggregator_key(placed), placed.aggregator.offer
    made = aws.launch(
        job.id, MachineSpec(key=key, role=Role.AGGREGATOR, epoch=1, offer=offer)
    )  # its firewall is there, the machine not yet, and the launch has not said so
    aws.stop(made)

    assert clear(here.app) == {"removed": [], "stuck": [], "lost": []}


def test_the_machine_of_a_site_in_a_cloud_measures_for_it(tmp_path):
    here = a_world(tmp_path, *clouds())
    job = with_one_in_a_cloud(here.app)
    ask(here.app, "busan", Question(regions=("aws:eu-west-1",)))
    says = site_says(job.id, "busan", 1)
    told = report_site(here.app, says)

    assert told.measure is not None
    assert told.measure.regions == ("aws:eu-west-1",)


def under_way(folder, **more):
    """A job in a private and a public cloud whose machines run."""
    aws, private = clouds()
    here = a_world(folder, aws, private)
    job = with_one_in_a_cloud(here.app, **more)
    for step in (steps.check, steps.place, steps.launch):
        step(here.app, job.id)
    return here, job, aws, private


@pytest.mark.parametrize(
    "nonsense", [KeyError("url"), InvalidRequest("no Keystone there"), ValueError("not JSON")]
)
def test_a_cloud_that_talks_nonsense_keeps_no_other_machine_alive(tmp_path, nonsense):
    here, job, aws, private = under_way(tmp_path)
    ending.give_up(here.app, job.id, {"Error": "JobCancelled"})
    private.fail_next = nonsense
    ending.tear_down(here.app, job.id)

    assert aws.machines(job.id) == []


def test_an_aggregator_that_is_gone_is_settled_whatever_other_clouds_say(tmp_path):
    here, job, _aws, private = under_way(tmp_path)
    here.clock.tick(3600)
    ending.give_up(here.app, job.id, {"Error": "JobCancelled"})
    private.machines = lambda job=None: (_ for _ in ()).throw(CloudUnavailable("away"))
    answer = ending.tear_down(here.app, job.id)
    found = here.app.jobs.get(job.id).value

    assert answer["status"] == "waiting"
    assert found.aggregator.stopped is not None
    assert found.cost == 96_000 + 5_000  # an hour of the machine, and of its address


def test_a_cloud_whose_credential_is_gone_is_not_taken_for_empty(tmp_path):
    here, job, _aws, _private = under_way(tmp_path)
    ending.give_up(here.app, job.id, {"Error": "JobCancelled"})
    del here.app.providers["clinic"]

    assert ending.tear_down(here.app, job.id)["status"] == "waiting"


def test_a_tear_down_ends_when_clouds_stay_silent(tmp_path):
    here, job, _aws, _private = under_way(tmp_path)
    ending.give_up(here.app, job.id, {"Error": "JobCancelled"})
    del here.app.providers["clinic"]
    ending.tear_down(here.app, job.id)
    here.clock.tick(ending.LONGEST_TEARDOWN_S)

    assert ending.tear_down(here.app, job.id)["status"] == "abandoned"
    assert "cloud clinic" in [one for _, one in here.app.events.all(job.id)][-1].message


def test_a_machine_that_is_on_its_way_out_is_launched_anew(tmp_path):
    """A launch finds the old one by its key while its cloud is still ending it."""
    here, job, _aws, private = under_way(tmp_path)
    [old] = private.machines(job.id)
    private.stop(old)

    with pytest.raises(CloudUnavailable, match="is still going; try again"):
        steps.launch(here.app, job.id)
    steps.launch(here.app, job.id)
    [new] = private.machines(job.id)
    assert new.state is MachineState.RUNNING


def test_machines_in_clouds_are_given_time_to_boot(tmp_path):
    aws, private = clouds()
    far, near = a_world(tmp_path / "far", aws, private), world(tmp_path / "near")
    job = with_one_in_a_cloud(far.app)
    with_sites(near.app)

    assert execution_input(far.app, job)["silence_seconds"] == 600
    assert execution_input(near.app, submit(near.app, spec()))["silence_seconds"] == 60
