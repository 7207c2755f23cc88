"""Cloud Storage's own promises: who is let in, errors on the wire, generations, lost answers."""

from __future__ import annotations

import json
import secrets
import time

import jwt
import pytest

from fedspan.errors import Conflict, NotFound, StoreError, StoreUnavailable
from fedspan.objects.base import ObjectInfo
from fedspan.objects.bucket import PART_BYTES
from fedspan.objects.gcs import gcs_objects
from fedspan.objects.opening import open_objects
from tests.clouds.gcp.accounts import private_key
from tests.clouds.storage.server import Fault
from tests.contract.test_object_s3 import STATUSES

EMAIL = "fedspan@project.iam.gserviceaccount.com"
LARGE = b"x" * (2 * PART_BYTES + 1)


@pytest.fixture
def bucket(storage_server):
    return storage_server.bucket(f"b-{secrets.token_hex(8)}", EMAIL)


@pytest.fixture
def gcs(storage_server, bucket):
    """Makes the objects of the bucket; without retries, so that one fault is seen."""

    def make(**options):
        usual = {"base_url": storage_server.url, "retry_config": {"max_retries": 0}}
        if "bearer_token" not in options:
            usual["service_account_key"] = storage_server.key(EMAIL)
        return gcs_objects(options.pop("bucket", bucket.name), **usual | options)

    return make


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.mark.parametrize("status, kind", STATUSES)
@pytest.mark.parametrize("new", [False, True])
def test_each_status_means_what_the_table_says(storage_server, gcs, bucket, status, kind, new):
    objects = gcs()
    storage_server.faults.append(Fault("PUT", status))

    with pytest.raises(Exception) as raised:
        objects.put("a", b"x", new=new)

    assert raised.type is kind
    assert raised.value.__cause__ is not None
    assert len(str(raised.value)) < 700
    assert bucket.objects == {}


def test_a_passing_fault_is_survived(storage_server, gcs, bucket):
    objects = gcs(retry_config={"max_retries": 3})
    for verb in ("PUT", "GET"):
        storage_server.faults += [Fault(verb, 503), Fault(verb)]
    objects.put("a", b"x")

    assert objects.get("a") == b"x"
    assert storage_server.calls == ["PUT"] * 3 + ["GET"] * 3


def test_a_put_whose_answer_was_lost_is_put_again(storage_server, gcs, bucket):
    objects = gcs(retry_config={"max_retries": 3})
    storage_server.faults.append(Fault("PUT", done=True))
    objects.put("a", b"x")

    assert bucket.objects["a"].body == b"x"
    assert storage_server.calls == ["PUT", "PUT"]


@pytest.mark.parametrize("status", [0, 503])
def test_a_create_whose_answer_was_lost_meets_itself(storage_server, gcs, bucket, status):
    # obstore repeats a create too; so whoever meets a conflict looks at what is there.
    objects = gcs(retry_config={"max_retries": 3})
    storage_server.faults.append(Fault("PUT", status, done=True))

    with pytest.raises(Conflict):
        objects.put("a", b"x", new=True)

    assert objects.get("a") == b"x"


def test_an_upload_whose_completion_was_lost_may_be_put_again(storage_server, gcs, bucket, large):
    objects = gcs(retry_config={"max_retries": 3})
    begun, completed = Fault("POST", done=True, sent=10**6), Fault("POST", done=True)
    storage_server.faults += [begun, completed]

    with pytest.raises(StoreUnavailable, match="NoSuchUpload"):
        objects.put("a", large)

    objects.put("a", large)
    assert bucket.objects["a"].body == LARGE


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_an_upload_that_breaks_off_leaves_no_object(storage_server, gcs, bucket, large, verb):
    storage_server.faults.append(Fault(verb))

    with pytest.raises(StoreUnavailable):
        gcs().put("a", large)

    assert bucket.objects == {}
    assert bucket.uploads == {}


def test_a_body_cut_short_is_no_object(storage_server, gcs, tmp_path):
    objects = gcs()
    objects.put("a", b"x" * 10**6)
    storage_server.faults.append(Fault("GET", done=True, sent=1000))

    with pytest.raises(StoreUnavailable):
        objects.download("a", tmp_path / "to")

    assert list(tmp_path.iterdir()) == []


def test_a_tampered_token_is_refused(storage_server, gcs, bucket):
    known = json.loads(storage_server.key(EMAIL))
    claims = {"iss": EMAIL, "sub": EMAIL, "iat": time.time(), "exp": time.time() + 3600}
    claims["scope"] = "https://www.googleapis.com/auth/cloud-platform"
    header = {"kid": known["private_key_id"]}
    good = jwt.encode(claims, known["private_key"], "RS256", header)
    forged = jwt.encode(claims, private_key("another"), "RS256", header)
    gcs(bearer_token=good).put("good", b"x")
    for token in (
        forged,
        good[:-4] + "AAAA",
        good.replace(".", ".e30", 1),
        "e30.e30.e30",
        "ya29.x",
    ):
        with pytest.raises(StoreError, match="AuthenticationRequired") as raised:
            gcs(bearer_token=token).put("a", b"x")

        assert raised.type is StoreError
        assert token not in str(raised.value)

    assert list(bucket.objects) == ["good"]


