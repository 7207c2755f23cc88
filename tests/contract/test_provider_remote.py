"""What goes wrong between a control plane and the Cloud Function that runs machines for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedspan import wiring
from fedspan.domain.machines import Machine, MachineSpec, Offer, Role, cheapest
from fedspan.domain.spec import Need
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    FedspanError,
    InvalidRequest,
    NoCapacity,
    NotFound,
    ProviderError,
    Throttled,
    TooLarge,
    Unsupported,
    tree,
)
from fedspan.providers.base import Capabilities
from fedspan.providers.id_tokens import IdTokens
from fedspan.providers.memory import MemoryProvider
from fedspan.providers.remote import RemoteProvider
from fedspan.settings import Settings
from tests.contract.clouds import NOW, remote_provider
from tests.support.cloud_function import FORBIDDEN
from tests.support.front import Front, standing
from tests.support.trickle import dripping

NEED = Need(vcpus=1, memory_mib=64)
TOKEN = "hush.hush.hush"
PASSED_ON = (ProviderError, InvalidRequest, NotFound, TooLarge, Unsupported)


Through = Callable[..., RemoteProvider]


@pytest.fixture
def through() -> Iterator[Through]:
    """The provider behind a front that answers so."""
    open_: list[Any] = []

    def make(front: Front, **more: Any) -> RemoteProvider:
        standing_ = standing(front)
        url = standing_.__enter__()
        provider = RemoteProvider("gcp", url, lambda: TOKEN, allow_loopback=True, **more)
        open_.append((provider, standing_))
        return provider

    yield make
    for provider, standing_ in open_:
        provider.close()
        standing_.__exit__(None, None, None)


@pytest.fixture
def far(request: pytest.FixtureRequest) -> Iterator[tuple[RemoteProvider, MemoryProvider]]:
    """The real function, and the cloud behind it."""
    cloud = MemoryProvider(lambda: NOW, name="gcp")
    with remote_provider(request, cloud) as provider:
        yield provider, cloud


def spec_for(offer: Offer) -> MachineSpec:
    return MachineSpec(key="k", role=Role.AGGREGATOR, epoch=1, offer=offer)


def an_offer(**changes: Any) -> Offer:
    given = {"provider": "gcp", "region": "r", "machine_type": "m", "vcpus": 2, "memory_mib": 4096}
    return Offer(**{**given, "price": 1, **changes})


def a_machine(**changes: Any) -> Machine:
    given = {"id": "i", "job": "j", "key": "k", "role": Role.AGGREGATOR, "epoch": 1}
    return Machine(**{**given, "offer": an_offer(), "state": "running", "launched": NOW, **changes})


def problem(kind: str, detail: str = "what went wrong", **more: Any) -> Front:
    document = {"type": kind, "status": 500, "detail": detail, **more}
    return Front(500, json.dumps(document).encode(), {"Content-Type": "application/problem+json"})


def test_a_control_plane_has_it_where_a_function_is_named() -> None:
    named = Settings(remote_url="https://machines-abc.run.app/")
    provider = wiring._remote(named)["gcp"]

    assert isinstance(provider, RemoteProvider)
    assert (provider.name, provider.url) == ("gcp", "https://machines-abc.run.app")
    assert provider.token == IdTokens("https://machines-abc.run.app", wiring.now)
    assert wiring._remote(Settings()) == {}


@pytest.mark.parametrize("name", tree())
def test_an_error_there_is_the_same_error_here(
    far: tuple[RemoteProvider, MemoryProvider], name: str
) -> None:
    provider, cloud = far
    kind = tree()[name]
    cloud.fail_next = kind("what went wrong")

    with pytest.raises(FedspanError) as caught:
        provider.machines()
    assert type(caught.value) is (kind if issubclass(kind, PASSED_ON) else ProviderError)
    assert "what went wrong" in str(caught.value)


def test_each_method_hears_of_the_error_there(
    far: tuple[RemoteProvider, MemoryProvider],
) -> None:
    provider, cloud = far
    made = provider.launch("j", spec_for(cheapest(provider.offers(NEED), NEED)))

    for call in (
        lambda: provider.offers(NEED),
        lambda: provider.launch("j", spec_for(made.offer)),
        lambda: provider.terminate(made),
    ):
        cloud.fail_next = NoCapacity("sold out")
        with pytest.raises(NoCapacity, match="sold out"):
            call()


def test_each_fault_of_what_was_asked_is_told(far: tuple[RemoteProvider, MemoryProvider]) -> None:
    provider, cloud = far
    cloud.fail_next = InvalidRequest("one: is wrong", "two: is wrong")

    with pytest.raises(InvalidRequest) as caught:
        provider.machines()
    assert caught.value.problems == ("one: is wrong", "two: is wrong")


def test_what_it_can_do_is_asked_once(
    far: tuple[RemoteProvider, MemoryProvider],
) -> None:
    provider, cloud = far
    cloud.capabilities = Capabilities(spot=True, user_data_bytes=9, roles=frozenset({Role.CLIENT}))

    assert provider.capabilities == cloud.capabilities
    cloud.capabilities = Capabilities()
    assert provider.capabilities.user_data_bytes == 9


def test_what_it_says_of_being_here_is_not_believed(
    far: tuple[RemoteProvider, MemoryProvider],
) -> None:
    provider, cloud = far
    cloud.capabilities = Capabilities(spot=True, here=True)

    assert provider.capabilities == Capabilities(spot=True, here=False)


def test_until_it_answers_it_may_be_anything_and_offers_say_what_is_wrong(
    through: Through,
) -> None:
    front = Front(503)
    provider = through(front)

    assert provider.capabilities == Capabilities()
    with pytest.raises(CloudUnavailable):
        provider.offers(NEED)
    front.status, front.body = 200, b'{"spot": true, "user_data_bytes": 5, "roles": ["client"]}'
    assert provider.capabilities.user_data_bytes == 5


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, CredentialRejected, "audience"),
        (403, Denied, "roles/run.invoker"),
        (404, ProviderError, "no such function"),
        (418, ProviderError, "status 418"),
        (429, Throttled, "no instance"),
        (500, CloudUnavailable, "status 500"),
        (503, CloudUnavailable, "status 503"),
    ],
)
def test_who_stands_before_the_function_speaks_html(
    through: Through, status: int, kind: type[ProviderError], said: str
) -> None:
    provider = through(Front(status, FORBIDDEN, {"Content-Type": "text/html; charset=UTF-8"}))

    with pytest.raises(ProviderError, match=said) as caught:
        provider.offers(NEED)
    assert type(caught.value) is kind
    assert "<h" not in str(caught.value)


def test_a_wrong_token_is_denied_at_the_door(request: pytest.FixtureRequest) -> None:
    cloud = MemoryProvider(lambda: NOW, name="gcp")
    with (
        remote_provider(request, cloud, token=lambda: "another") as provider,
        pytest.raises(Denied),
    ):
        provider.machines()


def test_the_token_is_asked_for_each_call(through: Through) -> None:
    front = Front(body=b'{"machines": []}')
    tokens = iter(["first", "second"])
    provider = through(front)
    another = RemoteProvider("gcp", provider.url, lambda: next(tokens), allow_loopback=True)
    another.machines()
    another.machines("job-1")
    another.close()

    assert [one["Authorization"] for _, one in front.asked] == ["Bearer first", "Bearer second"]
    assert [path for path, _ in front.asked] == ["/machines", "/machines?job=job-1"]


def test_who_has_no_token_hears_why(through: Through) -> None:
    def none() -> str:
        raise CredentialRejected("no identity here")

    front = Front()
    provider = RemoteProvider("gcp", through(front).url, none, allow_loopback=True)
    with pytest.raises(CredentialRejected, match="no identity here"):
        provider.machines()
    assert front.asked == []


def test_a_redirect_is_not_followed(through: Through) -> None:
    elsewhere = Front()
    there = through(elsewhere).url
    provider = through(Front(307, b"", {"Location": f"{there}/offers"}))

    with pytest.raises(ProviderError, match="status 307"):
        provider.offers(NEED)
    assert elsewhere.asked == []


def test_a_password_file_does_not_replace_the_token(
    through: Through, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    front = Front(body=b'{"machines": []}')
    through(front).machines()

    assert front.asked[0][1]["Authorization"] == f"Bearer {TOKEN}"


def test_connections_are_used_again(through: Through) -> None:
    front = Front(body=b'{"machines": []}')
    provider = through(front)
    for _ in range(5):
        provider.machines()

    assert len(front.connections) == 1


def test_nobody_there_is_an_unavailable_cloud() -> None:
    with standing(Front()) as url:
        pass
    provider = RemoteProvider("gcp", url, lambda: TOKEN, allow_loopback=True)

    with pytest.raises(CloudUnavailable, match=r"gcp through 127\.0\.0\.1: no answer") as caught:
        provider.offers(NEED)
    assert TOKEN not in repr(caught.value)
    provider.close()


def test_one_that_does_not_answer_in_time_is_unavailable(through: Through) -> None:
    provider = through(Front(wait=threading.Event()), timeout_s=(5.0, 0.05))

    with pytest.raises(CloudUnavailable, match="no answer"):
        provider.offers(NEED)


def test_an_answer_that_takes_too_long_is_left(through: Through) -> None:
    provider = through(Front(body=b'{"machines": []}'), most_s=-1.0)

    with pytest.raises(CloudUnavailable, match="answers for over"):
        provider.machines()


def test_an_answer_that_trickles_in_is_left() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", 60) as drip:
        provider = RemoteProvider("gcp", drip.url, lambda: TOKEN, allow_loopback=True, most_s=0.3)
        with pytest.raises(CloudUnavailable, match="answers for over"):
            provider.machines()
        provider.close()

        assert drip.said < 60  # nobody waited for the rest


def test_an_answer_that_breaks_off_is_no_answer(through: Through) -> None:
    headers = {"Content-Length": "100", "Connection": "close"}
    provider = through(Front(body=b'{"machines": []}', headers=headers))

    with pytest.raises(CloudUnavailable, match="no answer"):
        provider.machines()


@pytest.mark.parametrize("status", [200, 500])
def test_a_huge_answer_is_not_read_to_its_end(through: Through, status: int) -> None:
    provider = through(Front(status, b" " * 100_000), most_bytes=1000)

    with pytest.raises(ProviderError, match="over 1,000 bytes"):
        provider.machines()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"<html>",
        b'{"machines": [{}]}',
        b'{"machines": ["hush"]}',
        b"[" * 10_000,
    ],
)
def test_garbage_is_no_machine(through: Through, body: bytes) -> None:
    provider = through(Front(body=body))

    with pytest.raises(ProviderError, match="are both sides of one version") as caught:
        provider.machines()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"type": 5}', b'{"detail": "who?"}', b"[" * 10_000]
)
def test_a_problem_that_says_nothing_is_an_error_all_the_same(
    through: Through, body: bytes
) -> None:
    provider = through(Front(500, body, {"Content-Type": "application/problem+json"}))

    with pytest.raises(ProviderError, match="status 500, and no more") as caught:
        provider.machines()
    assert type(caught.value) is ProviderError


@pytest.mark.parametrize("kind", ["Exception", "KeyboardInterrupt", "JobCancelled", "FedspanError"])
def test_a_name_that_no_provider_raises_is_not_believed(through: Through, kind: str) -> None:
    provider = through(problem(kind))

    with pytest.raises(ProviderError, match=f"{kind}: what went wrong") as caught:
        provider.machines()
    assert type(caught.value) is ProviderError


def test_a_long_explanation_is_cut(through: Through) -> None:
    with pytest.raises(NoCapacity) as caught:
        through(problem("NoCapacity", "x" * 100_000)).machines()

    assert len(str(caught.value)) == 500


def test_machines_of_another_cloud_are_not_taken_for_ours(through: Through) -> None:
    other = an_offer(provider="aws")
    listed = json.dumps({"offers": [other.model_dump()]}).encode()
    with pytest.raises(ProviderError, match="answers for provider aws"):
        through(Front(body=listed)).offers(NEED)

    machine = a_machine(offer=other)
    for body in (machine.model_dump_json(), f'{{"machines": [{machine.model_dump_json()}]}}'):
        provider = through(Front(body=body.encode()))
        with pytest.raises(ProviderError, match="answers for provider aws"):
            provider.launch("j", spec_for(other)) if body[2] == "i" else provider.machines()


def test_another_machine_than_was_asked_for_is_refused(through: Through) -> None:
    for wrong in (a_machine(key="another"), a_machine(job="another")):
        provider = through(Front(body=wrong.model_dump_json().encode()))
        with pytest.raises(ProviderError, match="asked for k"):
            provider.launch("j", spec_for(an_offer()))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://machines-abc.run.app", "no https URL"),
        ("http://127.0.0.1:1", "no https URL"),
        ("ftp://machines-abc.run.app", "no https URL"),
        ("", "no https URL"),
        ("https://", "only a host and a path"),
        ("https://user:hush@machines-abc.run.app", "only a host and a path"),
        ("https://machines-abc.run.app?key=hush", "only a host and a path"),
        ("https://machines-abc.run.app#hush", "only a host and a path"),
    ],
)
def test_a_token_goes_out_encrypted_and_to_one_host_only(url: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        RemoteProvider("gcp", url, lambda: TOKEN)
    assert "hush" not in str(caught.value)


def test_plain_http_stays_on_loopback_even_where_it_is_allowed() -> None:
    with pytest.raises(InvalidRequest, match="no https URL"):
        RemoteProvider("gcp", "http://machines-abc.run.app", lambda: TOKEN, allow_loopback=True)
