"""What a machine may do with the objects, proved on the wire.

moto checks signatures and the policies of roles, but not those of sessions. So the policy that
came to its STS is made the role's own; its condition on listings, which moto does not know
either, is judged by a small evaluator here.
"""

from __future__ import annotations

import fnmatch
import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.core.authorization import enable_iam_authentication
from moto.sts.models import sts_backends
from pydantic import ValidationError

from fedspan.domain.grants import Grant
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    NotFound,
    ProviderError,
    StoreError,
    StoreUnavailable,
    Throttled,
)
from fedspan.objects.granted import GRANT, Held
from fedspan.objects.grants import GcsGrants, NoGrants, S3Grants, open_grants
from fedspan.objects.opening import open_objects
from fedspan.settings import Settings
from tests.clouds.storage.tokens import TokenServer

ROLE = "arn:aws:iam::123456789012:role/objects"
READ, WRITE = ["uploads/5f.pt2"], ["jobs/mine/"]
ACCOUNT = "plane@fedspan-test.iam.gserviceaccount.com"


@pytest.fixture
def grant_file(tmp_path, monkeypatch):
    """Writes a grant as the supervisor does; stores opened from now on use it."""
    path = tmp_path / "grant.json"
    monkeypatch.setenv(GRANT, str(path))
    return lambda grant: path.write_text(Held(grant).model_dump_json())


