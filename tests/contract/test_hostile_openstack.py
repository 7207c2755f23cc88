"""A private cloud that says what no cloud should: it harms nobody but itself."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from keystoneauth1.session import Session

from fedspan.domain.credentials import OpenStackSecret
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    InvalidRequest,
    NotOffered,
    ProviderError,
)
from fedspan.flower.certificates import server_certificate
from fedspan.providers.openstack.check import examine
from fedspan.providers.openstack.errors import Hidden, contained, translated
from fedspan.providers.openstack.guarded import MOST_BYTES, Guarded
from fedspan.providers.openstack.machines import OpenStackProvider
from tests.clouds.openstack.cloud import NOW, surroundings
from tests.clouds.openstack.specs import spec
from tests.clouds.proxy import FaultProxy
from tests.contract.test_providers import NEED
from tests.support.front import Front, standing
from tests.support.trickle import dripping

PASSWORD, TOKEN = 'hush <b>"hush"</b> &', "token-of-the-day"


def secret(url: str, **changes: Any) -> OpenStackSecret:
    login = {"username": "somebody", "password": PASSWORD, "project": "seoul"}
    return OpenStackSecret.model_validate({"auth_url": url, **login, **changes})


def token(*catalogue: Any) -> bytes:
    said = {
        "expires_at": "2999-01-01T00:00:00.000000Z",
        "issued_at": NOW.isoformat(),
        "methods": ["password"],
        "user": {"id": "u", "name": "somebody", "domain": {"id": "d", "name": "D"}},
        "project": {"id": "p", "name": "seoul", "domain": {"id": "d", "name": "D"}},
        "roles": [{"id": "r", "name": "member"}],
        "catalog": list(catalogue),
    }
    return json.dumps({"token": said}).encode()


def catalogue(**changes: Any) -> list[dict[str, Any]]:
    """Of all services, with entries that have `changes`; None leaves a part out."""
    entry = {"interface": "public", "region_id": "R", "region": "R", "id": "e", "url": "http://x"}
    made = {name: value for name, value in (entry | changes).items() if value is not None}
    return [
        {"type": one, "name": one, "id": one, "endpoints": [made]}
        for one in ("compute", "image", "network")
    ]


def services_at(url: str) -> bytes:
    """A token whose catalogue leads there, with versions in its paths: nobody asks for them."""
    roots = {"compute": "/v2.1", "image": "/v2", "network": "/v2.0"}
    found = catalogue()
    for one in found:
        one["endpoints"][0]["url"] = url + roots[one["type"]]
    return token(*found)


KEYSTONES = {
    "not found": (404, b"no such page"),
    "several choices": (300, b'{"versions": {"values": []}}'),
    "not allowed": (405, b""),
    "a list": (200, b"[1]"),
    "a number": (200, b"5"),
    "nothing": (200, b""),
    "null": (200, b"null"),
    "deep": (200, b"[" * 10_000),
    "HTML": (200, b"<html>hello</html>"),
    "a token that is none": (200, b'{"token": 5}'),
    "an empty token": (200, b'{"token": {}}'),
    "no catalogue": (200, token()),
    "a catalogue of numbers": (200, token(5, 6)),
    "endpoints that are none": (200, token({"type": "compute", "endpoints": 5})),
    "an entry without url": (200, token(*catalogue(url=None))),
    "an entry whose url is none": (200, token(*catalogue(url=5))),
    "an entry without region": (200, token(*catalogue(region=None, region_id=None))),
    "an entry without interface": (200, token(*catalogue(interface=None))),
    "an entry of metadata": (200, token(*catalogue(url="http://169.254.169.254/v2.1"))),
    "an entry of nothing": (200, token(*catalogue(url="http://["))),
    "an entry of a file": (200, token(*catalogue(url="file:///etc/passwd"))),
}
CALLS: tuple[Callable[[OpenStackProvider], Any], ...] = (
    lambda one: one.offers(NEED),
    lambda one: one.machines(),
    lambda one: one.launch("job-1", spec()),
)


@pytest.mark.parametrize("said", KEYSTONES)
def test_whatever_a_keystone_says_only_its_own_provider_fails(said: str) -> None:
    status, body = KEYSTONES[said]
    front = Front(status, body, {"X-Subject-Token": TOKEN, "Content-Type": "application/json"})
    with (
        standing(front) as url,
        closing(OpenStackProvider("seoul", secret(url), surroundings())) as provider,
    ):
        for call in CALLS:
            with pytest.raises(ProviderError):
                call(provider)


def test_a_token_without_its_header_is_none() -> None:
    with (
        standing(Front(200, token(*catalogue()))) as url,
        closing(OpenStackProvider("seoul", secret(url), surroundings())) as provider,
        pytest.raises(ProviderError, match="makes no sense"),
    ):
        provider.machines()


@pytest.mark.parametrize("said", ["not found", "a list", "HTML", "nothing"])
def test_a_person_is_told_that_the_address_is_wrong(said: str) -> None:
    status, body = KEYSTONES[said]
    with (
        standing(Front(status, body)) as url,
        pytest.raises(InvalidRequest, match=r"^auth_url: who answers there is no Keystone v3"),
    ):
        examine(secret(url), surroundings())


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"5", b"null", b"<html>", b'{"servers": 5}', b'{"servers": [5]}', b"{}"]
)
@pytest.mark.parametrize("status", [200, 300])
def test_whatever_a_service_says_only_its_own_provider_fails(status: int, body: bytes) -> None:
    front = Front(status, body, {"Content-Type": "application/json"})
    keystone = Front(200, b"", {"X-Subject-Token": TOKEN, "Content-Type": "application/json"})
    with standing(front) as services, standing(keystone) as url:
        keystone.body = services_at(services)
        with closing(OpenStackProvider("seoul", secret(url), surroundings())) as provider:
            for call in CALLS:
                with contextlib.suppress(ProviderError):
                    assert not call(provider)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
@pytest.mark.parametrize("repeats", ["plain", "json", "html"])
def test_a_keystone_that_repeats_the_secret_is_not_repeated(status: int, repeats: str) -> None:
    spelled = {"plain": PASSWORD, "json": json.dumps(PASSWORD), "html": f"<p>{PASSWORD}</p>"}
    message = json.dumps({"error": {"code": status, "message": spelled[repeats] * 40}})
    front = Front(status, message.encode(), {"Content-Type": "application/json"})
    with standing(front) as url:
        told = failing(secret(url))

    assert "hush" not in told


@pytest.mark.parametrize("status", [400, 403, 409, 500])
def test_a_service_that_repeats_secret_and_token_is_not_repeated(status: int) -> None:
    message = json.dumps({"x": {"code": status, "message": f"no {PASSWORD} and {TOKEN}" * 30}})
    front = Front(status, message.encode(), {"Content-Type": "application/json"})
    keystone = Front(200, b"", {"X-Subject-Token": TOKEN, "Content-Type": "application/json"})
    with standing(front) as services, standing(keystone) as url:
        keystone.body = services_at(services)
        told = failing(secret(url))

    assert "list servers: " in told
    assert "no *** and ***" in told
    assert "hush" not in told
    assert TOKEN not in told


def test_a_name_that_repeats_the_secret_is_not_repeated() -> None:
    said = token(*catalogue(region_id=PASSWORD, region=PASSWORD))
    with standing(Front(200, said, {"X-Subject-Token": TOKEN})) as url:
        told = failing(secret(url, region="Mars"))

    assert "there are: ***" in told
    assert "hush" not in told


def test_an_error_that_came_from_one_with_the_secret_does_not_show_that() -> None:
    hidden = Hidden(secret("http://x"))
    with pytest.raises(NotOffered) as refused, contained("ask", hidden):
        raise NotOffered("plain") from ValueError(PASSWORD)

    assert "hush" not in "".join(traceback.format_exception(refused.value))


def failing(secret: OpenStackSecret) -> str:
    """What a log has of it, tracebacks and their causes included."""
    with (
        closing(OpenStackProvider("seoul", secret, surroundings())) as provider,
        pytest.raises(ProviderError) as refused,
    ):
        provider.machines()
    return "".join(traceback.format_exception(refused.value))


def test_what_keystone_itself_says_of_a_login_is_told() -> None:
    words = "The request you have made requires authentication."
    message = json.dumps({"error": {"code": 401, "message": words + " hush", "title": "No"}})
    front = Front(401, message.encode(), {"Content-Type": "application/json"})
    with standing(front) as url, pytest.raises(CredentialRejected) as refused:
        examine(secret(url), surroundings())

    assert str(refused.value) == f"openstack log in: status 401: {words[:-1]}"


class TestLimits:
    """Of one answer, by the transport alone: they are long."""

    hidden = Hidden(secret("http://x"))

    @pytest.fixture
    def http(self) -> Iterator[requests.Session]:
        with requests.Session() as made:
            guarded = Guarded(None, True, self.hidden, most_s=0.3)
            made.mount("http://", guarded)
            yield made

    @pytest.mark.parametrize(
        "begin",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HT"],
        ids=["body", "headers", "status"],
    )
    def test_who_drips_is_left(self, http: requests.Session, begin: bytes) -> None:
        asking = Session(session=http)
        with dripping(begin, 60) as drip, pytest.raises(CloudUnavailable), translated("ask"):
            asking.get(drip.url, authenticated=False)

    def test_who_never_ends_is_left(self) -> None:
        with (
            standing(Front(200, b" " * (MOST_BYTES + 1))) as url,
            pytest.raises(CloudUnavailable, match="answers over 16,777,216 bytes"),
        ):
            examine(secret(url), surroundings())

    def test_a_whole_answer_is_read_and_its_connection_used_again(
        self, http: requests.Session
    ) -> None:
        front = Front(200, b"x" * 200_000)
        with standing(front) as url:
            assert [len(http.get(url).content) for _ in range(3)] == [200_000] * 3

        assert len(front.connections) == 1

    def test_every_token_that_was_sent_is_hidden(self, http: requests.Session) -> None:
        with standing(Front()) as url:
            for one in ("one-token", "another-token"):  # Keystone gives a new one when it ends
                http.get(url, headers={"X-Auth-Token": one})

        assert self.hidden.out_of("one-token another-token") == "*** ***"


def test_a_name_that_leads_elsewhere_after_its_check_is_not_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)  # noqa: TID251  OpenSSL has no other clock
    made = server_certificate(tmp_path, "cloud.invalid", now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    real, asked = socket.getaddrinfo, []

    def rebinding(host: str, *args: Any, **kwargs: Any) -> Any:
        """A stranger's name server: what is checked is a public address."""
        asked.append(host)
        return real("192.0.2.1" if len(asked) <= 2 else "127.0.0.1", *args, **kwargs)

    with FaultProxy("http://127.0.0.1:1", context) as inside:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = inside.url.replace("127.0.0.1", "cloud.invalid")
        with pytest.raises(InvalidRequest, match=r"cloud\.invalid \(127\.0\.0\.1\) is on loopback"):
            examine(secret(url, ca=made.ca.read_text()), surroundings(allow_loopback=False))

        assert inside.seen == []
