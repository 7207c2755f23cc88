"""Firestore's own promises: its error tables, case by case, lost answers, names."""

from __future__ import annotations

import secrets

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client
from grpc import StatusCode

from fedspan.errors import Conflict, Corrupt, StoreError, StoreUnavailable
from fedspan.stores import firestore
from fedspan.stores.base import Delete, Key, Put, Stored
from fedspan.stores.firestore import FirestoreStore
from tests.clouds.firestore.emulator import FirestoreEmulator

KEY = Key("jobs", "a")
OTHER = Key("jobs", "b")
PASSING = {
    StatusCode.ABORTED,
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.INTERNAL,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNAVAILABLE,
    StatusCode.UNKNOWN,
}
CODES = [code for code in StatusCode if code is not StatusCode.OK]


@pytest.fixture
def at(monkeypatch):
    """Makes a store at a host; of one project, so that two stores see the same."""
    project = f"project-{secrets.token_hex(8)}"
    stores = []

    def make(host, retry_seconds=0.0):
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        client = Client(project=project, credentials=AnonymousCredentials())
        stores.append(FirestoreStore(client, retry_seconds=retry_seconds))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def direct(at, firestore_host):
    return at(firestore_host)


@pytest.fixture
def faulty(at, firestore_relay):
    return at(firestore_relay.host)


@pytest.fixture
def patient(at, firestore_relay):
    return at(firestore_relay.host, retry_seconds=20)


def raised(call):
    with pytest.raises(Exception) as info:
        call()
    assert info.value.__cause__ is not None
    return info.type


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_status_of_a_read_means_what_the_table_says(faulty, firestore_relay, code):
    firestore_relay.fail("BatchGetDocuments", code)
    firestore_relay.fail("RunQuery", code)
    kind = StoreUnavailable if code in PASSING else StoreError

    assert raised(lambda: faulty.get(KEY)) is kind
    assert raised(lambda: faulty.list("jobs")) is kind


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("replaces", [False, True], ids=["creates", "replaces"])
def test_each_status_of_a_commit_means_what_the_table_says(
    direct, faulty, firestore_relay, code, replaces
):
    direct.write([Put(OTHER, "b", expected=0)])
    firestore_relay.fail("Commit", code)
    conflicts = {StatusCode.ALREADY_EXISTS, StatusCode.ABORTED}
    if replaces:
        conflicts |= {StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND}
    otherwise = StoreUnavailable if code in PASSING else StoreError
    change = Put(OTHER, "bb", expected=1) if replaces else Put(KEY, "a", expected=0)

    assert raised(lambda: faulty.write([change])) is (Conflict if code in conflicts else otherwise)
    assert [*direct.list("jobs")] == [Stored(OTHER, "b", 1)]


def test_the_tables_hold_every_error_that_a_status_becomes():
    assert {exceptions.from_grpc_status(code, "").__class__ for code in PASSING} == set(
        firestore.CODES
    ) - {exceptions.RetryError}


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.INTERNAL], ids=str)
def test_a_passing_fault_is_survived(patient, firestore_relay, code):
    for call in ("Commit", "BatchGetDocuments", "RunQuery"):
        firestore_relay.fail(call, code)
    patient.write([Put(KEY, "a", expected=0)])

    assert patient.get(KEY) == Stored(KEY, "a", 1)
    assert [*patient.list("jobs")] == [Stored(KEY, "a", 1)]


def test_a_list_that_breaks_off_is_taken_up_where_it_ended(direct, patient, firestore_relay):
    direct.write([Put(Key("jobs", str(n)), "", expected=0) for n in range(5)])
    firestore_relay.fail("RunQuery", StatusCode.UNAVAILABLE, after=True)

    assert [one.key.sort for one in patient.list("jobs", limit=3)] == ["0", "1", "2"]
    assert firestore_relay.calls == ["RunQuery", "RunQuery"]


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED], ids=str)
@pytest.mark.parametrize("replaces", [False, True], ids=["creates", "replaces"])
def test_a_write_whose_answer_was_lost_is_no_conflict_with_itself(
    direct, patient, firestore_relay, code, replaces
):
    if replaces:
        direct.write([Put(KEY, "a", expected=0)])
    direct.write([Put(OTHER, "b", expected=0)])
    firestore_relay.fail("Commit", code, after=True)
    patient.write([Delete(OTHER), Put(KEY, "new", expected=int(replaces))])

    assert [*direct.list("jobs")] == [Stored(KEY, "new", int(replaces) + 1)]
    assert firestore_relay.calls.count("Commit") == 2


