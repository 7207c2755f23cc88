"""What a function without a store, objects or state machine says when it is asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedspan import wiring
from fedspan.absent import NoExecutions, NoObjects, NoStore
from fedspan.errors import InvalidRequest, NotFound, Unsupported
from fedspan.stores.base import Delete, Key

KEY = Key("site", "seoul")
STORE, OBJECTS = NoStore(), NoObjects()


@pytest.fixture(autouse=True)
def not_wired_yet() -> Iterator[None]:
    wiring._on_gcp.cache_clear()
    yield
    wiring._on_gcp.cache_clear()


def test_a_cloud_function_is_wired_once_and_needs_no_environment() -> None:
    assert wiring.app_on_gcp() is wiring.app_on_gcp()


def test_a_cloud_function_says_which_variable_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSPAN_HEARTBEAT_SECONDS", "never")

    with pytest.raises(InvalidRequest, match="FEDSPAN_HEARTBEAT_SECONDS"):
        wiring.app_on_gcp()


@pytest.mark.parametrize(
    "asked",
    [
        lambda: STORE.get(KEY),
        lambda: STORE.list("site"),
        lambda: STORE.write([Delete(KEY)]),
        lambda: OBJECTS.put("books/book.json", b"{}"),
        lambda: OBJECTS.uri("books/book.json"),
        lambda: wiring.app_on_gcp().executions.start("j", {}),
    ],
    ids=["get", "list", "write", "put", "uri", "start"],
)
def test_what_is_not_there_is_named(asked: Callable[[], object]) -> None:
    with pytest.raises(Unsupported, match=r"; (tell|ask|submit) "):
        asked()


@pytest.mark.parametrize(
    "asked",
    [
        lambda: OBJECTS.get("x"),
        lambda: OBJECTS.chunks("x"),
        lambda: OBJECTS.download("x", Path("never-written")),
        lambda: OBJECTS.copy("x", "y"),
    ],
    ids=["get", "chunks", "download", "copy"],
)
def test_no_objects_read_as_an_empty_bucket(asked: Callable[[], object]) -> None:
    with pytest.raises(NotFound, match="no object x"):
        asked()

    OBJECTS.delete("x")
    assert OBJECTS.list("") == ()


def test_nobody_waits_where_nothing_runs() -> None:
    runs = NoExecutions(Unsupported("elsewhere"))

    assert not runs.alive("j")
    assert not (runs.succeed("t", {}) or runs.fail("t", "e", "c") or runs.heartbeat("t"))
