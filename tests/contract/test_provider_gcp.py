"""Google Compute Engine: what only it does, and every way in which it says no."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedspan.domain.machines import Machine, MachineSpec, MachineState, Offer, Role, cheapest
from fedspan.domain.spec import CpuArch, GpuNeed, Need
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    NoCapacity,
    NotOffered,
    ProviderError,
    QuotaReached,
    Throttled,
)
from fedspan.placement.offers import offers_in
from fedspan.providers.gcp.documents import LIFE_S
from fedspan.providers.gcp.errors import CODES, Refused
from fedspan.providers.gcp.identity import key_file
from fedspan.providers.gcp.machines import YOUNG, GcpProvider
from fedspan.services.books import shipped
from fedspan.services.steps import TOKEN_LIFETIME
from tests.cli.conftest import ROOT
from tests.clouds.gcp.accounts import private_key
from tests.clouds.gcp.fixtures import GcpProject
from tests.clouds.gcp.metadata import metadata
from tests.clouds.gcp.projects import COMPUTE, ZONES
from tests.clouds.gcp.server import GcpServer
from tests.contract.clouds import remote_provider
from tests.contract.test_providers import NEED, gone

KEY = "20261120-a1b2c3-aggregator-1"
OPERATION_CODES = [
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "QUOTA_EXCEEDED",
    "RESOURCE_NOT_FOUND",
    "PERMISSIONS_ERROR",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_OPERATION_RATE_EXCEEDED",
    "INTERNAL_ERROR",
]
REASONS = {
    "accessNotConfigured": 403,
    "insufficientPermissions": 403,
    "forbidden": 403,
    "conditionNotMet": 412,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "userRateLimitExceeded": 429,
    "notFound": 404,
    "authError": 401,
    "alreadyExists": 409,
    "resourceNotReady": 400,
    "backendError": 503,
}
DETAILS = {"SERVICE_DISABLED": 403, "BILLING_DISABLED": 403, "RATE_LIMIT_EXCEEDED": 429}
STATUSES = {
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


def offer_of(provider: GcpProvider, region: str = "europe-west1", *, spot: bool = False) -> Offer:
    offers = [one for one in provider.offers(NEED) if (one.region, one.spot) == (region, spot)]
    return cheapest(offers, NEED)


def spec_of(provider: GcpProvider, key: str = KEY, **changes: Any) -> MachineSpec:
    given = {
        "key": key,
        "role": Role.AGGREGATOR,
        "epoch": 1,
        "offer": offer_of(provider),
        "environment": {"FEDSPAN_TOKEN": "hush"},
        "port": 8443,
        "sources": ("192.0.2.0/24", "198.51.100.7/32"),
    }
    return MachineSpec.model_validate({**given, **changes})


def the_instance(project: GcpProject) -> dict[str, Any]:
    [found] = project.state.instances.values()
    return found


def nothing_left(project: GcpProject) -> None:
    """Once what was asked for is done."""
    state = project.state
    state.until(lambda: not state.instances and not state.firewalls, 10)

    assert state.instances == {}
    assert state.firewalls == {}
    assert list(project.provider().machines()) == []


def all_gone(project: GcpProject) -> None:
    provider = project.provider()
    for machine in provider.machines():
        gone(provider, machine)
    nothing_left(project)


class TestAMachine:
    def test_has_a_public_address_and_a_disk_that_goes_with_it(
        self, gcp_project: GcpProject
    ) -> None:
        provider = gcp_project.provider(ssh_key="ssh-ed25519 AAAA somebody")
        provider.launch("job-1", spec_of(provider))
        made = the_instance(gcp_project)
        [interface], [disk] = made["networkInterfaces"], made["disks"]
        metadata = {one["key"]: one["value"] for one in made["metadata"]["items"]}

        assert interface["accessConfigs"][0]["natIP"] == "127.0.0.1"
        assert disk["autoDelete"]
        assert metadata["user-data"].startswith("#cloud-config\n")
        assert metadata["block-project-ssh-keys"] == "TRUE"
        assert metadata["ssh-keys"] == "fedspan:ssh-ed25519 AAAA somebody"
        assert made["shieldedInstanceConfig"]["enableSecureBoot"]
        assert "serviceAccounts" not in made
        assert "hush" not in json.dumps({**made, "metadata": ""})

    def test_lets_in_whom_it_should_on_one_port_and_nobody_else(
        self, gcp_project: GcpProject
    ) -> None:
        provider = gcp_project.provider()
        machine = provider.launch("job-1", spec_of(provider))
        rules = gcp_project.state.firewalls
        opened, shut = rules[f"{machine.id}-open"], rules[f"{machine.id}-shut"]

        assert opened["allowed"] == [{"IPProtocol": "tcp", "ports": ["8443"]}]
        assert opened["sourceRanges"] == ["192.0.2.0/24", "198.51.100.7/32"]
        assert shut["denied"] == [{"IPProtocol": "all"}]
        assert opened["priority"] < shut["priority"] < 65_534  # below it are those of `default`
        assert (
            opened["targetTags"] == shut["targetTags"] == the_instance(gcp_project)["tags"]["items"]
        )

    @pytest.mark.parametrize("changes", [{"port": 0}, {"sources": ()}, {"sources": ("::/0",)}])
    def test_without_anybody_to_let_in_has_only_the_rule_that_shuts(
        self, gcp_project: GcpProject, changes: dict[str, Any]
    ) -> None:
        provider = gcp_project.provider()
        machine = provider.launch("job-1", spec_of(provider, **changes))

        assert list(gcp_project.state.firewalls) == [f"{machine.id}-shut"]
        gone(provider, machine)
        nothing_left(gcp_project)

    @pytest.mark.parametrize("spot", [False, True])
    def test_is_deleted_with_its_disk_when_google_takes_it_back_and_when_its_time_is_up(
        self, gcp_project: GcpProject, spot: bool
    ) -> None:
        provider = gcp_project.provider()
        provider.launch("job-1", spec_of(provider, offer=offer_of(provider, spot=spot)))

        assert the_instance(gcp_project)["scheduling"] == {
            "provisioningModel": "SPOT" if spot else "STANDARD",
            "maxRunDuration": {"seconds": str(LIFE_S)},
            "instanceTerminationAction": "DELETE",
            "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
            "automaticRestart": False,
        }

    def test_lives_as_long_as_its_token(self) -> None:
        assert TOKEN_LIFETIME.total_seconds() == LIFE_S

    @pytest.mark.parametrize("port", [8443, 0])
    def test_opens_its_port_in_the_firewall_of_its_own_system(
        self, gcp_project: GcpProject, port: int
    ) -> None:
        provider = gcp_project.provider()
        provider.launch("job-1", spec_of(provider, port=port))
        metadata = the_instance(gcp_project)["metadata"]["items"]
        [text] = [one["value"] for one in metadata if one["key"] == "user-data"]
        files = json.loads(text.removeprefix("#cloud-config\n"))["write_files"]
        [script] = [one["content"] for one in files if one["path"].endswith("prepare.sh")]
        lines = base64.b64decode(script).decode().splitlines()
        opened = [line for line in lines if "iptables" in line]

        assert opened == ["iptables -w -I INPUT -p tcp --dport 8443 -j ACCEPT"][: 1 if port else 0]

    @pytest.mark.parametrize(
        ("need", "family"),
        [
            (Need(vcpus=1, memory_mib=64, arch=CpuArch.ARM), ""),
            (NEED, "c4"),
            (NEED, "n4"),
        ],
    )
    def test_of_every_kind_is_one_that_google_takes(
        self, gcp_project: GcpProject, need: Need, family: str
    ) -> None:
        provider = gcp_project.provider()
        offers = [one for one in provider.offers(need) if one.machine_type.startswith(family)]
        offer = cheapest(offers, need)
        machine = provider.launch("job-1", spec_of(provider, offer=offer))

        assert provider.machines("job-1")[0].offer == machine.offer == offer

    def test_acts_as_a_service_account_where_one_is_named(self, gcp_project: GcpProject) -> None:
        account = f"machines@{gcp_project.state.id}.iam.gserviceaccount.com"
        around = gcp_project.around()
        provider = GcpProvider("gcp", gcp_project.secret, around, service_account=account)
        provider.launch("job-1", spec_of(provider))
        provider.close()

        [given] = the_instance(gcp_project)["serviceAccounts"]
        assert given["email"] == account

    def test_is_not_seen_by_another_installation_in_the_project(
        self, gcp_project: GcpProject
    ) -> None:
        ours, theirs = gcp_project.provider(), gcp_project.provider(owner="another")
        mine, other = ours.launch("job-1", spec_of(ours)), theirs.launch("job-1", spec_of(theirs))

        assert mine.id != other.id
        assert [one.id for one in ours.machines()] == [mine.id]
        gone(ours, mine)
        assert [one.id for one in theirs.machines()] == [other.id]

    def test_is_found_however_many_pages_there_are(self, gcp_project: GcpProject) -> None:
        gcp_project.state.page = 1
        provider = gcp_project.provider()
        offer = offer_of(provider)
        for number in range(3):
            provider.launch("job-1", spec_of(provider, f"key-{number}", offer=offer))

        assert [one.key for one in provider.machines("job-1")] == ["key-0", "key-1", "key-2"]
        all_gone(gcp_project)

    def test_with_the_longest_key_has_a_name_google_takes(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        long = [f"{'k' * 119}-{letter}" for letter in "ab"]
        made = [provider.launch("Job 1", spec_of(provider, key)) for key in long]

        assert made[0].id != made[1].id
        assert [one.key for one in provider.machines("Job 1")] == long

    def test_with_a_gpu_that_nothing_could_use_is_neither_offered_nor_launched(
        self, gcp_project: GcpProject
    ) -> None:
        provider = gcp_project.provider()
        need = Need(vcpus=1, memory_mib=64, gpu=GpuNeed(count=1))
        spec = spec_of(provider)
        with_gpu = spec.offer.model_copy(update={"gpu": "T4", "gpus": 1})

        assert offers_in(shipped(), "gcp", set(ZONES.values()), need)  # Google has them
        assert list(provider.offers(need)) == []
        with pytest.raises(NotOffered, match="GPU"):
            provider.launch("job-1", spec.model_copy(update={"offer": with_gpu}))
        nothing_left(gcp_project)


class TestCapacity:
    def test_a_zone_that_is_sold_out_is_passed_over(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        provider.launch("job-1", spec_of(provider))
        [(first, _)] = gcp_project.state.instances
        all_gone(gcp_project)
        gcp_project.state.sold_out.add(first)
        provider.launch("job-1", spec_of(provider))

        [(second, _)] = gcp_project.state.instances
        assert second != first
        assert ZONES[second] == ZONES[first] == "europe-west1"

    def test_a_zone_is_told_and_one_to_avoid_is_tried_last(self, gcp_project: GcpProject) -> None:
        provider, state = gcp_project.provider(), gcp_project.state
        first = provider.launch("job-1", spec_of(provider))
        assert provider.machines()[0].zone == first.zone
        again = provider.launch("job-1", spec_of(provider, avoid_zones=[first.zone]))
        all_gone(gcp_project)
        second = provider.launch("job-1", spec_of(provider, avoid_zones=[first.zone]))
        all_gone(gcp_project)
        state.sold_out.update({*ZONES} - {first.zone})
        third = provider.launch("job-1", spec_of(provider, avoid_zones=[first.zone]))

        assert ZONES[first.zone] == ZONES[second.zone] == "europe-west1"
        assert again.zone == third.zone == first.zone != second.zone

    def test_a_region_that_is_sold_out_is_told_and_leaves_nothing(
        self, gcp_project: GcpProject
    ) -> None:
        gcp_project.state.sold_out.update(ZONES)
        provider = gcp_project.provider()

        with pytest.raises(NoCapacity, match=r"no e2-\S+ is to be had in europe-west1-"):
            provider.launch("job-1", spec_of(provider))
        nothing_left(gcp_project)

        gcp_project.state.sold_out.clear()
        provider.launch("job-1", spec_of(provider))
        assert len(gcp_project.state.instances) == 1

    def test_a_failure_that_is_told_late_shows_as_stopped_and_is_found_by_a_repeat(
        self, gcp_project: GcpProject
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        state.sold_out.update(ZONES)
        state.drop("zoneOperations.wait", after=False)
        made = provider.launch("job-1", spec_of(provider))
        state.until(lambda: all(o["status"] == "DONE" for o in state.operations.values()), 10)

        assert made.state is MachineState.PENDING
        assert [one.state for one in provider.machines()] == [MachineState.PENDING]
        gcp_project.now += YOUNG
        assert [one.state for one in provider.machines()] == [MachineState.STOPPED]
        with pytest.raises(NoCapacity):
            gcp_project.provider().launch("job-1", spec_of(provider))
        nothing_left(gcp_project)

    def test_a_repeat_does_not_ask_again_where_it_was_refused(
        self, gcp_project: GcpProject
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        state.sold_out.update(ZONES)
        state.drop("zoneOperations.wait", after=False)
        provider.launch("job-1", spec_of(provider))
        state.until(lambda: all(o["status"] == "DONE" for o in state.operations.values()), 10)
        [refused] = [one for one in state.operations.values() if "error" in one]
        state.sold_out.clear()
        provider.launch("job-1", spec_of(provider))

        [(zone, _)] = state.instances
        assert not refused["zone"].endswith(zone)

    def test_a_zone_without_the_machine_type_is_not_asked(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        offer = offer_of(provider)
        gcp_project.state.lacking |= {
            (zone, offer.machine_type) for zone in ("europe-west1-b", "europe-west1-c")
        }
        provider.launch("job-1", spec_of(provider, offer=offer))

        assert [zone for zone, _ in gcp_project.state.instances] == ["europe-west1-d"]

    def test_a_region_without_the_machine_type_does_not_offer_it(
        self, gcp_project: GcpProject
    ) -> None:
        provider = gcp_project.provider()
        spec = spec_of(provider)
        mars = spec.offer.model_copy(update={"region": "mars-north1"})

        with pytest.raises(NotOffered, match="mars-north1 has no e2-"):
            provider.launch("job-1", spec.model_copy(update={"offer": mars}))
        nothing_left(gcp_project)

    def test_a_machine_type_is_no_filter_and_no_path(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        spec = spec_of(provider)
        for kind in ('x" OR name="e2-small', "../e2-small", "e2-small?"):
            offer = spec.offer.model_copy(update={"machine_type": kind})
            with pytest.raises(NotOffered):
                provider.launch("job-1", spec.model_copy(update={"offer": offer}))
        nothing_left(gcp_project)

    def test_a_quota_that_is_reached_is_told_and_leaves_nothing(
        self, gcp_project: GcpProject
    ) -> None:
        gcp_project.state.most_instances = 0
        provider = gcp_project.provider()

        with pytest.raises(QuotaReached, match="Quota 'CPUS' exceeded"):
            provider.launch("job-1", spec_of(provider))
        nothing_left(gcp_project)

    def test_a_machine_whose_rules_were_not_made_does_not_stay(
        self, gcp_project: GcpProject
    ) -> None:
        gcp_project.state.most_firewalls = 0
        provider = gcp_project.provider()

        with pytest.raises(QuotaReached, match="Quota 'FIREWALLS' exceeded"):
            provider.launch("job-1", spec_of(provider))
        nothing_left(gcp_project)

    def test_offers_are_of_the_regions_of_the_credential_or_of_all(
        self, gcp_project: GcpProject
    ) -> None:
        chosen = gcp_project.secret.model_copy(update={"regions": ("us-east1",)})
        everywhere = {one.region for one in gcp_project.provider().offers(NEED)}

        assert {one.region for one in gcp_project.provider(chosen).offers(NEED)} == {"us-east1"}
        assert everywhere == set(ZONES.values())


class TestAnEnd:
    @pytest.mark.parametrize("spot", [False, True])
    def test_of_its_time_leaves_rules_that_are_seen_and_removed(
        self, gcp_project: GcpProject, spot: bool
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        made = provider.launch("job-1", spec_of(provider, offer=offer_of(provider, spot=spot)))
        state.until(lambda: the_instance(gcp_project)["status"] == "RUNNING", 10)
        gcp_project.server.compute.time_is_up(state, made.id)
        state.until(lambda: not state.instances, 10)
        gcp_project.now += YOUNG
        [left] = provider.machines()

        assert state.instances == {}
        assert left.state is MachineState.STOPPED
        gone(provider, left)
        nothing_left(gcp_project)

    def test_a_preempted_machine_is_stopped_until_its_rules_are_gone(
        self, gcp_project: GcpProject
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        made = provider.launch("job-1", spec_of(provider, offer=offer_of(provider, spot=True)))
        gcp_project.server.compute.preempt(state, made.id)
        [stopping] = provider.machines()
        state.until(lambda: not state.instances, 10)
        gcp_project.now += YOUNG
        [left] = provider.machines()

        stopped = made.model_copy(update={"state": MachineState.STOPPED})
        assert stopping == stopped
        assert left == stopped.model_copy(update={"zone": ""})  # rules are in none
        assert len(state.firewalls) == 2
        gone(provider, left)
        nothing_left(gcp_project)

    def test_a_preempted_machine_is_not_made_again_until_it_is_gone(
        self, gcp_project: GcpProject
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        spec = spec_of(provider, offer=offer_of(provider, spot=True))
        made = provider.launch("job-1", spec)
        gcp_project.server.compute.preempt(state, made.id)
        state.until(lambda: not state.instances, 10)

        assert provider.launch("job-1", spec) == made
        assert state.instances == {}
        gone(provider, made)
        provider.launch("job-1", spec)
        assert len(state.instances) == 1

    def test_a_machine_that_was_switched_off_is_stopped_and_can_be_removed(
        self, gcp_project: GcpProject
    ) -> None:
        state, provider = gcp_project.state, gcp_project.provider()
        made = provider.launch("job-1", spec_of(provider))
        gcp_project.server.compute.preempt(state, made.id)
        state.until(lambda: the_instance(gcp_project)["status"] == "TERMINATED", 10)
        [listed] = provider.machines()

        assert listed.state is MachineState.STOPPED
        assert provider.launch("job-1", spec_of(provider)) == listed  # it is not gone yet
        gone(provider, listed)
        nothing_left(gcp_project)

    @pytest.mark.parametrize("method", ["instances.delete", "firewalls.get", "firewalls.delete"])
    @pytest.mark.parametrize("after", [False, True])
    def test_failures_in_the_middle_of_it_are_told_and_it_goes_on_where_it_was(
        self, gcp_project: GcpProject, method: str, after: bool
    ) -> None:
        provider = gcp_project.provider()
        made = provider.launch("job-1", spec_of(provider))
        gcp_project.state.fail(method, 500, "internalError", after=after)
        said = []
        while any(one.id == made.id for one in provider.machines()):
            try:
                provider.terminate(made)
            except CloudUnavailable as exc:
                said.append(exc)

        assert len(said) == 1
        nothing_left(gcp_project)

    def test_what_is_being_deleted_already_may_be_not_ready(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        made = provider.launch("job-1", spec_of(provider))
        for method in ("instances.delete", "firewalls.delete"):
            gcp_project.state.fail(method, 400, "resourceNotReady")
        provider.terminate(made)

        assert [one.id for one in provider.machines()] == [made.id]
        gone(provider, made)
        nothing_left(gcp_project)


class TestWhatIsNotOurs:
    VICTIM = "../../zones/europe-west1-b/instances/victim"

    def given(self, project: GcpProject) -> tuple[Machine, Machine]:
        """A machine of ours and one of another installation, beside one of somebody."""
        state, ours, theirs = project.state, project.provider(), project.provider(owner="another")
        made = ours.launch("job-1", spec_of(ours)), theirs.launch("job-1", spec_of(theirs))
        state.until(lambda: len(state.instances) == 2, 10)
        with state.changed:
            kept = {"name": "victim", "description": "theirs"}
            zone = "europe-west1-b"
            state.instances[zone, "victim"] = {**next(iter(state.instances.values())), **kept}
            for rule in ("victim", "victim-open", "victim-shut"):
                shown = {**state.firewalls[f"{made[0].id}-shut"], **kept, "name": rule}
                state.firewalls[rule] = shown
            state.calls.clear()
        return made

    @pytest.mark.parametrize(
        "id",
        [
            f"{VICTIM}#",
            f"{VICTIM}?",
            "../../global/firewalls/victim#",
            "victim",
            "victim#",
            'x" OR name="victim',
            "x OR name=victim",
            "..",
            "",
            f"fs-{VICTIM}-0123456789ab",
            "fs-a-0123456789ab\n",
        ],
    )
    def test_is_not_ended_by_a_name_that_means_another_path_or_filter(
        self, gcp_project: GcpProject, request: pytest.FixtureRequest, id: str
    ) -> None:
        ours, _ = self.given(gcp_project)
        state = gcp_project.state
        before = {*state.instances}, {*state.firewalls}
        refused = pytest.raises(InvalidRequest, match="no id of a machine of ours")
        with remote_provider(request, gcp_project.provider()) as function, refused:
            function.terminate(ours.model_copy(update={"id": id}))

        assert ({*state.instances}, {*state.firewalls}) == before
        assert state.calls == []

    def test_is_not_ended_by_its_name(self, gcp_project: GcpProject) -> None:
        ours, theirs = self.given(gcp_project)
        state = gcp_project.state
        before = {*state.instances}, {*state.firewalls}
        gcp_project.provider().terminate(ours.model_copy(update={"id": theirs.id}))

        assert ({*state.instances}, {*state.firewalls}) == before
        assert not {one for one in state.calls if one.endswith(".delete")}

    def test_is_kept_even_where_it_is_named_as_ours_are(self, gcp_project: GcpProject) -> None:
        ours, _ = self.given(gcp_project)
        state, provider = gcp_project.state, gcp_project.provider()
        state.firewalls[f"{ours.id}-open"]["description"] = "theirs"
        gone(provider, ours)
        state.until(lambda: f"{ours.id}-shut" not in state.firewalls, 10)

        assert f"{ours.id}-shut" not in state.firewalls
        assert f"{ours.id}-open" in state.firewalls

    def test_is_out_of_reach_of_a_name_in_a_path(self, gcp_project: GcpProject) -> None:
        calls = gcp_project.provider()._calls
        for name in ("a/../victim", "victim?x", "victim#x", "a/b"):
            with pytest.raises(Refused) as caught:
                calls.delete("global", "firewalls", name)
            assert caught.value.status == 404
        for name in ("", ".", ".."):
            with pytest.raises(InvalidRequest):
                calls.delete("global", "firewalls", name)

        assert gcp_project.state.calls == ["firewalls.delete"] * 4


CALLS = [
    ("instances.aggregatedList", 0),
    ("machineTypes.aggregatedList", 0),
    ("firewalls.insert", 0),
    ("firewalls.insert", 1),
    ("instances.insert", 0),
    ("zoneOperations.wait", 0),
    ("globalOperations.get", 0),
    ("globalOperations.get", 1),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("method", "skip"), CALLS)
class TestALaunchThatIsCutOff:
    def cut(self, project: GcpProject, method: str, skip: int, after: bool) -> MachineSpec:
        """Launch, and lose the connection at one call, and at its repetition."""
        provider = project.provider()
        spec = spec_of(provider)
        project.state.drop(method, after=after, times=2, skip=skip)
        try:
            provider.launch("job-1", spec)
        except CloudUnavailable as exc:
            assert "no answer" in str(exc)
        project.state.faults.clear()
        return spec

    def test_is_repeated_safely(
        self, gcp_project: GcpProject, method: str, skip: int, after: bool
    ) -> None:
        spec = self.cut(gcp_project, method, skip, after)
        again = gcp_project.provider()
        made = again.launch("job-1", spec)

        assert [one.id for one in again.machines()] == [made.id]
        assert len(gcp_project.state.instances) == 1
        assert len(gcp_project.state.firewalls) == 2
        all_gone(gcp_project)

    def test_leaves_nothing_that_is_not_seen(
        self, gcp_project: GcpProject, method: str, skip: int, after: bool
    ) -> None:
        self.cut(gcp_project, method, skip, after)
        made = bool(gcp_project.state.firewalls)

        assert bool(gcp_project.provider().machines("job-1")) == made
        all_gone(gcp_project)


def test_launches_at_the_same_time_make_one_machine(gcp_project: GcpProject) -> None:
    providers = [gcp_project.provider() for _ in range(4)]
    spec = spec_of(providers[0])

    def launched(provider: GcpProvider) -> str:
        while True:
            try:
                return provider.launch("job-1", spec).id
            except CloudUnavailable:  # what the state machine repeats
                continue

    with ThreadPoolExecutor() as pool:
        ids = list(pool.map(launched, providers))

    assert len(set(ids)) == len(gcp_project.state.instances) == 1
    assert len(gcp_project.state.firewalls) == 2


class TestRefusals:
    def test_every_row_of_the_table_has_a_case(self) -> None:
        assert CODES.keys() == {*OPERATION_CODES, *REASONS, *DETAILS, *STATUSES}

    def launch_fails(self, project: GcpProject, kind: type[FedspanError]) -> None:
        provider = project.provider()
        spec = spec_of(provider)
        with pytest.raises(ProviderError) as caught:
            provider.launch("job-1", spec)

        assert type(caught.value) is kind
        assert "hush" not in str(caught.value)
        assert "PRIVATE" not in str(caught.value)
        if not kind.retryable:
            nothing_left(project)
        project.state.sold_out.clear()
        all_gone(project)

    @pytest.mark.parametrize("code", OPERATION_CODES)
    def test_an_operation_that_ends_with_a_code(self, gcp_project: GcpProject, code: str) -> None:
        gcp_project.state.sold_out.update(ZONES)
        gcp_project.state.insert_error = code
        self.launch_fails(gcp_project, CODES[code])

    @pytest.mark.parametrize("reason", REASONS)
    def test_an_answer_with_a_reason(self, gcp_project: GcpProject, reason: str) -> None:
        gcp_project.state.fail("instances.insert", REASONS[reason], reason)
        self.launch_fails(gcp_project, CODES[reason])

    @pytest.mark.parametrize("detail", DETAILS)
    def test_an_answer_with_a_detail(self, gcp_project: GcpProject, detail: str) -> None:
        gcp_project.state.fail("instances.insert", DETAILS[detail], "new", detail=detail)
        self.launch_fails(gcp_project, CODES[detail])

    @pytest.mark.parametrize("status", STATUSES)
    def test_an_answer_with_a_status_only(self, gcp_project: GcpProject, status: str) -> None:
        gcp_project.state.fail("instances.insert", STATUSES[status], "new", status=status)
        self.launch_fails(gcp_project, CODES[status])

    @pytest.mark.parametrize(
        ("code", "kind"), [(400, ProviderError), (500, CloudUnavailable), (503, CloudUnavailable)]
    )
    def test_what_nobody_knows_is_not_guessed(
        self, gcp_project: GcpProject, code: int, kind: type[FedspanError]
    ) -> None:
        gcp_project.state.fail("instances.insert", code, "somethingNew")
        self.launch_fails(gcp_project, kind)

    def test_an_operation_with_a_code_nobody_knows(self, gcp_project: GcpProject) -> None:
        gcp_project.state.sold_out.update(ZONES)
        gcp_project.state.insert_error = "UNSUPPORTED_OPERATION"
        self.launch_fails(gcp_project, ProviderError)

    def test_a_policy_of_the_organisation(self, gcp_project: GcpProject) -> None:
        gcp_project.state.external_addresses = False
        self.launch_fails(gcp_project, Denied)

    def test_a_project_without_the_network(self, gcp_project: GcpProject) -> None:
        gcp_project.state.networks.clear()
        self.launch_fails(gcp_project, NotOffered)

    def test_compute_engine_is_not_enabled(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        spec = spec_of(provider)
        gcp_project.state.disabled.add(COMPUTE)

        with pytest.raises(Denied, match=r"Enable it by visiting https://console\.developers"):
            provider.launch("job-1", spec)

    def test_a_burst_of_throttling_passes(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        spec = spec_of(provider)
        for method, code in (("firewalls.insert", 403), ("instances.insert", 429)):
            gcp_project.state.fail(method, code, "rateLimitExceeded", times=2)
        throttled = 0
        while throttled < 10:
            try:
                provider.launch("job-1", spec)
                break
            except Throttled:
                throttled += 1

        assert throttled == 4
        assert len(gcp_project.state.instances) == 1
        assert len(gcp_project.state.firewalls) == 2

    def test_nobody_answers(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider(endpoint="http://127.0.0.1:1")

        with pytest.raises(CloudUnavailable, match="no answer"):
            provider.machines()

    def test_too_much_to_start_with(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        spec = spec_of(provider, environment={"DATASETS": "x" * 300_000})

        with pytest.raises(InvalidRequest, match="262,144"):
            provider.launch("job-1", spec)
        nothing_left(gcp_project)

    def test_a_message_about_the_metadata_does_not_repeat_it(self) -> None:
        said = (
            "Invalid value for field 'resource.metadata.items[0].value': 'FEDSPAN_TOKEN=hush'. No."
        )

        assert str(Refused(400, ("invalid",), said)).endswith(": '...'. No.")


class TestIdentity:
    def test_a_key_that_was_revoked(self, gcp_project: GcpProject) -> None:
        provider = gcp_project.provider()
        gcp_project.server.revoke(gcp_project.secret)

        with pytest.raises(CredentialRejected, match="revoked"):
            provider.machines()

    def test_a_key_of_another_project(self, gcp_project: GcpProject) -> None:
        other = gcp_project.server.key(gcp_project.server.project("another-project"))
        stolen = other.model_copy(update={"project_id": gcp_project.state.id})

        with pytest.raises(Denied):
            gcp_project.provider(stolen).machines()
        del gcp_project.server.projects["another-project"]

    def test_a_wrong_private_key(self, gcp_project: GcpProject) -> None:
        wrong = gcp_project.server.key(gcp_project.state, private_key=private_key("wrong"))

        with pytest.raises(CredentialRejected):
            gcp_project.provider(wrong).machines()

    def test_a_private_key_that_is_none(self, gcp_project: GcpProject) -> None:
        text = "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----"
        broken = gcp_project.server.key(gcp_project.state, private_key=text)

        with pytest.raises(CredentialRejected, match="cannot be read") as caught:
            gcp_project.provider(broken)
        assert "bm9uZQ" not in str(caught.value)

    @pytest.mark.parametrize("skew_s", [-7200, 7200])
    def test_a_clock_that_is_wrong(self, gcp_project: GcpProject, skew_s: float) -> None:
        gcp_project.server.skew_s = skew_s

        with pytest.raises(CredentialRejected, match="the clock of this computer is wrong"):
            gcp_project.provider().machines()

    def test_that_of_the_environment(
        self, gcp_project: GcpProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = {**key_file(gcp_project.secret), "project_id": gcp_project.state.id}
        file = tmp_path / "key.json"
        file.write_text(json.dumps(document))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
        provider = GcpProvider.ambient("gcp", gcp_project.around())
        made = provider.launch("job-1", spec_of(provider))

        assert [one.id for one in provider.machines()] == [made.id]
        provider.close()

    def test_that_of_the_function_it_runs_in(self, gcp_project: GcpProject, tmp_path: Path) -> None:
        with metadata(gcp_project.server, gcp_project.state) as host:
            environment = {
                "GCE_METADATA_HOST": host,
                "GCE_METADATA_IP": host,
                "HOME": str(tmp_path),
                "PYTHONPATH": str(ROOT),
            }
            command = [sys.executable, "-c", AMBIENT, gcp_project.server.url]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=180
            )

        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == sorted(set(ZONES.values()))

    def test_none_in_the_environment(
        self, gcp_project: GcpProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

        with pytest.raises(CredentialRejected, match="was not found"):
            GcpProvider.ambient("gcp", gcp_project.around())


AMBIENT = """
import sys
from datetime import UTC, datetime
from fedspan.domain.spec import Need
from fedspan.providers.base import Surroundings
from fedspan.providers.gcp.machines import GcpProvider
from fedspan.services.books import shipped
now = datetime(2026, 11, 20, tzinfo=UTC)
provider = GcpProvider.ambient("gcp", Surroundings("o", {}, shipped, lambda: now, "", sys.argv[1]))
print(*sorted({one.region for one in provider.offers(Need(vcpus=1, memory_mib=64))}))
provider.close()
"""
BOOTS = """
import pathlib, subprocess, sys, time
data, folder = sys.argv[1:]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
text = pathlib.Path(data).read_text()
pathlib.Path(folder, "booted").write_text(f"{child.pid} {text[:13]}")
while not pathlib.Path(folder, "off").exists():
    time.sleep(0.02)
