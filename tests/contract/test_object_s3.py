"""S3's own promises: its error table, what it leaves in the bucket, no secret shown."""

from __future__ import annotations

import pytest

from fedspan.errors import Conflict, StorageFull, StoreError, StoreUnavailable
from fedspan.objects.bucket import PART_BYTES
from fedspan.objects.s3 import s3_objects

STATUSES = [
    (400, StoreError),
    (401, StoreError),
    (403, StoreError),
    (404, StoreError),  # a bucket that is not there
    (408, StoreUnavailable),
    (409, Conflict),
    (412, Conflict),
    (429, StoreUnavailable),
    (500, StoreUnavailable),
    (503, StoreUnavailable),
    (507, StorageFull),
]


@pytest.fixture
def s3_at():
    def make(url, bucket="bucket", **options):
        return s3_objects(
            bucket,
            endpoint=url,
            region="us-east-1",
            access_key_id="id",
            secret_access_key="hush-hush",
            retry_config={"max_retries": 0},
            **options,
        )

    return make


@pytest.mark.parametrize("status, kind", STATUSES)
@pytest.mark.parametrize("new", [False, True])
def test_each_status_means_what_the_table_says(answering, s3_at, status, kind, new):
    objects = s3_at(answering(status, "<Error><Code>AsAsked</Code></Error>"))

    with pytest.raises(Exception) as raised:
        objects.put("a", b"x", new=new)

    assert raised.type is kind
    assert raised.value.__cause__ is not None
    assert len(str(raised.value)) < 700


def test_a_bucket_that_is_not_there_is_no_passing_fault(moto_url, s3_at):
    objects = s3_at(moto_url, "missing")
    for call in [lambda: objects.list(""), lambda: objects.delete("a")]:
        with pytest.raises(StoreError) as raised:
            call()

        assert raised.type is StoreError


def test_a_server_that_is_not_there_is_passing(s3_at):
    with pytest.raises(StoreUnavailable):
        s3_at("http://127.0.0.1:9").get("a")


def test_a_body_cut_short_is_no_object(answering, s3_at, tmp_path):
    objects = s3_at(answering(200, "short", length=10**6))

    with pytest.raises(StoreUnavailable):
        objects.download("a", tmp_path / "to")

    assert list(tmp_path.iterdir()) == []


def test_a_create_that_fails_leaves_no_staged_object(moto_url, s3_at, aws_client, tmp_path):
    client = aws_client("s3", moto_url)
    client.create_bucket(Bucket="staged")
    objects = s3_at(moto_url, "staged")
    objects.put("a", b"kept")
    large = tmp_path / "large"
    large.write_bytes(b"x" * (2 * PART_BYTES))

    with pytest.raises(Conflict):
        objects.put("a", large, new=True)

    assert [o["Key"] for o in client.list_objects_v2(Bucket="staged")["Contents"]] == ["a"]
    assert "Uploads" not in client.list_multipart_uploads(Bucket="staged")


def test_no_secret_shows(s3_at):
    objects = s3_at("http://127.0.0.1:9")

    assert "hush" not in f"{objects!r} {vars(objects)}"
