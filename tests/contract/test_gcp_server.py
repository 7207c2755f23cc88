"""Our Compute Engine, held against Google's own client library: it is shaped after Google's API,
not after our adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.jwt import Credentials
from google.cloud import compute_v1

from fedspan.providers.gcp import documents
from fedspan.providers.gcp.identity import key_file
from fedspan.providers.gcp.marks import Marks
from fedspan.providers.gcp.rest import COMPUTE, equal
from tests.clouds.gcp.fixtures import GcpProject
from tests.clouds.gcp.projects import REGIONS
from tests.clouds.gcp.queries import matching
from tests.contract.test_provider_gcp import offer_of, spec_of

ZONE = "europe-west1-b"
IMAGE = "projects/cos-cloud/global/images/family/cos-stable"
SPARSE = {"always_print_fields_with_no_presence": False}
DONE = compute_v1.Operation.Status.DONE


class Quiet(Credentials):
    """Without the look at Google's real IAM, which google-auth makes in a thread of its own."""

    def _is_regional_access_boundary_lookup_required(self) -> bool:
        return False


class Client:
    """Google's, by a self-signed token for one audience, as it makes them itself."""

    def __init__(self, project: GcpProject) -> None:
        info = key_file(project.secret)
        key = Quiet.from_service_account_info(info, audience=f"{COMPUTE}/")
        given = {"credentials": key, "client_options": ClientOptions(project.server.url)}
        self.instances = compute_v1.InstancesClient(**given)
        self.firewalls = compute_v1.FirewallsClient(**given)
        self.zone_operations = compute_v1.ZoneOperationsClient(**given)
        self.global_operations = compute_v1.GlobalOperationsClient(**given)
        self.regions = compute_v1.RegionsClient(**given)
        self.networks = compute_v1.NetworksClient(**given)
        self.all = (
            self.instances,
            self.firewalls,
            self.zone_operations,
            self.global_operations,
            self.regions,
            self.networks,
        )


@pytest.fixture
def google(gcp_project: GcpProject) -> Iterator[Client]:
    client = Client(gcp_project)
    yield client
    for one in client.all:
        one.transport.close()


def instance(name: str = "a-machine", **changes: Any) -> compute_v1.Instance:
    made = compute_v1.AttachedDiskInitializeParams(source_image=IMAGE, disk_size_gb=30)
    given = {
        "name": name,
        "machine_type": f"zones/{ZONE}/machineTypes/e2-small",
        "disks": [compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=made)],
        "network_interfaces": [
            compute_v1.NetworkInterface(
                network="global/networks/default",
                access_configs=[compute_v1.AccessConfig(type_="ONE_TO_ONE_NAT")],
            )
        ],
        "labels": {"colour": "blue"},
    }
    return compute_v1.Instance(**{**given, **changes})


def limited(seconds: int | None, action: str | None = None) -> dict[str, Any]:
    run = None if seconds is None else compute_v1.Duration(seconds=seconds)
    how = compute_v1.Scheduling(max_run_duration=run, instance_termination_action=action)
    return {"scheduling": how}


def test_google_s_client_makes_lists_and_deletes_a_machine(
    gcp_project: GcpProject, google: Client
) -> None:
    here = {"project": gcp_project.state.id, "zone": ZONE}
    begun = google.instances.insert_unary(**here, instance_resource=instance())
    ended = google.zone_operations.wait(**here, operation=begun.name)
    [listed] = google.instances.list(**here)
    found = google.instances.aggregated_list(
        compute_v1.AggregatedListInstancesRequest(
            project=gcp_project.state.id, filter="labels.colour=blue"
        )
    )
    zones = [zone for zone, one in found if one.instances]

    assert begun.status != DONE
    assert ended.status == DONE
    assert not ended.error.errors
    assert (listed.name, listed.status, dict(listed.labels)) == (
        "a-machine",
        "RUNNING",
        {"colour": "blue"},
    )
    assert listed.network_interfaces[0].access_configs[0].nat_i_p == "127.0.0.1"
    assert zones == [f"zones/{ZONE}"]

    begun = google.instances.delete_unary(**here, instance="a-machine")
    google.zone_operations.wait(**here, operation=begun.name)
    assert list(google.instances.list(**here)) == []


