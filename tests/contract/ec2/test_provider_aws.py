"""What only EC2 does: on moto, through a wire that can be cut."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fedspan.domain.machines import Machine, MachineState
from fedspan.domain.spec import CpuArch, Need
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    InvalidRequest,
    NoCapacity,
    NotOffered,
    ProviderError,
    Throttled,
)
from fedspan.providers.aws import marks
from fedspan.providers.aws.errors import CODES
from fedspan.providers.aws.launching import PUBLIC_ADDRESS, image_of
from fedspan.providers.aws.machines import AwsProvider
from tests.clouds.aws import accounts
from tests.clouds.aws.wire import XML, Fault, Wire, refusal
from tests.contract.ec2.conftest import SSH_KEY, CutOff, Really, cut_off, spec, swept, told

CALLS = 6
"""Of one launch: look up instance and group, make group, rules, key pair and instance."""


def nothing(action: str, rows: str) -> Fault:
    """An answer that shows none."""
    return Fault(200, f"<{action}Response><{rows}/></{action}Response>".encode(), XML)


class TestALaunchThatIsCutOff(CutOff):
    """Killed after so many calls; `lost`: the last was done, but nobody heard of it."""

    @pytest.fixture(params=range(1, CALLS + 1), ids=lambda n: f"after-{n}")
    def after(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    @pytest.fixture(params=[False, True], ids=["heard", "lost"])
    def cut(
        self, request: pytest.FixtureRequest, after: int, cloud: AwsProvider, aws_wire: Wire
    ) -> int:
        with cut_off(aws_wire, after, lost=request.param):
            cloud.launch("j-1", spec())
        return after

    def test_makes_one_machine_when_it_is_repeated(
        self, cut: int, cloud: AwsProvider, really: Really
    ) -> None:
        made = cloud.launch("j-1", spec())

        assert [one.id for one in cloud.machines("j-1")] == [made.id]
        assert really.counts() == [1, 1, 1]

    def test_is_seen_from_its_first_trace_on(
        self, cut: int, cloud: AwsProvider, really: Really
    ) -> None:
        assert len(cloud.machines("j-1")) == (1 if any(really.counts()) else 0)


def test_a_launch_has_as_many_calls_as_these_tests_cut(cloud: AwsProvider, aws_wire: Wire) -> None:
    cloud.launch("j-1", spec())

    assert len(aws_wire.calls) == CALLS


@pytest.mark.parametrize("after", range(1, 8))
def test_an_end_that_is_cut_off_is_finished_by_the_next(
    cloud: AwsProvider, aws_wire: Wire, really: Really, after: int
) -> None:
    made = cloud.launch("j-1", spec())
    for lost in (True, False):
        with cut_off(aws_wire, after, lost=lost):
            cloud.terminate(made)
            cloud.terminate(made)
    swept(cloud)

    assert really.counts() == [0, 0, 0]
    assert list(cloud.machines()) == []


def test_the_firewall_goes_after_the_instance(cloud: AwsProvider, really: Really) -> None:
    made = cloud.launch("j-1", spec())
    cloud.terminate(made)

    assert really.counts() == [0, 1, 1]
    assert [(one.id, one.state) for one in cloud.machines()] == [(made.id, MachineState.STOPPED)]

    cloud.terminate(made)
    assert really.counts() == [0, 0, 0]


def test_a_firewall_still_held_by_an_interface_is_left_for_the_next_call(
    cloud: AwsProvider, aws_wire: Wire, really: Really
) -> None:
    made = cloud.launch("j-1", spec())
    cloud.terminate(made)
    aws_wire.instead["DeleteSecurityGroup"] = [refusal("DependencyViolation")]
    cloud.terminate(made)

    assert [one.id for one in cloud.machines()] == [made.id]

    cloud.terminate(made)
    assert list(cloud.machines()) == []


@pytest.mark.parametrize(
    ("minutes", "state"), [(0, MachineState.PENDING), (5, MachineState.STOPPED)]
)
def test_a_leftover_firewall_without_any_instance_is_listed_and_removed(
    cloud: AwsProvider, aws_wire: Wire, really: Really, minutes: int, state: MachineState
) -> None:
    aws_wire.instead["RunInstances"] = [refusal("InsufficientInstanceCapacity")]
    with pytest.raises(NoCapacity):
        cloud.launch("j-1", spec())
    later = accounts.NOW + timedelta(minutes=minutes)
    after = accounts.provider(aws_wire.url, owner=really.owner, now=lambda: later)
    [left] = after.machines("j-1")
    after.close()

    assert left.state is state
    assert left.id.startswith("sg-")
    assert (left.key, left.offer, left.launched) == (spec().key, spec().offer, accounts.NOW)

    cloud.terminate(left)
    assert really.counts() == [0, 0, 0]


def test_a_machine_ended_behind_our_back_is_listed_as_stopped_and_removed(
    cloud: AwsProvider, really: Really
) -> None:
    made = cloud.launch("j-1", spec(spot=True))
    really.ec2.terminate_instances(InstanceIds=[made.id])

    assert list(cloud.machines()) == [made.model_copy(update={"state": MachineState.STOPPED})]

    cloud.terminate(made)
    assert really.counts() == [0, 0, 0]


def test_a_machine_that_was_stopped_is_no_running_one(cloud: AwsProvider, really: Really) -> None:
    made = cloud.launch("j-1", spec())
    really.ec2.stop_instances(InstanceIds=[made.id])

    assert [one.state for one in cloud.machines()] == [MachineState.STOPPED]
    assert cloud.launch("j-1", spec()).state is MachineState.STOPPED

    swept(cloud)
    assert really.counts() == [0, 0, 0]


def test_the_instance_is_as_it_should_be(
    cloud: AwsProvider, aws_wire: Wire, really: Really
) -> None:
    made = cloud.launch("j-1", spec())
    [instance], [group], [pair] = really.all()
    [attached] = instance["BlockDeviceMappings"]
    [volume] = really.ec2.describe_volumes(VolumeIds=[attached["Ebs"]["VolumeId"]])["Volumes"]
    shutdown = really.ec2.describe_instance_attribute(
        InstanceId=made.id, Attribute="instanceInitiatedShutdownBehavior"
    )

    assert instance["InstanceType"] == "m7i.large"
    assert instance["ImageId"].startswith("resolve:ssm:/aws/service/ecs/optimized-ami/")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert instance["PublicIpAddress"]
    assert instance["KeyName"] == pair["KeyName"]
    assert shutdown["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert (volume["VolumeType"], volume["Encrypted"]) == ("gp3", True)
    assert attached["Ebs"]["DeleteOnTermination"]
    [interface] = instance["NetworkInterfaces"]
    assert [one["GroupId"] for one in interface["Groups"]] == [group["GroupId"]]
    assert len(aws_wire.of("RunInstances")[0]["ClientToken"]) == 64


def test_only_the_port_is_open_and_only_to_its_sources(cloud: AwsProvider, really: Really) -> None:
    cloud.launch("j-1", spec())
    [group] = really.all()[1]
    [rule] = group["IpPermissions"]

    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 8443, 8443)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == ["192.0.2.0/24"]
    assert [one["CidrIpv6"] for one in rule["Ipv6Ranges"]] == ["2001:db8::/32"]


def test_without_a_port_nothing_is_open(cloud: AwsProvider, really: Really) -> None:
    cloud.launch("j-1", spec(port=0))

    assert really.all()[1][0]["IpPermissions"] == []


def test_without_an_ssh_key_there_is_no_key_pair(aws_wire: Wire, really: Really) -> None:
    cloud = accounts.provider(aws_wire.url, owner=really.owner)
    cloud.launch("j-1", spec())

    assert really.counts() == [1, 1, 0]

    swept(cloud)
    assert really.counts() == [0, 0, 0]
    cloud.close()


@pytest.mark.parametrize("spot", [False, True], ids=["on demand", "spot"])
def test_everything_of_a_machine_is_marked_as_it_is_made(
    cloud: AwsProvider, aws_wire: Wire, really: Really, spot: bool
) -> None:
    cloud.launch("j-1", spec(spot=spot))
    [call] = aws_wire.of("RunInstances")
    kinds = {v for k, v in call.items() if k.endswith("ResourceType")}
    [instance], [group], [pair] = really.all()
    [volume] = really.ec2.describe_volumes(
        VolumeIds=[instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]]
    )["Volumes"]

    wanted = {marks.JOB: "j-1", marks.KEY: spec().key, marks.ROLE: "aggregator", marks.EPOCH: "1"}
    for one in (instance, group, pair, volume):
        assert marks.read(one).items() >= wanted.items()
        assert all(len(value) <= 256 for value in marks.read(one).values())
    assert kinds == {"instance", "volume", "network-interface"} | (
        {"spot-instances-request"} if spot else set()
    )


def test_a_spot_machine_is_asked_for_once_and_ends_when_interrupted(
    cloud: AwsProvider, aws_wire: Wire, really: Really
) -> None:
    cloud.launch("j-1", spec(spot=True))
    [call] = aws_wire.of("RunInstances")
    asked = "InstanceMarketOptions."

    assert really.all()[0][0]["InstanceLifecycle"] == "spot"
    assert {k.removeprefix(asked): v for k, v in call.items() if k.startswith(asked)} == {
        "MarketType": "spot",
        "SpotOptions.SpotInstanceType": "one-time",
        "SpotOptions.InstanceInterruptionBehavior": "terminate",
    }


def test_a_machine_on_demand_is_no_spot_machine(cloud: AwsProvider, really: Really) -> None:
    cloud.launch("j-1", spec())

    assert "InstanceLifecycle" not in really.all()[0][0]


def test_the_start_up_document_is_on_the_machine(cloud: AwsProvider, really: Really) -> None:
    made = cloud.launch("j-1", spec())
    given = really.ec2.describe_instance_attribute(InstanceId=made.id, Attribute="userData")
    text = base64.b64decode(given["UserData"]["Value"]).decode()
    files = json.loads(text.removeprefix("#cloud-config\n"))["write_files"]
    contents = "".join(base64.b64decode(one["content"]).decode() for one in files)

    assert text.startswith("#cloud-config\n")
    assert "FEDSPAN_TOKEN=hush" in contents
    assert "registry.test/aggregator:1" in contents
    assert "meta-data/public-ipv4" in contents
    assert len(text) < cloud.capabilities.user_data_bytes


def test_a_start_up_document_over_the_limit_is_refused_before_anything_is_made(
    cloud: AwsProvider, aws_wire: Wire
) -> None:
    with pytest.raises(InvalidRequest, match="16,384"):
        cloud.launch("j-1", spec(environment={"LONG": "x" * 16_000}))
    assert aws_wire.calls == []


def test_a_machine_gets_the_instance_profile(aws_wire: Wire) -> None:
    cloud = AwsProvider("aws", accounts.SECRET, accounts.around(aws_wire.url), "to-s3")
    aws_wire.instead["RunInstances"] = [refusal("InvalidParameterValue")]
    with suppress(ProviderError):
        cloud.launch("j-1", spec())

    assert aws_wire.of("RunInstances")[0]["IamInstanceProfile.Name"] == "to-s3"

    swept(cloud)
    cloud.close()


@pytest.fixture(scope="module")
def kept_wire(moto_url: str) -> Iterator[Wire]:
    with Wire(moto_url) as wire:
        yield wire


@pytest.fixture(scope="module")
def kept_cloud(kept_wire: Wire) -> Iterator[AwsProvider]:
    provider = accounts.provider(kept_wire.url)
    yield provider
    kept_wire.instead.clear()
    swept(provider)
    provider.close()


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_is_the_error_of_the_table(
    kept_cloud: AwsProvider, kept_wire: Wire, code: str
) -> None:
    kept_wire.instead["RunInstances"] = [refusal(code)] * 3
    with pytest.raises(CODES[code], match=code) as caught:
        kept_cloud.launch("j-1", spec())

    assert type(caught.value) is CODES[code]
    assert "hush" not in str(caught.value)
    assert accounts.SECRET.secret_access_key.get_secret_value() not in str(caught.value)


def test_no_capacity_is_what_it_is_though_ec2_calls_it_a_failure_of_its_own(
    cloud: AwsProvider, aws_wire: Wire
) -> None:
    aws_wire.instead["RunInstances"] = [refusal("InsufficientInstanceCapacity", 500)] * 3

    with pytest.raises(NoCapacity):
        cloud.launch("j-1", spec())


@pytest.mark.parametrize(("status", "kind"), [(400, ProviderError), (503, CloudUnavailable)])
def test_what_the_table_lacks_is_not_guessed(
    cloud: AwsProvider, aws_wire: Wire, status: int, kind: type[ProviderError]
) -> None:
    aws_wire.instead["RunInstances"] = [refusal("SomethingNew", status)] * 3
    with pytest.raises(ProviderError, match="SomethingNew") as caught:
        cloud.launch("j-1", spec())

    assert type(caught.value) is kind


def test_a_region_without_a_default_vpc_says_what_would_help(
    cloud: AwsProvider, aws_wire: Wire
) -> None:
    aws_wire.instead["CreateSecurityGroup"] = [refusal("VPCIdNotSpecified")]

    with pytest.raises(NotOffered, match="create-default-vpc"):
        cloud.launch("j-1", spec())


def test_throttling_in_a_burst_is_waited_out(cloud: AwsProvider, aws_wire: Wire) -> None:
    aws_wire.instead["RunInstances"] = [refusal("RequestLimitExceeded", 503)]

    assert cloud.launch("j-1", spec()).id.startswith("i-")


def test_an_encoded_reason_is_left_out_of_the_message(cloud: AwsProvider, aws_wire: Wire) -> None:
    said = "You may not. Encoded authorization failure message: " + "x" * 3000
    aws_wire.instead["RunInstances"] = [refusal("UnauthorizedOperation", 403, said)]

    with pytest.raises(Denied, match=r"UnauthorizedOperation: You may not\.$"):
        cloud.launch("j-1", spec())


@pytest.mark.parametrize("status", [200, 400, 403, 502])
@pytest.mark.parametrize(
    "body", [b"It works!", b"", b"<html><h1>hush</h1></html>", b'{"message": "hush"}']
)
def test_an_answer_that_is_not_one_of_awss_is_a_providers_error(
    cloud: AwsProvider, aws_wire: Wire, status: int, body: bytes
) -> None:
    strange = Fault(status, body, {"Content-Type": "text/html"})
    aws_wire.instead["DescribeInstances"] = [strange] * 3
    with pytest.raises(ProviderError, match="launch") as caught:
        cloud.launch("j-1", spec())

    assert "hush" not in told(caught.value)


def test_no_line_break_in_a_session_token_makes_it_be_told(aws_wire: Wire) -> None:
    broken = accounts.SECRET.model_copy(update={"session_token": SecretStr("FwoG\nhush")})
    cloud = accounts.provider(aws_wire.url, broken)
    with pytest.raises(ProviderError, match=r"HTTPClientError: ValueError.*line break") as caught:
        cloud.machines()

    assert "hush" not in told(caught.value)
    cloud.close()


def test_a_session_token_in_awss_own_words_is_left_out(cloud: AwsProvider, aws_wire: Wire) -> None:
    said = "No match.\n\nThe Canonical String for this request should have been\n'POST\nhush'"
    aws_wire.instead["DescribeInstances"] = [refusal("SignatureDoesNotMatch", 403, said)]

    with pytest.raises(CredentialRejected, match=r"No match\. \(the secret") as caught:
        cloud.launch("j-1", spec())
    assert "hush" not in str(caught.value)


def test_an_endpoint_that_is_down_is_unavailable(aws_wire: Wire) -> None:
    cloud = accounts.provider("http://127.0.0.1:9")

    with pytest.raises(CloudUnavailable, match="2 of the regions did not answer"):
        cloud.machines()
    cloud.close()


class TestAnInstanceThatEc2DoesNotShowYet:
    def test_is_a_pending_machine(self, cloud: AwsProvider, aws_wire: Wire) -> None:
        made = cloud.launch("j-1", spec())
        aws_wire.blind = True
        [shown] = cloud.machines("j-1")

        assert shown.state is MachineState.PENDING
        assert (shown.key, shown.offer) == (made.key, made.offer)

    @pytest.mark.parametrize("by", ["what was launched", "what is shown"])
    def test_is_ended_once_it_is_shown(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really, by: str
    ) -> None:
        made = cloud.launch("j-1", spec())
        aws_wire.blind = True
        [shown] = cloud.machines()
        meant = made if by == "what was launched" else shown
        cloud.terminate(meant)

        assert [one.id for one in cloud.machines()] == [shown.id]
        assert really.counts()[:2] == [1, 1]

        aws_wire.blind = False
        cloud.terminate(meant)
        assert really.counts()[0] == 0

        swept(cloud)
        assert really.counts() == [0, 0, 0]

    def test_is_not_pending_when_one_of_its_key_has_ended(
        self, cloud: AwsProvider, really: Really
    ) -> None:
        made = cloud.launch("j-1", spec())
        really.ec2.terminate_instances(InstanceIds=[made.id])

        assert [one.state for one in cloud.machines()] == [MachineState.STOPPED]


class TestUnderAPolicyThatAsksForTheTag:
    """EC2 denies what is asked of a thing that is not there. All tests of this file are so."""

    def test_a_whole_life_is_allowed(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        for _ in range(2):
            made = cloud.launch("j-1", spec())
            cloud.launch("j-1", spec())
            for _ in range(4):
                cloud.terminate(made)
            assert list(cloud.machines()) == []
            assert really.counts() == [0, 0, 0]

    @pytest.mark.parametrize("at_launch", [SSH_KEY, ""], ids=["had a key", "had none"])
    def test_a_machine_is_ended_where_the_ssh_key_was_changed_meanwhile(
        self, aws_wire: Wire, really: Really, at_launch: str
    ) -> None:
        aws_wire.owner = really.owner
        before = accounts.provider(aws_wire.url, owner=really.owner, ssh_key=at_launch)
        after = accounts.provider(
            aws_wire.url, owner=really.owner, ssh_key="" if at_launch else SSH_KEY
        )
        before.launch("j-1", spec())
        swept(after)
        before.close()
        after.close()

        assert really.counts() == [0, 0, 0]

    @pytest.fixture(params=["TerminateInstances", "DeleteKeyPair", "DeleteSecurityGroup"])
    def removal(self, request: pytest.FixtureRequest, aws_wire: Wire) -> str:
        """The action that is denied, next."""
        action = str(request.param)
        aws_wire.instead[action] = [refusal("UnauthorizedOperation", 403)]
        return action

    def test_a_denial_counts_while_the_thing_is_there(
        self, cloud: AwsProvider, removal: str
    ) -> None:
        made = cloud.launch("j-1", spec())

        with pytest.raises(Denied):
            for _ in range(2):
                cloud.terminate(made)

    def test_a_denial_of_what_another_has_removed_meanwhile_is_none(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really, removal: str
    ) -> None:
        made = cloud.launch("j-1", spec())
        _, [group], [pair] = really.all()
        aws_wire.just_before[removal] = {
            "TerminateInstances": lambda: really.ec2.terminate_instances(InstanceIds=[made.id]),
            "DeleteKeyPair": lambda: really.ec2.delete_key_pair(KeyName=pair["KeyName"]),
            "DeleteSecurityGroup": lambda: really.ec2.delete_security_group(
                GroupId=group["GroupId"]
            ),
        }[removal]
        for _ in range(2):
            cloud.terminate(made)

        assert not aws_wire.instead[removal]
        assert really.counts() == [0, 0, 0]

    def test_a_firewall_that_is_not_shown_yet_is_one_to_try_again_with(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        none = nothing("DescribeSecurityGroups", "securityGroupInfo")
        denied = refusal("UnauthorizedOperation", 403)
        aws_wire.instead["AuthorizeSecurityGroupIngress"] = [denied, denied]
        aws_wire.instead["DescribeSecurityGroups"] = [none, none]
        with pytest.raises(CloudUnavailable, match="is not shown yet; try again"):
            cloud.launch("j-1", spec())
        with pytest.raises(Denied):  # now it is shown, so the permission lacks
            cloud.launch("j-1", spec())

    def test_what_is_not_ours_is_never_changed(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        made = cloud.launch("j-1", spec())
        really.ec2.create_tags(Resources=[made.id], Tags=[{"Key": marks.OWNER, "Value": "other"}])
        cloud.terminate(made)

        state = really.ec2.describe_instances(InstanceIds=[made.id])["Reservations"]
        assert state[0]["Instances"][0]["State"]["Name"] == "running"
        really.ec2.terminate_instances(InstanceIds=[made.id])


class TestARepeatThatEc2DoesNotShowYet:
    @pytest.fixture
    def made(self, cloud: AwsProvider, aws_wire: Wire) -> Machine:
        made = cloud.launch("j-1", spec())
        aws_wire.instead["DescribeInstances"] = [nothing("DescribeInstances", "reservationSet")]
        return made

    def test_is_answered_with_the_first(
        self, cloud: AwsProvider, made: Machine, really: Really
    ) -> None:
        assert cloud.launch("j-1", spec()).id == made.id
        assert really.counts() == [1, 1, 1]

    def test_is_asked_to_try_again_when_it_wants_something_else(
        self, cloud: AwsProvider, made: Machine, really: Really
    ) -> None:
        with pytest.raises(CloudUnavailable, match="not shown yet"):
            cloud.launch("j-1", spec(environment={"FEDSPAN_TOKEN": "a new one"}))
        assert really.counts() == [1, 1, 1]


def test_of_two_launches_at_once_the_slower_is_asked_to_try_again(
    cloud: AwsProvider, aws_wire: Wire, really: Really
) -> None:
    made = cloud.launch("j-1", spec())
    aws_wire.instead["DescribeInstances"] = [nothing("DescribeInstances", "reservationSet")]
    aws_wire.instead["DescribeSecurityGroups"] = [
        nothing("DescribeSecurityGroups", "securityGroupInfo")
    ]
    with pytest.raises(CloudUnavailable, match=r"InvalidGroup\.Duplicate"):
        cloud.launch("j-1", spec())

    assert cloud.launch("j-1", spec()).id == made.id
    assert really.counts() == [1, 1, 1]


def test_a_token_that_leads_to_an_instance_that_ended_is_left_for_a_new_one(
    cloud: AwsProvider, aws_wire: Wire, moto_url: str, really: Really
) -> None:
    cloud.launch("j-1", spec())
    [(_, said)] = aws_wire.tokens.values()
    swept(cloud)
    aws_wire.instead["RunInstances"] = [
        Fault(200, said.body.replace(b"pending", b"terminated"), said.headers)
    ]
    made = cloud.launch("j-1", spec())

    assert [one.id for one in cloud.machines()] == [made.id]
    tokens = [one["ClientToken"] for one in aws_wire.of("RunInstances")]
    assert len(set(tokens)) == 3


def test_machines_are_found_in_every_enabled_region_and_the_regions_asked_for_once(
    aws_wire: Wire, really: Really
) -> None:
    enabled = {one["RegionName"] for one in really.ec2.describe_regions()["Regions"]}
    everywhere = accounts.SECRET.model_copy(update={"regions": ()})
    cloud = accounts.provider(aws_wire.url, everywhere)
    cloud.launch("j-1", spec())
    cloud.machines()
    found = cloud.machines()

    assert [one.offer.region for one in found] == ["us-east-1"]
    assert {one["Region"] for one in aws_wire.of("DescribeSecurityGroups")} == enabled
    assert len(aws_wire.of("DescribeRegions")) == 1

    cloud.close()


def test_a_region_that_cannot_be_asked_does_not_make_its_machines_disappear(
    cloud: AwsProvider, aws_wire: Wire
) -> None:
    cloud.launch("j-1", spec())
    aws_wire.closed.add("eu-west-1")

    with pytest.raises(Denied, match=r"1 of the regions did not answer \(eu-west-1\)"):
        cloud.machines()


def test_of_several_silent_regions_the_error_may_be_tried_again_only_if_all_may(
    cloud: AwsProvider, aws_wire: Wire
) -> None:
    aws_wire.closed.add("eu-west-1")
    aws_wire.instead["DescribeSecurityGroups"] = [refusal("RequestLimitExceeded", 503)] * 3
    with pytest.raises(Denied, match=r"2 of the regions did not answer"):
        cloud.machines()

    aws_wire.closed.clear()
    aws_wire.instead["DescribeSecurityGroups"] = [refusal("RequestLimitExceeded", 503)] * 6
    with pytest.raises(Throttled, match=r"2 of the regions did not answer"):
        cloud.machines()


def test_two_installations_in_one_account_do_not_see_each_other(moto_url: str) -> None:
    one, other = accounts.provider(moto_url), accounts.provider(moto_url)
    first, second = one.launch("j-1", spec()), other.launch("j-1", spec())

    assert [m.id for m in one.machines()] == [first.id]
    assert [m.id for m in other.machines()] == [second.id]

    one.close()
    other.close()


def test_tags_that_somebody_changed_are_told_of(cloud: AwsProvider, really: Really) -> None:
    made = cloud.launch("j-1", spec())
    really.ec2.create_tags(Resources=[made.id], Tags=[{"Key": marks.OFFER, "Value": "dear"}])

    with pytest.raises(ProviderError, match=rf"{made.id} is marked as ours"):
        cloud.machines()


def test_offers_are_those_of_the_book_in_the_regions_of_the_credential(moto_url: str) -> None:
    cloud = accounts.provider(moto_url)
    offers = cloud.offers(Need(vcpus=2, memory_mib=4096))

    assert {one.region for one in offers} == set(accounts.REGIONS)
    assert {one.spot for one in offers} == {True, False}

    cloud.close()


def test_the_command_for_the_public_address_asks_with_a_token(tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text(
        """#!/bin/sh
