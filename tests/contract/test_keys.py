"""What every master key must do, and how each cloud's says no, on the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.credentials import Credentials

from fedspan.errors import (
    CloudUnavailable,
    Corrupt,
    Denied,
    FedspanError,
    InvalidRequest,
    ProviderError,
    Throttled,
)
from fedspan.keys.base import MasterKey
from fedspan.keys.cloudkms import CloudKmsKey, crc32c
from fedspan.keys.file import FileKey
from fedspan.keys.kms import KmsKey
from fedspan.keys.opening import open_key
from tests.clouds.gcp import kms as google
from tests.clouds.gcp.fixtures import GcpProject

DATA_KEY = bytes(range(32))
CONTEXT = {"fedspan": "credential", "name": "hospital-é", "provider": "openstack"}
KEY = "projects/p/locations/global/keyRings/fedspan/cryptoKeys/master"

Another = Callable[[], MasterKey]
"""A key of the same kind."""


def file(request: Any) -> Iterator[Another]:
    folder = request.getfixturevalue("tmp_path")
    paths = iter(("a.key", "b.key"))
    yield lambda: made(folder / next(paths))


def made(path: Path) -> FileKey:
    key = FileKey(path)
    key.prepare()
    return key


def kms(request: Any) -> Iterator[Another]:
    client = request.getfixturevalue("aws_client")("kms", request.getfixturevalue("moto_url"))
    yield lambda: KmsKey(client, client.create_key()["KeyMetadata"]["Arn"])


def cloud_kms(request: Any) -> Iterator[Another]:
    with google.serving() as server, session() as authorized:
        names = iter((KEY, f"{KEY}-2"))
        yield lambda: CloudKmsKey(authorized, server.create_key(next(names)), server.url)


def session(token: str = "good") -> AuthorizedSession:
    return AuthorizedSession(Credentials(token))


@pytest.fixture(params=[file, kms, cloud_kms], ids=lambda make: make.__name__)
def another(request: Any) -> Iterator[Another]:
    yield from request.param(request)


@pytest.fixture
def key(another: Another) -> MasterKey:
    return another()


def test_what_was_wrapped_is_unwrapped_with_the_same_context(key: MasterKey) -> None:
    wrapped = key.wrap(DATA_KEY, CONTEXT)

    assert DATA_KEY not in wrapped
    assert key.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == DATA_KEY
    assert key.wrap(DATA_KEY, CONTEXT) != wrapped


@pytest.mark.parametrize(
    "context",
    [{}, {**CONTEXT, "name": "other"}, {**CONTEXT, "more": ""}, {"name": "hospital-é"}],
    ids=["none", "another", "more", "less"],
)
def test_another_context_opens_nothing(key: MasterKey, context: dict[str, str]) -> None:
    wrapped = key.wrap(DATA_KEY, CONTEXT)
    with pytest.raises(Corrupt):
        key.unwrap(wrapped, context)


def test_what_was_changed_opens_nothing(key: MasterKey) -> None:
    wrapped = key.wrap(DATA_KEY, CONTEXT)
    # Not its first bytes, which to KMS say which key it was: moto denies one that it does not know.
    changed = [wrapped[:-1] + bytes([wrapped[-1] ^ 1]), wrapped[:-1], wrapped + b"x", b""]
    for one in changed:
        with pytest.raises(Corrupt):
            key.unwrap(one, CONTEXT)


def test_another_key_opens_nothing_and_has_another_name(another: Another) -> None:
    one, other = another(), another()

    with pytest.raises((Corrupt, Denied)):  # moto denies where AWS knows that the key is another
        other.unwrap(one.wrap(DATA_KEY, CONTEXT), CONTEXT)
    assert one.name != other.name
    assert one.name == one.name


def test_a_key_file_is_made_once_for_its_owner_only_and_may_be_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "master.key", tmp_path / "moved.key"
    wrapped, name = made(here).wrap(DATA_KEY, CONTEXT), made(here).name

    assert (here.stat().st_size, here.stat().st_mode & 0o777) == (32, 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["master.key"]
    here.rename(there)
    assert FileKey(there).unwrap(wrapped, CONTEXT) == DATA_KEY
    assert FileKey(there).name == name
    assert there.read_bytes().hex() not in repr(FileKey(there))


MAKING = """
import sys; from pathlib import Path; from fedspan.keys.file import FileKey
sys.stdin.read(1); key = FileKey(Path(sys.argv[1])); key.prepare(); print(key.name)
"""


def test_processes_that_make_a_key_file_at_once_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKING, str(tmp_path / "master.key")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    makers: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    names = {maker.communicate("x")[0] for maker in makers}

    assert len(names) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    made(path)
    path.chmod(mode)
    with pytest.raises(Denied, match=f"chmod 600 {path}"):
        FileKey(path).wrap(DATA_KEY, CONTEXT)


def test_a_key_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(tmp_path / "master.key")
    if os.geteuid() == 0:
        os.chown(key.path, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(Denied, match="belongs to another user"):
        key.wrap(DATA_KEY, CONTEXT)


def test_a_key_file_that_is_missing_is_never_replaced_by_its_readers(tmp_path: Path) -> None:
    key = made(tmp_path / "master.key")
    wrapped = key.wrap(DATA_KEY, CONTEXT)
    key.path.unlink()
    for asked in (
        lambda: key.name,
        lambda: key.unwrap(wrapped, CONTEXT),
        lambda: key.wrap(DATA_KEY, CONTEXT),
    ):
        with pytest.raises(Corrupt, match=f"master key {key.path} is missing; put back"):
            asked()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_file_of_another_size_is_no_key(tmp_path: Path, size: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(os.urandom(size))
    path.chmod(0o600)
    with pytest.raises(Corrupt, match="put back the one that was there"):
        made(path).wrap(DATA_KEY, CONTEXT)
    assert path.stat().st_size == size


def test_a_key_file_where_no_file_can_be_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "master.key", tmp_path):
        with pytest.raises(InvalidRequest, match="master key"):
            made(path).wrap(DATA_KEY, CONTEXT)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InvalidCiphertextException", 400, Corrupt),
        ("IncorrectKeyException", 400, Corrupt),
        ("AccessDeniedException", 400, Denied),
        ("ThrottlingException", 400, Throttled),
        ("DependencyTimeoutException", 503, CloudUnavailable),
        ("KMSInternalException", 500, CloudUnavailable),
        ("KeyUnavailableException", 500, CloudUnavailable),
        ("NewFailure", 500, CloudUnavailable),
        ("DisabledException", 400, ProviderError),
        ("NotFoundException", 400, ProviderError),
    ],
)
def test_what_kms_says_has_its_error(
    aws_client: Any, answering: Any, code: str, status: int, kind: type[FedspanError]
) -> None:
    key = KmsKey(
        aws_client("kms", answering(status, json.dumps({"__type": code, "message": "no"}))), "k"
    )
    with pytest.raises(kind) as raised:
        key.unwrap(b"x", CONTEXT)
    assert type(raised.value) is kind
    assert code in str(raised.value)


def test_a_kms_that_is_down_is_unavailable(aws_client: Any) -> None:
    with pytest.raises(CloudUnavailable, match="encrypt with k"):
        KmsKey(aws_client("kms", "http://127.0.0.1:1"), "k").wrap(DATA_KEY, CONTEXT)


@pytest.fixture
def server() -> Iterator[google.CloudKms]:
    with google.serving() as made:
        made.create_key(KEY)
        yield made


@pytest.fixture
def cloud_key(server: google.CloudKms) -> Iterator[CloudKmsKey]:
    with session() as authorized:
        yield CloudKmsKey(authorized, KEY, server.url)


def refusal(code: int, status: str, message: str = "no") -> tuple[int, str]:
    return code, json.dumps({"error": {"code": code, "status": status, "message": message}})


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refusal(403, "PERMISSION_DENIED"), Denied),
        (refusal(429, "RESOURCE_EXHAUSTED"), Throttled),
        (refusal(503, "UNAVAILABLE"), CloudUnavailable),
        (refusal(500, "INTERNAL"), CloudUnavailable),
        (refusal(504, "DEADLINE_EXCEEDED"), CloudUnavailable),
        (
            refusal(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid."),
            Corrupt,
        ),
        (refusal(400, "INVALID_ARGUMENT", "The checksum did not match"), ProviderError),
        (refusal(400, "FAILED_PRECONDITION"), ProviderError),
        (refusal(404, "NOT_FOUND"), ProviderError),
        ((502, "<html>"), CloudUnavailable),
        ((400, "[]"), ProviderError),
        ((400, '{"error": "no"}'), ProviderError),
        ((200, "{}"), ProviderError),
        ((200, '{"plaintext": "AAAA", "plaintextCrc32c": "x"}'), ProviderError),
    ],
)
def test_what_cloud_kms_says_has_its_error(
    server: google.CloudKms,
    cloud_key: CloudKmsKey,
    fault: tuple[int, str],
    kind: type[FedspanError],
) -> None:
    server.fail_next = fault
    with pytest.raises(kind) as raised:
        cloud_key.unwrap(b"x", CONTEXT)
    assert type(raised.value) is kind


def test_a_bit_that_flips_on_its_way_is_noticed(
    server: google.CloudKms, cloud_key: CloudKmsKey
) -> None:
    wrapped = cloud_key.wrap(DATA_KEY, CONTEXT)
    server.flips = True
    for call in (lambda: cloud_key.wrap(DATA_KEY, CONTEXT), lambda: cloud_key.unwrap(wrapped, {})):
        with pytest.raises((CloudUnavailable, Corrupt)):
            call()
    server.flips, server.unverified = False, True
    with pytest.raises(CloudUnavailable, match="verifiedPlaintextCrc32c"):
        cloud_key.wrap(DATA_KEY, CONTEXT)


def test_a_token_that_is_not_let_in_is_denied(server: google.CloudKms) -> None:
    with session("bad") as authorized, pytest.raises(Denied, match="Permission denied"):
        CloudKmsKey(authorized, KEY, server.url).wrap(DATA_KEY, CONTEXT)


def test_a_cloud_kms_that_is_down_is_unavailable() -> None:
    with requests.Session() as plain, pytest.raises(CloudUnavailable):
        CloudKmsKey(plain, KEY, "http://127.0.0.1:1").wrap(DATA_KEY, CONTEXT)
    with AuthorizedSession(AnonymousCredentials()) as anonymous, pytest.raises(CloudUnavailable):
        CloudKmsKey(anonymous, KEY, "http://127.0.0.1:1").wrap(DATA_KEY, CONTEXT)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == google.bitwise_crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize(
    "setting",
    [
        "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/fedspan",
        "arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
    ],
)
def test_an_arn_is_a_key_of_aws(setting: str) -> None:
    key = open_key(setting, aws_endpoint="http://127.0.0.1:1")

    assert isinstance(key, KmsKey)
    assert key.name == setting


def test_an_alias_is_a_key_of_aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    key = open_key("alias/aws/secretsmanager", aws_endpoint=moto_url)

    assert key.unwrap(key.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY


def test_a_full_name_is_a_key_of_google(
    server: google.CloudKms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ProviderError, match=f"master key {KEY}"):
        open_key(KEY, gcp_endpoint=server.url)


def test_a_key_of_google_is_used_as_the_environment_says(
    server: google.CloudKms,
    gcp_project: GcpProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, server.tokens = gcp_project.secret, None
    said = secret.model_dump(include={"project_id", "client_email", "private_key_id", "token_uri"})
    pem = secret.private_key.get_secret_value()
    file = tmp_path / "account.json"
    file.write_text(json.dumps({"type": "service_account", "private_key": pem, **said}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    key = open_key(KEY, gcp_endpoint=server.url)
    assert isinstance(key, CloudKmsKey)

    assert key.unwrap(key.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
    key._session.close()


def test_a_path_is_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "a key"

    assert open_key(str(path)) == open_key(path.as_uri()) == FileKey(path)


@pytest.mark.parametrize(
    "setting",
    ["", "master.key", "file://host/key", "projects/p/cryptoKeys/k", "arn:aws:s3:::b", "~/key"],
)
def test_a_setting_that_names_no_key_is_refused(setting: str) -> None:
    with pytest.raises(InvalidRequest, match="master key"):
        open_key(setting)