def test_google_s_client_makes_lists_and_deletes_a_firewall_rule(
    gcp_project: GcpProject, google: Client
) -> None:
    project = gcp_project.state.id
    allowed = compute_v1.Allowed(I_p_protocol="tcp", ports=["8443"])
    rule = compute_v1.Firewall(name="a-rule", allowed=[allowed], source_ranges=["192.0.2.0/24"])
    begun = google.firewalls.insert_unary(project=project, firewall_resource=rule)
    ended = google.global_operations.wait(project=project, operation=begun.name)
    [listed] = google.firewalls.list(project=project)

    assert ended.status == DONE
    assert listed.id == ended.target_id
    assert listed.allowed == [allowed]

    begun = google.firewalls.delete_unary(project=project, firewall="a-rule")
    google.global_operations.wait(project=project, operation=begun.name)
    with pytest.raises(exceptions.NotFound):
        google.firewalls.get(project=project, firewall="a-rule")


def test_google_s_client_reads_a_stock_out_from_the_operation(
    gcp_project: GcpProject, google: Client
) -> None:
    here = {"project": gcp_project.state.id, "zone": ZONE}
    gcp_project.state.sold_out.add(ZONE)
    begun = google.instances.insert_unary(**here, instance_resource=instance())
    ended = google.zone_operations.wait(**here, operation=begun.name)

    assert [one.code for one in ended.error.errors] == ["ZONE_RESOURCE_POOL_EXHAUSTED"]
    assert ended.http_error_status_code == 503


def test_google_s_client_reads_the_regions_and_their_quotas(
    gcp_project: GcpProject, google: Client
) -> None:
    gcp_project.state.page = 2  # there are more pages than one
    found = list(google.regions.list(project=gcp_project.state.id))

    assert len(found) == len(REGIONS)
    assert found[0].quotas[0].limit == 24


def test_google_s_client_reads_a_network(gcp_project: GcpProject, google: Client) -> None:
    project = gcp_project.state.id

    assert google.networks.get(project=project, network="default").auto_create_subnetworks
    with pytest.raises(exceptions.NotFound):
        google.networks.get(project=project, network="another")


@pytest.mark.parametrize("name", ["blue", 'b"l"ue', "b\\lue", 'blue" OR "'])
def test_a_filter_in_quotes_means_what_is_in_them(gcp_project: GcpProject, name: str) -> None:
    shown = [{"name": "blue"}, {"name": name}]

    assert matching(shown, equal("name", name)) == [one for one in shown if one["name"] == name]