def test_a_revoked_key_is_refused(storage_server, gcs, bucket):
    objects = gcs()
    objects.put("a", b"x")
    storage_server.accounts.by_email[EMAIL].keys.clear()

    with pytest.raises(StoreError, match="AuthenticationRequired"):
        objects.put("b", b"x")

    assert list(bucket.objects) == ["a"]


@pytest.mark.parametrize(
    "permission, call",
    [
        ("storage.objects.create", lambda o, large: o.put("new", b"x")),
        ("storage.objects.delete", lambda o, large: o.put("a", b"x")),
        ("storage.objects.delete", lambda o, large: o.delete("a")),
        ("storage.objects.get", lambda o, large: o.get("a")),
        ("storage.objects.get", lambda o, large: o.copy("a", "new")),
        ("storage.objects.list", lambda o, large: o.list("")),
        ("storage.objects.list", lambda o, large: o.get("none")),
        ("storage.multipartUploads.create", lambda o, large: o.put("new", large)),
    ],
)
def test_what_is_not_permitted_is_no_passing_fault(gcs, bucket, large, permission, call):
    objects = gcs()
    objects.put("a", b"kept")
    bucket.allowed[EMAIL] -= {permission}

    with pytest.raises(StoreError, match=permission) as raised:
        call(objects, large)

    assert raised.type is StoreError
    assert {name: one.body for name, one in bucket.objects.items()} == {"a": b"kept"}


def test_a_bucket_that_is_not_there_is_no_passing_fault(gcs, large):
    objects = gcs(bucket="missing")
    for call in (
        lambda: objects.list(""),
        lambda: objects.delete("a"),
        lambda: objects.get("a"),
        lambda: objects.copy("a", "b"),
        lambda: objects.put("a", b"x", new=True),
        lambda: objects.put("a", large),
    ):
        with pytest.raises(StoreError, match="bucket does not exist") as raised:
            call()

        assert raised.type is StoreError


def test_a_server_that_is_not_there_is_passing(gcs):
    with pytest.raises(StoreUnavailable):
        gcs(base_url="http://127.0.0.1:9").get("a")


def test_each_write_makes_a_generation_and_a_create_takes_none(gcs, bucket):
    objects = gcs()
    objects.put("a", b"1", new=True)
    first = bucket.objects["a"].generation
    objects.put("a", b"2")
    second = bucket.objects["a"].generation

    with pytest.raises(Conflict):
        objects.put("a", b"3", new=True)

    assert first < second == bucket.objects["a"].generation
    assert bucket.objects["a"].body == b"2"


def test_a_large_create_that_loses_leaves_nothing(gcs, bucket, large):
    objects = gcs()
    objects.put("a", b"kept")

    with pytest.raises(Conflict):
        objects.put("a", large, new=True)

    assert {name: one.body for name, one in bucket.objects.items()} == {"a": b"kept"}
    assert bucket.uploads == {}


def test_a_list_of_thousands_comes_in_pages(storage_server, gcs, bucket):
    objects = gcs()
    objects.put("n", b"x")
    one = bucket.objects.pop("n")
    bucket.objects |= {f"n/{number:04}": one for number in range(2500)}
    found = objects.list("n/")

    assert [*found] == [ObjectInfo(f"n/{number:04}", 1) for number in range(2500)]
    assert storage_server.calls.count("GET") == 3


def test_the_environment_names_the_endpoint_and_the_key(storage_server, bucket, monkeypatch):
    monkeypatch.setenv("GOOGLE_BASE_URL", storage_server.url)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", storage_server.key(EMAIL))
    open_objects(f"gs://{bucket.name}/some/prefix").put("a", b"x")

    assert list(bucket.objects) == ["some/prefix/a"]


def test_a_key_in_a_file_is_found_as_googles_tools_find_it(
    storage_server, bucket, monkeypatch, tmp_path
):
    (tmp_path / "key.json").write_text(storage_server.key(EMAIL))
    monkeypatch.setenv("GOOGLE_BASE_URL", storage_server.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    open_objects(f"gs://{bucket.name}").put("a", b"x")

    assert list(bucket.objects) == ["a"]


def test_a_machine_uses_its_own_account(storage_server, bucket, monkeypatch, tmp_path):
    storage_server.key(EMAIL)
    storage_server.machine = EMAIL
    monkeypatch.setenv("HOME", str(tmp_path))  # where no person's own credentials are
    monkeypatch.setenv("GOOGLE_BASE_URL", storage_server.url)
    monkeypatch.setenv("GCE_METADATA_HOST", storage_server.host)
    objects = open_objects(f"gs://{bucket.name}")
    objects.put("a", b"x")

    with pytest.raises(NotFound):
        objects.get("none")

    assert list(bucket.objects) == ["a"]


def test_no_secret_shows(gcs):
    objects = gcs()

    assert "PRIVATE" not in f"{objects!r} {vars(objects)}"
