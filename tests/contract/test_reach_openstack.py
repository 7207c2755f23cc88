"""Where an OpenStack credential leads to, and who answers there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedspan.errors import CloudUnavailable, InvalidRequest, ProviderError
from fedspan.flower.certificates import server_certificate
from fedspan.providers.openstack.check import examine
from tests.clouds.openstack.cloud import OpenStackCloud, surroundings
from tests.clouds.openstack.fixtures import FAULTY
from tests.clouds.proxy import Fault, FaultProxy
from tests.contract.test_credential_openstack import examined, refused_with


def test_a_catalogue_leads_to_no_metadata_service(
    openstack_cloud: OpenStackCloud, half_a_region: Callable[..., str]
) -> None:
    region = half_a_region(**openstack_cloud.urls | {"nova": "http://169.254.169.254"})

    with refused_with(InvalidRequest, "auth_url: 169.254.169.254 is link-local"):
        examined(openstack_cloud.secret(region=region))


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port that is taken, on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_keystone_that_is_down_is_unavailable(
    openstack_cloud: OpenStackCloud, nobody: str
) -> None:
    with refused_with(CloudUnavailable, "(?i)connect"):
        examined(openstack_cloud.secret(auth_url=nobody + "/v3"))


def test_a_nova_that_is_down_is_unavailable(
    openstack_cloud: OpenStackCloud, half_a_region: Callable[..., str], nobody: str
) -> None:
    region = half_a_region(**openstack_cloud.urls | {"nova": nobody})

    with refused_with(CloudUnavailable, "(?i)connect"):
        examined(openstack_cloud.secret(region=region))


@pytest.mark.parametrize(
    ("status", "body"), [(404, "{}"), (200, "<html>hello</html>"), (200, "{}"), (405, "")]
)
def test_who_is_no_keystone_is_told(
    openstack_cloud: OpenStackCloud, answering: Callable[..., str], status: int, body: str
) -> None:
    with refused_with(InvalidRequest, "^auth_url: who answers there is no Keystone v3"):
        examined(openstack_cloud.secret(auth_url=answering(status, body)))


def test_a_redirect_elsewhere_is_not_followed(openstack_cloud: OpenStackCloud) -> None:
    with FaultProxy(openstack_cloud.urls["keystone"]) as there, FaultProxy(there.url) as here:
        here.faults.append(Fault(307, headers={"Location": there.url + "/v3/auth/tokens"}))
        with refused_with(ProviderError, "redirects to .*, where we do not follow"):
            examined(openstack_cloud.secret(auth_url=here.url))
        assert there.seen == []


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/v3", "http://[fe80::1]:5000/v3", "https://0.0.0.0:5000"]
)
def test_what_is_no_cloud_is_not_asked(openstack_cloud: OpenStackCloud, url: str) -> None:
    with refused_with(InvalidRequest, "^auth_url: "):
        examined(openstack_cloud.secret(auth_url=url))


def test_loopback_is_not_asked_unless_it_is_allowed(openstack_cloud: OpenStackCloud) -> None:
    with FaultProxy(openstack_cloud.urls["keystone"]) as keystone:
        secret = openstack_cloud.secret(auth_url=keystone.url.replace("http:", "https:"))
        with refused_with(InvalidRequest, "^auth_url: .* loopback"):
            examine(secret, surroundings(allow_loopback=False))
        assert keystone.seen == []


class TestTls:
    @pytest.fixture
    def keystone(self, openstack_cloud: OpenStackCloud, tmp_path: Path) -> Iterator[FaultProxy]:
        now = datetime.now(UTC)  # noqa: TID251  OpenSSL has no other clock
        made = server_certificate(tmp_path, "127.0.0.1", now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        with FaultProxy(openstack_cloud.urls["keystone"], context) as proxy:
            yield proxy

    def test_an_unknown_ca_is_told_with_what_would_help(
        self, openstack_cloud: OpenStackCloud, keystone: FaultProxy
    ) -> None:
        with refused_with(ProviderError, r"(?i)certificate.*register .* \(`ca`\)"):
            examined(openstack_cloud.secret(auth_url=keystone.url))
        assert keystone.seen == []

    def test_a_ca_in_the_secret_is_believed(
        self, openstack_cloud: OpenStackCloud, keystone: FaultProxy, tmp_path: Path
    ) -> None:
        ca = (tmp_path / "ca.pem").read_text()

        assert examined(openstack_cloud.secret(auth_url=keystone.url, ca=ca))
        assert keystone.seen

    def test_another_ca_is_not(
        self, openstack_cloud: OpenStackCloud, keystone: FaultProxy, tmp_path: Path
    ) -> None:
        now = datetime.now(UTC)  # noqa: TID251  OpenSSL has no other clock
        another = server_certificate(tmp_path / "another", "127.0.0.1", now).ca.read_text()

        with refused_with(ProviderError, "(?i)certificate"):
            examined(openstack_cloud.secret(auth_url=keystone.url, ca=another))

    def test_what_is_no_certificate_is_told(self, openstack_cloud: OpenStackCloud) -> None:
        with refused_with(InvalidRequest, "^ca: is no certificate in PEM"):
            examined(openstack_cloud.secret(ca="-----BEGIN hello-----"))


@pytest.mark.parametrize(
    ("status", "error"), [(500, "CloudUnavailable"), (503, "CloudUnavailable"), (429, "Throttled")]
)
def test_a_keystone_in_trouble_rejects_nobody(
    openstack_cloud: OpenStackCloud,
    faulty_region: dict[str, FaultProxy],
    status: int,
    error: str,
) -> None:
    faulty_region["keystone"].faults.append(Fault(status, b"<html>no</html>"))
    url = faulty_region["keystone"].url + "/v3"

    with pytest.raises(ProviderError) as refused:
        examined(openstack_cloud.secret(auth_url=url, region=FAULTY))
    assert type(refused.value).__name__ == error