def test_the_same_request_id_begins_nothing_new(gcp_project: GcpProject, google: Client) -> None:
    request = compute_v1.InsertInstanceRequest(
        project=gcp_project.state.id,
        zone=ZONE,
        instance_resource=instance(),
        request_id="6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    )
    first, second = google.instances.insert_unary(request), google.instances.insert_unary(request)

    assert first.name == second.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Capital"}, "resource.name"),
        ({"name": "x" * 64}, "resource.name"),
        ({"name": "ends-"}, "resource.name"),
        ({"labels": {"colour": "Blue"}}, "resource.labels"),
        ({"labels": {"colour": "x" * 64}}, "resource.labels"),
        ({"description": "x" * 2049}, "resource.description"),
        ({"machine_type": f"zones/{ZONE}/machineTypes/m99-huge-1"}, "machineType"),
        ({"machine_type": f"zones/{ZONE}/machineTypes/c4-standard-2"}, "cannot be used by c4"),
        ({"machine_type": f"zones/{ZONE}/machineTypes/t2a-standard-1"}, "architecture"),
        ({"disks": []}, "Required field 'disks'"),
        (
            {
                "scheduling": compute_v1.Scheduling(
                    provisioning_model="SPOT", automatic_restart=True
                )
            },
            "Spot VMs must have",
        ),
        (limited(29, "DELETE"), "between 30 and 10368000 seconds"),
        (limited(10_368_001, "DELETE"), "between 30 and 10368000 seconds"),
        (limited(60), "needs an instanceTerminationAction"),
        (limited(None, "DELETE"), "for spot VMs and those with a limit"),
        (
            {
                "metadata": compute_v1.Metadata(
                    items=[compute_v1.Items(key="user-data", value="x" * 262_145)]
                )
            },
            "too large",
        ),
    ],
)
def test_what_google_would_not_take_is_not_taken(
    gcp_project: GcpProject, google: Client, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        google.instances.insert_unary(
            project=gcp_project.state.id, zone=ZONE, instance_resource=instance(**changes)
        )


def test_a_name_that_is_taken_is_a_conflict(gcp_project: GcpProject, google: Client) -> None:
    here = {"project": gcp_project.state.id, "zone": ZONE}
    begun = google.instances.insert_unary(**here, instance_resource=instance())
    google.zone_operations.wait(**here, operation=begun.name)

    with pytest.raises(exceptions.Conflict, match="already exists"):
        google.instances.insert_unary(**here, instance_resource=instance())


def test_an_unknown_field_is_refused(gcp_project: GcpProject) -> None:
    project = gcp_project.provider()._calls  # what a typed client cannot send
    with pytest.raises(Exception, match="Unknown name \"colour\" at 'resource'"):
        project.post("zones", ZONE, "instances", body={"name": "a", "colour": "blue"})


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer guessed", "Bearer a.b.c", "Basic eDp5"])
def test_who_proves_nothing_gets_nothing(gcp_project: GcpProject, header: str) -> None:
    url = f"{gcp_project.server.url}/compute/v1/projects/{gcp_project.state.id}/regions"
    answer = requests.get(url, headers={"Authorization": header}, timeout=5)

    assert answer.status_code == 401
    assert answer.json()["error"]["errors"][0]["reason"] == "authError"


def test_a_token_for_another_service_is_none_for_this(gcp_project: GcpProject) -> None:
    audience = "https://storage.googleapis.com/"
    key = Quiet.from_service_account_info(key_file(gcp_project.secret), audience=audience)
    key.refresh(None)
    url = f"{gcp_project.server.url}/compute/v1/projects/{gcp_project.state.id}/regions"
    header = {"Authorization": f"Bearer {key.token.decode()}"}

    assert requests.get(url, headers=header, timeout=5).status_code == 401


@pytest.mark.parametrize("spot", [False, True])
def test_what_the_adapter_sends_is_of_google_s_own_schema(
    gcp_project: GcpProject, spot: bool
) -> None:
    provider = gcp_project.provider()
    spec = spec_of(provider, offer=offer_of(provider, spot=spot))
    offer = spec.offer.model_copy(update={"network_tier": "standard"})
    given = {**spec.model_dump(include={"key", "role", "epoch"}), "owner": "o", "job": "j"}
    marks = Marks.model_validate({**given, "offer": offer, "launched": gcp_project.now})
    account = {"ssh_key": "ssh-ed25519 AAAA", "service_account": "m@example.org"}
    machine = documents.instance("fs-k", ZONE, marks, "#cloud-config", **account)
    parsed = compute_v1.Instance.from_json(json.dumps(machine), ignore_unknown_fields=False)

    assert json.loads(compute_v1.Instance.to_json(parsed, **SPARSE)) == machine
    for rule in documents.rules("fs-k", marks, spec):
        text = json.dumps(rule)
        read = compute_v1.Firewall.from_json(text, ignore_unknown_fields=False)
        assert json.loads(compute_v1.Firewall.to_json(read, **SPARSE)) == rule
