"""In which zone EC2 is asked for a machine, where there are zones to avoid."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from fedspan.errors import CloudUnavailable, NoCapacity, NotOffered, ProviderError, QuotaReached
from fedspan.providers.aws import marks
from fedspan.providers.aws.machines import AwsProvider
from fedspan.providers.aws.zones import LONGEST
from tests.clouds.aws import accounts
from tests.clouds.aws.wire import XML, Fault, Wire, refusal
from tests.contract.ec2.conftest import SSH_KEY, CutOff, Really, cut_off, spec, swept

ZONES = [f"us-east-1{letter}" for letter in "abcdef"]
AVOIDED = "us-east-1a"
"""Where moto makes what names no zone."""
NO_SUBNET = "No default subnet for availability zone: &apos;us-east-1e&apos;."
LOOKS, ZONE = 3, 4
"""Calls of a launch that make nothing (instance, group and zones are looked up), and those for a
zone (group, rules, key pair, instance)."""
CLEARING = 4
"""Key pair and group of a zone that refused, looked up and deleted."""
CALLS = LOOKS + ZONE + CLEARING + ZONE


def launch(cloud: AwsProvider, *avoid: str) -> str:
    """The zone of the machine."""
    return cloud.launch("j-1", spec(avoid_zones=avoid or (AVOIDED,))).zone


def asked(wire: Wire) -> list[str]:
    return [one.get("Placement.AvailabilityZone", "") for one in wire.of("RunInstances")]


def sold_out(times: int) -> list[Fault]:
    return [refusal("InsufficientInstanceCapacity")] * times


def described(*rows: tuple[str, str, str, str]) -> Fault:
    """What EC2 says of zones: name, state, type, and whether the account has opted into it."""
    items = "".join(
        f"<item><zoneName>{name}</zoneName><zoneState>{state}</zoneState>"
        f"<zoneType>{kind}</zoneType><optInStatus>{opted}</optInStatus></item>"
        for name, state, kind, opted in rows
    )
    action = "DescribeAvailabilityZonesResponse"
    body = f"<{action}><availabilityZoneInfo>{items}</availabilityZoneInfo></{action}>"
    return Fault(200, body.encode(), XML)


def test_a_machine_tells_the_zone_that_ec2_chose(cloud: AwsProvider, really: Really) -> None:
    made = cloud.launch("j-1", spec())
    [instance] = really.all()[0]

    assert made.zone == instance["Placement"]["AvailabilityZone"] == AVOIDED
    assert [one.zone for one in cloud.machines()] == [AVOIDED]


def test_with_nothing_to_avoid_no_zone_is_asked_for(cloud: AwsProvider, aws_wire: Wire) -> None:
    cloud.launch("j-1", spec())

    assert asked(aws_wire) == [""]
    assert aws_wire.of("DescribeAvailabilityZones") == []


def test_a_zone_to_avoid_is_asked_last_and_the_others_in_an_order_that_stays(
    cloud: AwsProvider, aws_wire: Wire, really: Really
) -> None:
    aws_wire.instead["RunInstances"] = sold_out(5)
    told = launch(cloud)
    swept(cloud)
    first = asked(aws_wire)
    again = launch(cloud, first[0], first[1])

    assert told == first[5] == AVOIDED
    assert sorted(first) == ZONES
    assert again == first[2]


def test_where_all_are_to_be_avoided_they_are_asked_all_the_same(cloud: AwsProvider) -> None:
    assert launch(cloud, *ZONES) in ZONES


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InsufficientInstanceCapacity", ""),
        ("SpotMaxPriceTooLow", ""),
        ("Unsupported", ""),
        ("VolumeTypeNotAvailableInZone", ""),
        ("InsufficientFreeAddressesInSubnet", ""),
        ("InvalidInput", NO_SUBNET),
    ],
)
def test_a_zone_that_refuses_leads_to_the_next(
    cloud: AwsProvider, aws_wire: Wire, really: Really, code: str, said: str
) -> None:
    aws_wire.instead["RunInstances"] = [refusal(code, message=said), refusal(code, message=said)]
    told = launch(cloud)
    [instance], [group], [pair] = really.all()
    interface = instance["NetworkInterfaces"][0]

    assert told == instance["Placement"]["AvailabilityZone"] == asked(aws_wire)[2]
    assert len(set(asked(aws_wire))) == 3
    assert AVOIDED not in asked(aws_wire)
    assert len({one["ClientToken"] for one in aws_wire.of("RunInstances")}) == 3
    assert [one["GroupId"] for one in interface["Groups"]] == [group["GroupId"]]
    assert instance["KeyName"] == pair["KeyName"]
    assert marks.read(group)[marks.ZONE] == told
    assert group["IpPermissions"]


@pytest.mark.parametrize("code", ["VcpuLimitExceeded", "PendingVerification", "InvalidInput"])
def test_a_refusal_that_is_not_the_zones_ends_the_launch(
    cloud: AwsProvider, aws_wire: Wire, code: str
) -> None:
    aws_wire.instead["RunInstances"] = [refusal(code)]
    with pytest.raises(ProviderError, match=code):
        launch(cloud)

    assert len(asked(aws_wire)) == 1


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (["InsufficientInstanceCapacity"] * 6, NoCapacity),
        (["Unsupported"] * 6, NotOffered),
        (["InsufficientFreeAddressesInSubnet"] * 6, QuotaReached),
        (["Unsupported"] * 5 + ["SpotMaxPriceTooLow"], NoCapacity),
    ],
    ids=["sold out", "not offered", "no addresses", "either"],
)
def test_that_all_zones_refuse_is_told_and_leaves_nothing(
    cloud: AwsProvider,
    aws_wire: Wire,
    really: Really,
    codes: list[str],
    kind: type[ProviderError],
) -> None:
    aws_wire.instead["RunInstances"] = [refusal(one) for one in codes]
    with pytest.raises(kind, match=r"no m7i\.large is to be had in us-east-1") as caught:
        launch(cloud)

    assert type(caught.value) is kind
    assert all(f"{zone} (" in str(caught.value) for zone in ZONES)
    assert really.counts() == [0, 0, 0]
    assert launch(cloud) == asked(aws_wire)[0]


def test_when_time_is_up_no_further_zone_is_asked(aws_wire: Wire, really: Really) -> None:
    now = accounts.NOW
    cloud = accounts.provider(aws_wire.url, owner=really.owner, now=lambda: now)

    def later() -> None:
        nonlocal now
        now += LONGEST

    aws_wire.instead["RunInstances"] = [refusal("Unsupported")]
    aws_wire.just_before["RunInstances"] = later
    with pytest.raises(NoCapacity, match=r"no time was left to ask in us-east-1.*, us-east-1a$"):
        launch(cloud)
    cloud.close()

    assert len(asked(aws_wire)) == 1
    assert really.counts() == [0, 0, 0]


def test_only_zones_that_machines_can_be_in_are_asked(cloud: AwsProvider, aws_wire: Wire) -> None:
    usual = "availability-zone"
    aws_wire.instead["DescribeAvailabilityZones"] = [
        described(
            ("us-east-1a", "available", usual, "opt-in-not-required"),
            ("us-east-1b", "impaired", usual, "opt-in-not-required"),
            ("us-east-1c", "available", usual, "not-opted-in"),
            ("us-east-1d", "available", usual, "opted-in"),
            ("us-east-1-bos-1a", "available", "local-zone", "opted-in"),
            ("us-east-1-wl1-bos-wlz-1", "available", "wavelength-zone", "opted-in"),
        )
    ]
    aws_wire.instead["RunInstances"] = sold_out(2)
    with pytest.raises(NoCapacity):
        launch(cloud)

    assert asked(aws_wire) == ["us-east-1d", "us-east-1a"]


class TestACredentialThatMayNotAskForZones:
    def test_launches_where_ec2_chooses_and_says_so(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        aws_wire.instead["DescribeAvailabilityZones"] = [refusal("UnauthorizedOperation", 403)]
        with capture_logs() as logged:
            told = launch(cloud)
        [line] = logged

        assert told == AVOIDED
        assert asked(aws_wire) == [""]
        assert really.counts() == [1, 1, 1]
        assert (line["event"], line["log_level"]) == ("zones not avoided", "warning")
        assert (line["job"], line["zones"]) == ("j-1", [AVOIDED])
        assert "ec2:DescribeAvailabilityZones" in line["why"]

    def test_stays_with_ec2s_choice_once_it_was_asked(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        """The permission was given between the two, and the first machine is not shown yet."""
        aws_wire.instead["DescribeAvailabilityZones"] = [refusal("UnauthorizedOperation", 403)]
        launch(cloud)
        aws_wire.blind = True

        assert launch(cloud) == AVOIDED
        assert really.counts() == [1, 1, 1]

    def test_is_no_matter_of_a_cloud_that_does_not_answer(
        self, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        aws_wire.instead["DescribeAvailabilityZones"] = [refusal("Unavailable", 503)] * 3

        with pytest.raises(CloudUnavailable):
            launch(cloud)
        assert really.counts() == [0, 0, 0]


class TestALaunchThatIsCutOff(CutOff):
    """As in one zone alone; here the first zone refuses, and has room again at the repeat. EC2 has
    the same whether the last answer was heard or lost: that is told apart in one zone."""

    @pytest.fixture(params=range(LOOKS + 1, CALLS + 1), ids=lambda n: f"after-{n}")
    def cut(self, request: pytest.FixtureRequest, cloud: AwsProvider, aws_wire: Wire) -> int:
        aws_wire.instead["RunInstances"] = sold_out(1)
        with cut_off(aws_wire, request.param, lost=True):
            launch(cloud)
        aws_wire.instead.clear()
        return int(request.param)

    def test_makes_one_machine_when_it_is_repeated_though_ec2_shows_none_yet(
        self, cut: int, cloud: AwsProvider, aws_wire: Wire, really: Really
    ) -> None:
        aws_wire.blind = True
        made = launch(cloud)
        aws_wire.blind = False

        assert [one.zone for one in cloud.machines("j-1")] == [made] != [AVOIDED]
        assert really.counts() == [1, 1, 1]


def test_a_launch_has_as_many_calls_as_these_tests_cut(cloud: AwsProvider, aws_wire: Wire) -> None:
    aws_wire.instead["RunInstances"] = sold_out(1)
    launch(cloud)

    assert len(aws_wire.calls) == CALLS


def test_of_two_launches_at_once_the_one_whose_zone_refused_does_not_go_on_to_another(
    cloud: AwsProvider, aws_wire: Wire, moto_url: str, really: Really
) -> None:
    other = accounts.provider(moto_url, ssh_key=SSH_KEY, owner=really.owner)
    aws_wire.instead["RunInstances"] = sold_out(1)
    aws_wire.just_before["DeleteSecurityGroup"] = lambda: launch(other)
    with pytest.raises(CloudUnavailable, match=r"InvalidGroup\.Duplicate"):
        launch(cloud)

    assert [launch(cloud)] == asked(aws_wire) == [one.zone for one in other.machines()]
    assert really.counts()[:2] == [1, 1]
    other.close()