@pytest.fixture
def s3(moto_url, aws_client, monkeypatch):
    """A bucket with objects of two jobs, a role, and who may grant parts of it."""
    client, iam = aws_client("s3", moto_url), aws_client("iam", moto_url)
    client.create_bucket(Bucket="granted")
    for key in ["jobs/mine/a", "jobs/mine2/a", "jobs/other/a", "uploads/5f.pt2", "uploads/6a.pt2"]:
        client.put_object(Bucket="granted", Key=f"fed/{key}", Body=key.encode())
    iam.create_role(RoleName="objects", AssumeRolePolicyDocument='{"Statement": []}')
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "plane")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    there = {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": moto_url}
    yield S3Grants(ROLE, "granted", "fed/", there, moto_url)
    for found in iam.list_role_policies(RoleName="objects")["PolicyNames"]:
        iam.delete_role_policy(RoleName="objects", PolicyName=found)
    iam.delete_role(RoleName="objects")


@pytest.fixture
def session_policy(moto_url, aws_client):
    """The policy of the last session, from now on the role's own."""

    def enforce():
        asked = sts_backends["123456789012"]["aws"].assumed_roles[-1].policy
        iam = aws_client("iam", moto_url)
        iam.put_role_policy(RoleName="objects", PolicyName="session", PolicyDocument=asked)
        return json.loads(asked)

    return enforce


def test_a_grant_opens_the_objects_of_its_job_and_no_others(s3, session_policy, grant_file):
    grant_file(s3.grant(READ, WRITE, 3600))
    session_policy()
    objects = open_objects("s3://granted/fed")
    with enable_iam_authentication():
        objects.put("jobs/mine/b", b"mine")

        assert objects.get("jobs/mine/b") == b"mine"
        objects.put("jobs/mine/new", b"", new=True)
        with pytest.raises(NotFound):
            objects.get("jobs/mine/missing")
        assert objects.get("uploads/5f.pt2") == b"uploads/5f.pt2"
        for refused in [
            lambda: objects.get("jobs/other/a"),
            lambda: objects.get("jobs/mine2/a"),
            lambda: objects.get("uploads/6a.pt2"),
            lambda: objects.put("jobs/other/a", b"theirs"),
            lambda: objects.put("uploads/5f.pt2", b"another"),
            lambda: objects.put("models/m/card.json", b"{}"),
            lambda: objects.delete("jobs/other/a"),
        ]:
            with pytest.raises(StoreError, match="AccessDenied") as raised:
                refused()
            assert raised.type is StoreError


def test_a_grant_deletes_the_objects_of_its_job_and_no_others(s3, session_policy, moto_url):
    """With AWS's client: of what obstore sends (DeleteObjects), moto checks the bucket alone."""
    grant = s3.grant(READ, WRITE, 3600)
    session_policy()
    given = {name: value.get_secret_value() for name, value in grant.variables.items()}
    client = boto3.client(
        "s3",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=given["AWS_SESSION_TOKEN"],
    )
    with closing(client), enable_iam_authentication():
        client.delete_object(Bucket="granted", Key="fed/jobs/mine/a")
        for key in ("fed/jobs/other/a", "fed/uploads/5f.pt2"):
            with pytest.raises(ClientError, match="AccessDenied"):
                client.delete_object(Bucket="granted", Key=key)


def test_a_large_checkpoint_goes_in_parts_under_a_grant(s3, session_policy, grant_file, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * (17 * 2**20))
    grant_file(s3.grant(READ, WRITE, 3600))
    session_policy()
    objects = open_objects("s3://granted/fed")
    with enable_iam_authentication():
        objects.put("jobs/mine/large", large)

        assert sum(map(len, objects.chunks("jobs/mine/large"))) == large.stat().st_size


BUCKET = "arn:aws:s3:::granted"


@pytest.mark.parametrize(
    ("action", "on", "prefix", "allowed"),
    [
        ("s3:ListBucket", BUCKET, "fed/jobs/mine/", True),
        ("s3:ListBucket", BUCKET, "fed/jobs/mine/rounds/", True),
        ("s3:ListBucket", BUCKET, "fed/jobs/", False),
        ("s3:ListBucket", BUCKET, "fed/jobs/other/", False),
        ("s3:ListBucket", BUCKET, "", False),
        ("s3:ListBucket", BUCKET, None, False),
        ("s3:ListBucket", "arn:aws:s3:::another", "fed/jobs/mine/", False),
        ("s3:GetObject", f"{BUCKET}/fed/jobs/mine/a", None, True),
        ("s3:GetObject", f"{BUCKET}/jobs/mine/a", None, False),
        ("s3:AbortMultipartUpload", f"{BUCKET}/fed/jobs/mine/a", None, True),
        ("s3:AbortMultipartUpload", f"{BUCKET}/fed/uploads/5f.pt2", None, False),
        ("s3:PutObjectAcl", f"{BUCKET}/fed/jobs/mine/a", None, False),
        ("sts:AssumeRole", ROLE, None, False),
    ],
)
def test_the_policy_of_a_session_says_no_more(s3, action, on, prefix, allowed):
    assert _permits(s3.policy(READ, WRITE), action, on, prefix) is allowed


def _permits(policy, action, on, prefix):
    """Nothing but Allow, exact actions, and one condition is in these policies."""

    def matches(patterns, value):
        return any(fnmatch.fnmatchcase(value, one) for one in patterns)

    def holds(statement):
        condition = statement.get("Condition")
        if condition is None:
            return True
        assert condition.keys() == {"StringLike"} and condition["StringLike"].keys() == {
            "s3:prefix"
        }
        # A key that the request has not is no match.
        return prefix is not None and matches(condition["StringLike"]["s3:prefix"], prefix)

    assert {one["Effect"] for one in policy["Statement"]} == {"Allow"}
    return any(
        action in one["Action"] and matches(one["Resource"], on) and holds(one)
        for one in policy["Statement"]
    )


def test_a_prefix_with_signs_of_the_policy_language_stands_for_itself():
    grants = S3Grants(ROLE.replace("aws", "aws-cn", 1), "b", "a*b?${c}/", {})
    (get, *_) = grants.policy([], ["jobs/1/"])["Statement"]

    assert get["Resource"] == ["arn:aws-cn:s3:::b/a${*}b${?}${$}{c}/jobs/1/*"]


def test_a_session_says_whose_it_is_and_lasts_as_asked(s3, session_policy):
    before = datetime.now(UTC)  # noqa: TID251 - moto's clock
    grant = s3.grant(READ, WRITE, 3600)
    session = sts_backends["123456789012"]["aws"].assumed_roles[-1]

    assert (session.role_arn, session.session_name) == (ROLE, "fedspan-jobs-mine")
    assert timedelta(minutes=59) < grant.expires - before < timedelta(minutes=61)
    assert session_policy() == s3.policy(READ, WRITE)


def test_a_store_goes_on_with_the_renewed_grant(s3, session_policy, grant_file):
    good = s3.grant(READ, WRITE, 3600)
    session_policy()
    # obstore asks again for what ends within five minutes.
    soon = good.expires - timedelta(minutes=58)
    with enable_iam_authentication():
        grant_file(
            Grant(
                expires=soon,
                variables={
                    **good.model_dump(mode="json")["variables"],
                    "AWS_ACCESS_KEY_ID": "ASIAENDED",
                },
            )
        )
        objects = open_objects("s3://granted/fed")
        with pytest.raises(StoreError):
            objects.get("jobs/mine/a")
        grant_file(good)

        assert _eventually(lambda: objects.get("jobs/mine/a")) == b"jobs/mine/a"


def _eventually(get):
    """obstore does not ask twice within 100 ms."""
    for _ in range(50):
        try:
            return get()
        except StoreError:
            time.sleep(0.1)
    return get()


def test_before_the_first_grant_a_bucket_is_not_opened(grant_file):
    for url in ("s3://granted/fed", "gs://granted/fed"):
        with pytest.raises(StoreUnavailable):
            open_objects(url)


def test_a_folder_needs_no_grant(grant_file, tmp_path):
    open_objects((tmp_path / "objects").as_uri()).put("a", b"1")


def test_where_none_is_needed_the_machines_own_access_is_used(
    s3, grant_file, moto_url, monkeypatch
):
    grant_file(None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)

    assert open_objects("s3://granted/fed").get("jobs/mine/a") == b"jobs/mine/a"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", Denied),
        (403, "ExpiredToken", CredentialRejected),
        (403, "ExpiredTokenException", CredentialRejected),
        (403, "InvalidClientTokenId", CredentialRejected),
        (403, "SignatureDoesNotMatch", CredentialRejected),
        (400, "Throttling", Throttled),
        (400, "ThrottlingException", Throttled),
        (400, "PackedPolicyTooLarge", ProviderError),
        (503, "ServiceUnavailable", CloudUnavailable),
    ],
)
def test_each_code_of_sts_means_what_the_table_says(s3, answering, status, code, kind):
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>m</Message></Error>"
    url = answering(status, f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>")
    with pytest.raises(ProviderError) as raised:
        S3Grants(ROLE, "granted", "", {}, url).grant(READ, WRITE, 3600)

    assert raised.type is kind


def test_an_sts_that_is_away_is_passing(s3):
    with pytest.raises(CloudUnavailable):
        S3Grants(ROLE, "granted", "", {}, "http://127.0.0.1:9").grant(READ, WRITE, 3600)


def test_nobody_grants_without_an_identity_of_aws(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    with pytest.raises(CredentialRejected):
        S3Grants(ROLE, "granted", "", {}, "http://127.0.0.1:9").grant(READ, WRITE, 3600)


@pytest.fixture
def google(tmp_path, monkeypatch):
    """Cloud Storage, where the account of this process may do everything."""
    with TokenServer() as server:
        bucket = server.bucket("granted", ACCOUNT)
        for key in ["jobs/mine/a", "jobs/mine2/a", "jobs/other/a", "uploads/5f.pt2"]:
            bucket.write(ACCOUNT, f"fed/{key}", key.encode(), None)
        (tmp_path / "key.json").write_text(server.key_file(ACCOUNT))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        yield server


def of_google(server):
    return GcsGrants("granted", "fed/", {"GOOGLE_BASE_URL": server.url}, server.url)


def test_a_token_opens_the_objects_of_its_job_and_no_others(google, grant_file, monkeypatch):
    grant = of_google(google).grant(READ, WRITE, 3600)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    grant_file(grant)
    objects = open_objects("gs://granted/fed")
    objects.put("jobs/mine/b", b"mine", new=True)

    assert objects.get("jobs/mine/b") == b"mine"
    assert [one.key for one in objects.list("jobs/mine/")] == ["jobs/mine/a", "jobs/mine/b"]
    objects.delete("jobs/mine/b")
    for missing in (objects.get, objects.chunks):
        with pytest.raises(NotFound):
            missing("jobs/mine/b")
    assert objects.get("uploads/5f.pt2") == b"uploads/5f.pt2"
    for refused in [
        lambda: objects.get("jobs/other/a"),
        lambda: objects.get("jobs/mine2/a"),
        lambda: objects.put("jobs/other/a", b"theirs"),
        lambda: objects.put("uploads/5f.pt2", b"another"),
        lambda: objects.delete("uploads/5f.pt2"),
        lambda: objects.list("jobs/"),
        lambda: objects.list(""),
    ]:
        with pytest.raises(StoreError) as raised:
            refused()
        assert raised.type is StoreError


def test_a_token_ends_with_the_one_it_was_made_of(google):
    now = datetime.now(UTC)  # noqa: TID251 - google-auth's clock
    grant = of_google(google).grant(READ, WRITE, 3600)

    assert timedelta(minutes=59) < grant.expires - now < timedelta(minutes=61)


def test_a_store_goes_on_with_the_renewed_token(google, grant_file):
    good = of_google(google).grant(READ, WRITE, 3600)
    ended = {**good.model_dump(mode="json")["variables"], "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.ended"}
    grant_file(Grant(expires=good.expires - timedelta(minutes=58), variables=ended))
    objects = open_objects("gs://granted/fed")
    with pytest.raises(StoreError):
        objects.get("jobs/mine/a")
    grant_file(good)

    assert _eventually(lambda: objects.get("jobs/mine/a")) == b"jobs/mine/a"


def test_a_refused_exchange_is_told_without_what_was_sent(google):
    google.refuse = 400
    with pytest.raises(ProviderError) as raised:
        of_google(google).grant(READ, WRITE, 3600)

    assert raised.type is ProviderError
    assert "ya29" not in str(raised.value)


def test_a_token_service_that_is_away_is_passing(google):
    grants = GcsGrants("granted", "fed/", {}, "http://127.0.0.1:9")
    with pytest.raises(CloudUnavailable):
        grants.grant(READ, WRITE, 3600)


def test_an_account_google_does_not_take_is_rejected(google):
    google.accounts.by_email.clear()
    with pytest.raises(CredentialRejected):
        of_google(google).grant(READ, WRITE, 3600)


@pytest.mark.parametrize(
    ("url", "role", "kind"),
    [
        ("", "", NoGrants),
        ("file:///objects", ROLE, NoGrants),
        ("s3://b/p", "", NoGrants),
        ("s3://b/p", ROLE, S3Grants),
        ("gs://b/p", "", GcsGrants),
    ],
)
def test_the_url_of_the_objects_says_who_grants(url, role, kind):
    grants = open_grants(Settings(objects_url=url, objects_role=role))

    assert type(grants) is kind
    if kind is NoGrants:
        assert grants.grant(READ, WRITE, 3600) is None
    else:
        assert (grants.bucket, grants.within) == ("b", "p/")


def test_a_machine_is_told_where_the_bucket_is(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    grants = open_grants(Settings(objects_url="s3://b", objects_role=ROLE))

    assert grants.there["AWS_REGION"] == "eu-west-1"
    assert grants.within == ""


def test_the_secrets_of_a_grant_show_in_its_json_alone():
    given = {"expires": "2026-11-20T10:00:00Z", "variables": {"AWS_SECRET_ACCESS_KEY": "hush"}}
    grant = Grant.model_validate(given)
    with pytest.raises(ValidationError) as raised:
        Grant.model_validate({"expires": "hush", "variables": {"A": "hush", "B": ["hush"]}})

    assert "hush" not in f"{grant!r} {grant} {grant.model_dump()} {raised.value}"
    assert json.loads(grant.model_dump_json())["variables"] == {"AWS_SECRET_ACCESS_KEY": "hush"}
    assert Grant.model_validate_json(grant.model_dump_json()) == grant
