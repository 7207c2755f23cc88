"""What a credential of AWS proves: on moto, which judges by the user's own policies."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from fedspan.domain.credentials import AwsSecret, Examination
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    NotOffered,
    ProviderError,
    Throttled,
)
from fedspan.providers.aws.check import examine
from fedspan.providers.aws.policy import PASS_ROLE, PURPOSES, policy
from tests.clouds.aws import accounts
from tests.clouds.aws.wire import Fault, Wire, refusal
from tests.contract.ec2.conftest import SSH_KEY, spec, swept, told

WITHOUT_DOING_IT = {"iam:CreateServiceLinkedRole"}
"""AWS does not tell of these, and EC2 asks for them itself."""
IMPLIED = WITHOUT_DOING_IT | {"ec2:CreateTags"}
JUDGED = set(PURPOSES) - IMPLIED - {"ssm:GetParameters"}
"""moto refuses in XML, where Systems Manager speaks JSON."""


@pytest.fixture
def user(aws_client: Callable[..., Any], moto_url: str) -> Iterator[Callable[..., AwsSecret]]:
    """Makes an IAM user with a policy, and from then on moto lets in nobody else. It judges by
    actions; of resources and conditions it knows nothing."""
    iam = aws_client("iam", moto_url)
    made: list[tuple[str, str]] = []

    def make(document: Any) -> AwsSecret:
        name = f"u-{secrets.token_hex(4)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        made.append((name, key["AccessKeyId"]))
        judging(moto_url, "0")
        return AwsSecret(
            access_key_id=key["AccessKeyId"],
            secret_access_key=SecretStr(key["SecretAccessKey"]),
            regions=accounts.REGIONS,
        )

    yield make
    judging(moto_url, "inf")
    for name, key_id in made:
        iam.delete_access_key(UserName=name, AccessKeyId=key_id)
        iam.delete_user_policy(UserName=name, PolicyName="p")
        iam.delete_user(UserName=name)


def judging(url: str, after: str) -> None:
    requests.post(f"{url}/moto-api/reset-auth", data=after.encode(), timeout=10).raise_for_status()


def examined(url: str, secret: AwsSecret = accounts.SECRET, **changes: Any) -> Examination:
    return examine(secret, accounts.around(url, **changes))


def allowing(actions: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def actions_of(document: Any) -> set[str]:
    return {action for one in document["Statement"] for action in one["Action"]}


def answered(code: str, message: str = "as the test wants it") -> str:
    """What STS says when it refuses."""
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender'
        f"</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )


def test_a_user_with_the_policy_may_do_all_that_is_needed(
    user: Callable[..., AwsSecret], moto_url: str
) -> None:
    found = examined(moto_url, user(allowing(actions_of(policy()))))

    assert found.missing == ()
    assert ":user/u-" in found.identity.subject
    assert found.identity.account == "123456789012"
    assert found.regions == accounts.REGIONS
    assert found.notes == ()
    assert {p.action for p in found.permissions if p.allowed is None} == WITHOUT_DOING_IT


@pytest.mark.parametrize("lacking", sorted(JUDGED))
def test_exactly_what_a_user_lacks_is_listed(
    user: Callable[..., AwsSecret], moto_url: str, lacking: str
) -> None:
    found = examined(moto_url, user(allowing(set(PURPOSES) - {lacking})))

    assert found.missing == (lacking,)


def test_a_user_without_any_right_lacks_all(user: Callable[..., AwsSecret], moto_url: str) -> None:
    found = examined(moto_url, user(allowing({"s3:ListAllMyBuckets"})))

    assert set(found.missing) == JUDGED


def test_a_user_who_may_not_find_images_lacks_that(aws_wire: Wire) -> None:
    said = {"__type": "AccessDeniedException", "Message": "not authorized to perform"}
    json_type = {"Content-Type": "application/x-amz-json-1.1"}
    aws_wire.instead["GetParameters"] = [Fault(400, json.dumps(said).encode(), json_type)]

    assert examined(aws_wire.url).missing == ("ssm:GetParameters",)


def test_a_region_without_an_image_is_a_note(aws_wire: Wire) -> None:
    said = {"Parameters": [], "InvalidParameters": ["/aws/service/gpu"]}
    json_type = {"Content-Type": "application/x-amz-json-1.1"}
    aws_wire.instead["GetParameters"] = [Fault(200, json.dumps(said).encode(), json_type)]

    assert "us-east-1 has no image /aws/service/gpu" in examined(aws_wire.url).notes


def test_the_right_to_tag_is_named_where_it_is_what_a_launch_lacks(aws_wire: Wire) -> None:
    said = "You are not authorized. User: u is not authorized to perform: ec2:CreateTags on x"
    aws_wire.instead["RunInstances"] = [refusal("UnauthorizedOperation", 403, said)]
    found = examined(aws_wire.url)

    assert found.missing == ("ec2:CreateTags",)


def test_nothing_is_proved_by_a_probe_that_is_not_found(aws_wire: Wire) -> None:
    aws_wire.instead["TerminateInstances"] = [refusal("InvalidInstanceID.NotFound")]
    found = examined(aws_wire.url)

    assert found.missing == ()
    [told] = [p for p in found.permissions if p.action == "ec2:TerminateInstances"]
    assert told.allowed is None


def test_an_action_that_cannot_be_asked_is_a_note(aws_wire: Wire) -> None:
    aws_wire.instead["CreateSecurityGroup"] = [refusal("SomethingNew")] * 3
    found = examined(aws_wire.url)

    assert found.missing == ()
    assert found.regions == accounts.REGIONS
    assert any("SomethingNew" in note for note in found.notes)


def test_the_check_makes_nothing(moto_url: str, aws_client: Callable[..., Any]) -> None:
    ec2 = aws_client("ec2", moto_url)

    def there() -> list[int]:
        return [
            len(ec2.describe_instances()["Reservations"]),
            len(ec2.describe_security_groups()["SecurityGroups"]),
            len(ec2.describe_key_pairs()["KeyPairs"]),
        ]

    before = there()
    examined(moto_url)

    assert there() == before


def test_with_an_instance_profile_the_right_to_pass_its_role_is_asked_for(
    aws_wire: Wire,
) -> None:
    said = "You are not authorized. User: u is not authorized to perform: iam:PassRole on x"
    aws_wire.instead["RunInstances"] = [refusal("UnauthorizedOperation", 403, said)]
    found = examine(accounts.SECRET, accounts.around(aws_wire.url), "to-s3")

    assert found.missing == (PASS_ROLE,)


@pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
def test_a_wrong_key_is_rejected(user: Callable[..., AwsSecret], moto_url: str, wrong: str) -> None:
    right = user(allowing(actions_of(policy())))
    value: Any = "AKIAWRONGWRONGWRONG1"
    if wrong == "secret_access_key":
        value = SecretStr("this-is-not-the-secret-of-anybody-at-all")
    with pytest.raises(CredentialRejected, match="access key") as caught:
        examined(moto_url, right.model_copy(update={wrong: value}))

    assert "not-the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("ExpiredToken", "the session token has ended"),
        ("RequestExpired", "the clock here is more than 5 minutes off"),
        ("SignatureDoesNotMatch", "the clock here is more than 5 minutes off"),
        ("InvalidClientTokenId", "wrong, deleted or disabled"),
    ],
)
def test_what_is_wrong_with_a_credential_is_said_plainly(
    answering: Callable[..., str], code: str, told: str
) -> None:
    said = "Signature expired: 20261120T090000Z is now earlier than 20261120T091500Z"
    with pytest.raises(CredentialRejected, match=f"{code}: Signature expired.*{told}"):
        examined(answering(403, answered(code, said)))


@pytest.mark.parametrize("code", ["OptInRequired", "AuthFailure"])
def test_a_region_that_was_disabled_is_told_as_what_may_be_wrong(aws_wire: Wire, code: str) -> None:
    aws_wire.instead["DescribeInstances"] = [refusal(code, 401)]

    with pytest.raises(ProviderError, match="the region is not enabled"):
        examined(aws_wire.url)


def test_a_region_nobody_has_is_refused(moto_url: str) -> None:
    secret = accounts.SECRET.model_copy(update={"regions": ("us-east-1", "mars-north-1")})

    with pytest.raises(NotOffered, match="no region mars-north-1"):
        examined(moto_url, secret)


def test_what_is_no_name_of_a_region_is_refused_even_where_regions_may_not_be_listed(
    aws_wire: Wire,
) -> None:
    aws_wire.instead["DescribeRegions"] = [refusal("UnauthorizedOperation", 403)]
    secret = accounts.SECRET.model_copy(update={"regions": ("x@evil.test/",)})

    with pytest.raises(NotOffered, match="no name of a region"):
        examined(aws_wire.url, secret)


def test_a_region_that_is_not_enabled_is_refused_with_where_to_enable_it(aws_wire: Wire) -> None:
    rows = "".join(
        f"<item><regionName>{name}</regionName><optInStatus>{state}</optInStatus></item>"
        for name, state in (("us-east-1", "opt-in-not-required"), ("eu-west-1", "not-opted-in"))
    )
    body = f"<DescribeRegionsResponse><regionInfo>{rows}</regionInfo></DescribeRegionsResponse>"
    aws_wire.instead["DescribeRegions"] = [Fault(200, body.encode(), {"Content-Type": "text/xml"})]

    with pytest.raises(NotOffered, match=r"eu-west-1 is not enabled .* AWS Regions"):
        examined(aws_wire.url)


class TestRegionsThatCannotBeUsed:
    @pytest.mark.parametrize(("closed", "left"), [accounts.REGIONS, accounts.REGIONS[::-1]])
    def test_one_an_organisation_forbids_is_left_out_with_a_note(
        self, aws_wire: Wire, closed: str, left: str
    ) -> None:
        aws_wire.closed.add(closed)
        found = examined(aws_wire.url)

        assert found.regions == (left,)
        assert found.missing == ()
        assert found.notes == (f"may not be used in {closed}: left out",)

    def test_machines_are_listed_in_what_is_left(self, aws_wire: Wire) -> None:
        aws_wire.closed.add("eu-west-1")
        left = examined(aws_wire.url).regions
        cloud = accounts.provider(
            aws_wire.url, accounts.SECRET.model_copy(update={"regions": left})
        )

        assert list(cloud.machines()) == []
        cloud.close()

    def test_an_organisation_that_forbids_all_denies(self, aws_wire: Wire) -> None:
        aws_wire.closed.update(accounts.REGIONS)

        with pytest.raises(Denied, match="forbids eu-west-1, us-east-1: name regions"):
            examined(aws_wire.url)

    def test_an_organisation_that_forbids_to_ask_for_regions_denies_where_none_is_named(
        self, aws_wire: Wire
    ) -> None:
        aws_wire.closed.add("us-east-1")

        with pytest.raises(Denied, match="forbids us-east-1: name regions"):
            examined(aws_wire.url, accounts.SECRET.model_copy(update={"regions": ()}))

    @pytest.mark.parametrize(("bare", "left"), [accounts.REGIONS, accounts.REGIONS[::-1]])
    def test_one_without_a_default_vpc_is_left_out_with_what_would_help(
        self, aws_wire: Wire, bare: str, left: str
    ) -> None:
        aws_wire.bare.add(bare)
        found = examined(aws_wire.url)

        assert found.regions == (left,)
        assert found.missing == ()
        [note] = found.notes
        assert f"no default VPC in {bare}: left out" in note
        assert f"aws ec2 create-default-vpc --region {bare}" in note

    def test_without_a_default_vpc_anywhere_it_is_refused_with_what_would_help(
        self, aws_wire: Wire
    ) -> None:
        aws_wire.bare.update(accounts.REGIONS)

        with pytest.raises(NotOffered, match=r"no default VPC in eu-west-1, us-east-1.*create-def"):
            examined(aws_wire.url)

    def test_a_closed_one_and_a_bare_one_are_no_region_at_all(self, aws_wire: Wire) -> None:
        aws_wire.closed.add("us-east-1")
        aws_wire.bare.add("eu-west-1")

        with pytest.raises(NotOffered, match="no default VPC in eu-west-1, and"):
            examined(aws_wire.url)

    def test_one_that_does_not_answer_for_a_while_stays(self, aws_wire: Wire) -> None:
        aws_wire.instead["DescribeInstances"] = [refusal("Unavailable", 503)] * 6
        found = examined(aws_wire.url)

        assert found.regions == accounts.REGIONS
        assert len([note for note in found.notes if "did not answer" in note]) == 2


def test_no_line_break_in_a_session_token_makes_it_be_told(aws_wire: Wire) -> None:
    broken = accounts.SECRET.model_copy(update={"session_token": SecretStr("FwoG\nhush")})
    with pytest.raises(ProviderError, match="line break") as caught:
        examined(aws_wire.url, broken)

    assert "hush" not in told(caught.value)


def test_without_regions_all_that_are_enabled_are_named(moto_url: str) -> None:
    everywhere = accounts.SECRET.model_copy(update={"regions": ()})

    assert {"us-east-1", "eu-west-1", "ap-northeast-2"} <= set(
        examined(moto_url, everywhere).regions
    )


def test_a_root_users_key_is_warned_of(aws_wire: Wire) -> None:
    body = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:root</Arn><UserId>1</UserId>"
        "<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
    aws_wire.instead["GetCallerIdentity"] = [
        Fault(200, body.encode(), {"Content-Type": "text/xml"})
    ]
    found = examined(aws_wire.url)

    assert found.identity.subject == "arn:aws:iam::123456789012:root"
    assert any("root user" in note for note in found.notes)


def test_a_session_token_is_warned_of(moto_url: str) -> None:
    for_hours = accounts.SECRET.model_copy(update={"session_token": SecretStr("FwoGZXIvYXdzE")})

    assert any("session token ends" in note for note in examined(moto_url, for_hours).notes)


def test_an_endpoint_that_is_down_is_unavailable() -> None:
    with pytest.raises(CloudUnavailable, match="ask who the credential is"):
        examined("http://127.0.0.1:9")


def test_a_blocked_account_is_denied_and_not_lacking(aws_wire: Wire) -> None:
    aws_wire.instead["RunInstances"] = [refusal("PendingVerification")]

    with pytest.raises(Denied, match="PendingVerification"):
        examined(aws_wire.url)


def test_throttling_that_goes_on_is_told(answering: Callable[..., str]) -> None:
    with pytest.raises(Throttled):
        examined(answering(400, answered("Throttling", "Rate exceeded")))


def test_throttling_in_a_burst_is_waited_out(aws_wire: Wire) -> None:
    aws_wire.instead["GetCallerIdentity"] = [refusal("Throttling")]
    aws_wire.instead["DescribeRegions"] = [refusal("RequestLimitExceeded", 503)]

    assert examined(aws_wire.url).missing == ()


def test_a_failure_of_awss_own_is_passing(answering: Callable[..., str]) -> None:
    with pytest.raises(CloudUnavailable):
        examined(answering(503, answered("ServiceUnavailable")))


class TestThePolicy:
    def test_names_exactly_what_is_called(self, aws_wire: Wire) -> None:
        cloud = accounts.provider(
            aws_wire.url, accounts.SECRET.model_copy(update={"regions": ()}), ssh_key=SSH_KEY
        )
        cloud.launch("j-1", spec(spot=True))
        swept(cloud)
        cloud.close()
        examined(aws_wire.url)

        needs_no_right = {"sts:GetCallerIdentity"}
        assert set(aws_wire.actions()) - needs_no_right == actions_of(policy()) - IMPLIED
        assert actions_of(policy()) == set(PURPOSES)

    def test_has_no_wildcard_action_and_one_wildcard_resource(self) -> None:
        document: Any = policy()
        everything = [one for one in document["Statement"] if "*" in one["Resource"]]

        assert not [action for action in actions_of(document) if "*" in action]
        assert [one["Sid"] for one in everything] == ["See"]
        assert all(action.startswith("ec2:Describe") for action in everything[0]["Action"])

    def test_changes_only_what_carries_the_owners_tag_or_is_not_there(self) -> None:
        document: Any = policy("acme")
        changing = [
            one
            for one in document["Statement"]
            if {"ec2:TerminateInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteKeyPair"}
            & set(one["Action"])
        ]
        conditions = {one["Sid"]: one.get("Condition") for one in changing}
        probing = conditions.pop("ProveOnWhatIsNotThere")

        assert probing is None
        assert all(
            one == {"StringEquals": {"aws:ResourceTag/fedspan:owner": "acme"}}
            for one in conditions.values()
        )

    def test_fits_into_a_managed_policy(self) -> None:
        assert len(json.dumps(policy("a" * 63, "arn:aws:iam::123456789012:role/r"))) < 6144

    def test_lets_machines_have_their_role_where_they_get_one(self) -> None:
        role = "arn:aws:iam::123456789012:role/to-s3"
        document: Any = policy(role=role)
        [passing] = [one for one in document["Statement"] if PASS_ROLE in one["Action"]]

        assert passing["Resource"] == [role]
        assert PASS_ROLE not in actions_of(policy())