"""


class TestABoot:
    @pytest.fixture
    def project(self) -> Iterator[GcpProject]:
        with GcpServer(boot=[sys.executable, "-c", BOOTS]) as server:
            state = server.project("a-project-that-boots")
            project = GcpProject(server, state, server.key(state))
            yield project
            project.close()

    def booted(self, project: GcpProject) -> tuple[psutil.Process, Path]:
        machine = the_instance(project)["id"]
        end = time.monotonic() + 20
        folder = project.server.boots.folder / machine
        while not (folder / "booted").exists() or not (folder / "booted").read_text():
            assert time.monotonic() < end, "the machine does not boot"
            time.sleep(0.02)
        pid, _, data = (folder / "booted").read_text().partition(" ")
        assert data == "#cloud-config"
        return psutil.Process(int(pid)), folder

    def test_runs_the_user_data_until_the_machine_is_ended(self, project: GcpProject) -> None:
        provider = project.provider()
        made = provider.launch("job-1", spec_of(provider))
        child, _ = self.booted(project)
        gone(provider, made)

        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    def test_that_ends_by_itself_stops_the_machine(self, project: GcpProject) -> None:
        provider = project.provider()
        made = provider.launch("job-1", spec_of(provider))
        child, folder = self.booted(project)
        (folder / "off").touch()
        end = time.monotonic() + 20
        while provider.machines()[0].state is not MachineState.STOPPED:
            assert time.monotonic() < end
            time.sleep(0.02)
        gone(provider, made)

        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
