"""From a URL to objects, through which 100 MB pass in little memory."""

from __future__ import annotations

import sys

import pytest

from fedspan.errors import InvalidRequest
from fedspan.objects.opening import open_objects

MIB = 2**20
AWS_ENV = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
}

OPEN = """
import sys
from pathlib import Path
from fedspan.errors import FedspanError
from fedspan.objects.opening import open_objects

objects = open_objects(sys.argv[1])
"""

STREAMS = (
    OPEN
    + """
import resource

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small, large, to = Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])

def all_of_it(source, name):
    objects.put(name, source)
    objects.put(name + "-new", source, new=True)
    objects.copy(name, name + "-copy")
    objects.download(name, to)
    return sum(len(chunk) for chunk in objects.chunks(name + "-copy"))

all_of_it(small, "small")
before = peak()
print(all_of_it(large, "large"), peak() - before)
"""
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "objects"


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def env(request, scheme):
    """What the environment says to those who open a bucket called streams, which is made."""
    if scheme == "s3":
        url = request.getfixturevalue("moto_url")
        request.getfixturevalue("aws_client")("s3", url).create_bucket(Bucket="streams")
        return {**AWS_ENV, "AWS_ENDPOINT_URL": url}
    if scheme == "gs":
        server = request.getfixturevalue("storage_server")
        server.bucket("streams", "a@b.iam.gserviceaccount.com")
        key = server.key("a@b.iam.gserviceaccount.com")
        return {"GOOGLE_BASE_URL": server.url, "GOOGLE_SERVICE_ACCOUNT_KEY": key}
    return {}


@pytest.mark.parametrize("scheme", ["file", "s3", "gs"])
def test_100_mb_pass_through_a_few(scheme, tmp_path, env, python):
    url = f"{scheme}://streams/prefix" if env else (tmp_path / "objects").as_uri()
    small, large = sparse(tmp_path / "small", 20 * MIB), sparse(tmp_path / "large", 100 * MIB)
    script = python(STREAMS, url, small, large, tmp_path / "to", own_peak=True, **env)
    said, _ = script.communicate(timeout=300)
    print(said)
    size, grown = map(int, said.split())
    unit = 1 if sys.platform == "darwin" else 1024

    assert size == 100 * MIB
    assert grown * unit < 50 * MIB


def test_a_url_names_a_folder(folder):
    objects = open_objects((folder / "a b#c").as_uri())
    objects.put("x/y", b"1")

    assert (folder / "a b#c" / "x" / "y").read_bytes() == b"1"
    assert objects.uri("x/y") == (folder / "a b#c" / "x" / "y").as_uri()


@pytest.mark.parametrize("path", ["bucket", "bucket/", "bucket/some/prefix/"])
@pytest.mark.parametrize(
    "scheme, options", [("s3", {"region": "us-east-1"}), ("gs", {"bearer_token": "hush"})]
)
def test_a_url_names_a_bucket(path, scheme, options):
    url = f"{scheme}://{path}"
    objects = open_objects(url, **options)

    assert objects.uri("x/y") == url.rstrip("/") + "/x/y"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/folder",
        "file:relative",
        "file://host/folder",
        "s3://",
        "s3:///prefix",
        "s3://bucket/a/../b",
        "s3://bucket/a?version=1",
        "s3://id:hush@bucket/a",
        "gs://",
        "gs:///prefix",
        "gs://hush@bucket/a",
        "az://bucket",
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidRequest) as raised:
        open_objects(url)

    assert "hush" not in str(raised.value)


def test_importing_loads_no_sdk(python):
    script = python(
        "import sys, fedspan.objects.opening, fedspan.objects.folder, fedspan.stores.sqlite\n"
        "print({'obstore', 'boto3', 'botocore'} & set(sys.modules))"
    )

    assert script.communicate(timeout=180)[0] == "set()\n"
