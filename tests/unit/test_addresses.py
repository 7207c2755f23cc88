"""Where a registered credential may send the control plane."""

from __future__ import annotations

import pytest

from fedspan.errors import CloudUnavailable, InvalidRequest
from fedspan.providers.addresses import check_address


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2:80",
        "2852039166",  # 169.254.169.254 as one number
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[::169.254.169.254]",
        "[::ffff:0:169.254.169.254]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[64:ff9b:1:a9fe:a9:fe00::]",  # its NAT64 with a length of 48
        "[64:ff9b:1:a9:fe:a9fe::]",  # 56
        "[64:ff9b:1::a9:fea9:fe00:0]",  # 64
        "[2001:0:a9fe:a9fe::f5ff:fffa]",  # Teredo's server
        "[2001:0:808:808::5601:5601]",  # and its client, inverted
        "[64:ff9b::100.100.100.200]",
        "[::ffff:168.63.129.16]",
        "0.1.2.3",
        "[::ffff:0.1.2.3]",
        "[fec0::1]",
        "[fd00:ec2::23]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
        "240.0.0.1",
    ],
)
@pytest.mark.parametrize("allow_loopback", [True, False])
def test_no_cloud_is_at_a_metadata_service_or_nowhere(host: str, allow_loopback: bool) -> None:
    with pytest.raises(InvalidRequest, match=r"^auth_url: "):
        check_address(f"https://{host}/v3", allow_loopback=allow_loopback, field="auth_url")


@pytest.mark.parametrize(
    "host", ["[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"]
)
def test_loopback_is_loopback_however_it_is_wrapped(host: str) -> None:
    with pytest.raises(InvalidRequest, match="loopback"):
        check_address(f"https://{host}/v3", allow_loopback=False, field="auth_url")


@pytest.mark.parametrize(
    "host", ["[64:ff9b::a00:5]", "[64:ff9b:1::a00:5]", "[64:ff9b:1:a00:0:500::]", "[2002:a00:5::]"]
)
def test_a_private_address_is_fine_however_it_is_wrapped(host: str) -> None:
    check_address(f"https://{host}/v3", allow_loopback=False, field="auth_url")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9:5000", "[::1]", "localhost", "127.1"])
def test_loopback_is_refused_unless_it_is_allowed(host: str) -> None:
    url = f"https://{host}/v3"
    check_address(url, allow_loopback=True, field="auth_url")

    with pytest.raises(InvalidRequest, match="loopback"):
        check_address(url, allow_loopback=False, field="auth_url")


def test_plain_http_is_refused_unless_loopback_is_allowed() -> None:
    check_address("http://127.0.0.1:5000/v3", allow_loopback=True, field="auth_url")

    with pytest.raises(InvalidRequest, match="no https URL"):
        check_address("http://192.0.2.1:5000/v3", allow_loopback=False, field="auth_url")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "gopher://192.0.2.1/",
        "https:///v3",
        "https://user:hush@192.0.2.1/",
        "https://@192.0.2.1/",
        "https://[::1/",
        "https://192.0.2.1:port/",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^token_uri: ") as refused:
        check_address(url, allow_loopback=True, field="token_uri")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("host", ["10.0.0.5", "192.168.1.10", "[fd12::1]", "192.0.2.1", "8.8.8.8"])
def test_private_and_public_clouds_are_fine(host: str) -> None:
    check_address(f"https://{host}:5000/v3", allow_loopback=False, field="auth_url")


def test_a_name_that_does_not_resolve_is_no_cloud_just_now() -> None:
    with pytest.raises(CloudUnavailable, match=r"^auth_url: keystone\.invalid does not resolve"):
        check_address("https://keystone.invalid/v3", allow_loopback=False, field="auth_url")