def test_a_write_that_was_lost_and_then_overtaken_is_unknown(direct, patient, firestore_relay):
    overtake = [Put(KEY, "theirs", expected=1)]
    lost = StatusCode.UNAVAILABLE
    firestore_relay.fail("Commit", lost, after=True, then=lambda: direct.write(overtake))

    assert raised(lambda: patient.write([Put(KEY, "ours", expected=0)])) is StoreUnavailable
    assert direct.get(KEY) == Stored(KEY, "theirs", 2)


def test_a_write_between_the_look_and_the_commit_wins(direct, faulty, firestore_relay):
    direct.write([Put(KEY, "a", expected=0)])

    def overtake():
        direct.write([Delete(KEY)])
        direct.write([Put(KEY, "new", expected=0)])

    firestore_relay.fail("BatchGetDocuments", None, then=overtake)
    with pytest.raises(Conflict):
        faulty.write([Put(KEY, "late", expected=1)])

    assert direct.get(KEY) == Stored(KEY, "new", 1)


def test_what_creates_takes_one_call_and_what_replaces_two(faulty, firestore_relay):
    faulty.write([Put(KEY, "a", expected=0), Delete(OTHER)])
    faulty.write([Put(KEY, "aa", expected=1), Put(OTHER, "b", expected=0)])

    assert firestore_relay.calls == ["Commit", "BatchGetDocuments", "Commit"]


def test_a_server_that_is_not_there_is_passing(at):
    assert raised(lambda: at("127.0.0.1:9").get(KEY)) is StoreUnavailable


@pytest.mark.parametrize(
    "key",
    [
        Key(".", ".."),
        Key("__a__", "__.*__"),
        Key("a/b", "/"),
        Key("/", "a/b/c"),
        Key("%2F", "%"),
        Key("\x00", "\x00"),
        Key("é" * 1024, "😀" * 256),
        Key("/" * 2048, "." * 1024),
    ],
    ids=lambda key: ascii(key.sort)[:12],
)
def test_any_key_names_a_document_of_its_own(direct, key):
    twins = [key, Key(key.partition[:-1] + "x", key.sort), Key(key.partition, key.sort[:-1] + "x")]
    direct.write([Put(twin, str(n), expected=0) for n, twin in enumerate(twins)])

    assert [direct.get(twin).body for twin in twins] == ["0", "1", "2"]
    assert {one.key for one in direct.list(key.partition)} == {twins[0], twins[2]}
    assert [one.key for one in direct.list(twins[1].partition)] == [twins[1]]


def test_long_names_are_ordered_to_their_last_byte(direct):
    sorts = ["/" * 1023 + last for last in "-/é"] + ["😀" * 255 + last for last in "a\uffff😀"]
    direct.write([Put(Key("jobs", sort), "", expected=0) for sort in reversed(sorts)])

    assert [one.key.sort for one in direct.list("jobs")] == sorts
    assert [one.key.sort for one in direct.list("jobs", after=sorts[4])] == sorts[5:]


def test_a_document_of_somebody_else_is_corrupt(direct):
    direct._document(KEY).create({"sort": "a", "body": 7})

    with pytest.raises(Corrupt):
        direct.get(KEY)
    with pytest.raises(Corrupt):
        direct.list("jobs")


def test_a_closed_store_holds_no_channel(at, firestore_host):
    store = at(firestore_host)
    store.get(KEY)
    store.close()

    with pytest.raises(ValueError, match="losed"):
        store.get(KEY)


def test_without_java_or_gcloud_the_emulator_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(RuntimeError, match=r"no java: .*apt-get install"):
        FirestoreEmulator().__enter__()