case "$*" in
    *"-X PUT"*/latest/api/token*"ttl-seconds: 60"*) echo a-token ;;
    *"metadata-token: a-token"*/latest/meta-data/public-ipv4) echo 203.0.113.7 ;;
    *) exit 22 ;;
esac
"""
    )
    curl.chmod(0o700)
    said = subprocess.run(
        ["/bin/sh", "-c", f"address=$({PUBLIC_ADDRESS}); echo $address"],
        env={"PATH": f"{tmp_path}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout == "203.0.113.7\n"


@pytest.mark.parametrize(
    ("arch", "gpus", "part"),
    [(CpuArch.X86, 0, "2023/rec"), (CpuArch.ARM, 0, "2023/arm64/"), (CpuArch.X86, 1, "2023/gpu/")],
)
def test_the_image_fits_the_machine(arch: CpuArch, gpus: int, part: str) -> None:
    offer = spec().offer.model_copy(update={"arch": arch, "gpus": gpus})

    assert part in image_of(offer)


def test_what_is_no_name_of_a_region_is_never_made_part_of_an_address(aws_wire: Wire) -> None:
    elsewhere = accounts.SECRET.model_copy(update={"regions": ("x@evil.test/",)})
    cloud = accounts.provider(aws_wire.url, elsewhere)

    with pytest.raises(NotOffered, match="no name of a region"):
        cloud.machines()
    cloud.close()


def test_a_machine_amazon_has_no_image_for_is_not_offered(
    cloud: AwsProvider, really: Really
) -> None:
    offer = spec().offer.model_copy(update={"arch": CpuArch.ARM, "gpus": 1})

    with pytest.raises(NotOffered, match="no image with Docker"):
        cloud.launch("j-1", spec(offer=offer))
    assert really.counts() == [0, 0, 0]


def test_without_a_credential_the_role_of_the_process_is_used(
    aws_wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY")
    cloud = accounts.provider(aws_wire.url, None)
    made = cloud.launch("j-1", spec())

    assert made.state in (MachineState.PENDING, MachineState.RUNNING)
    cloud.close()


def test_a_process_without_a_role_is_told_so(
    aws_wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    cloud = accounts.provider(aws_wire.url, None)

    with pytest.raises(CredentialRejected, match="no role"):
        cloud.machines()
    cloud.close()
