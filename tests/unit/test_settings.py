"""What is read from the environment, and what is said of what cannot be."""

from __future__ import annotations

import pytest

from fedspan.errors import InvalidRequest
from fedspan.settings import Settings


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("API_URL", "nope", "https://host"),
        ("API_URL", "", "https://host"),
        ("API_URL", "ftp://host", "https://host"),
        ("API_URL", "https://", "https://host"),
        ("API_URL", "https://host:99999", "https://host"),
        ("API_URL", "https://[::1", "https://host"),
        ("API_URL", "https://a host", "https://host"),
        ("OWNER", "A b", "up to 63 lower-case letters, digits and dashes"),
        ("AGGREGATOR_PORT", "70000", "a number from 0 to 65535"),
        ("ALLOW_LOOPBACK", "perhaps", "true or false"),
        ("BOOT_SECONDS", "long", "seconds above 0, such as 60"),
        ("LEASE_SECONDS", "-1", "seconds above 0, such as 60"),
    ],
)
def test_a_variable_that_cannot_be_is_one_sentence(field: str, value: str, right: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        Settings.from_env({f"FEDSPAN_{field}": value})

    assert told.value.problems == (f"FEDSPAN_{field}: {value!r} is not right; write {right}",)


def test_each_wrong_variable_has_a_sentence() -> None:
    with pytest.raises(InvalidRequest) as told:
        Settings.from_env({"FEDSPAN_API_URL": "nope", "FEDSPAN_LOST_SECONDS": "0"})

    assert [one.partition(":")[0] for one in told.value.problems] == [
        "FEDSPAN_API_URL",
        "FEDSPAN_LOST_SECONDS",
    ]


@pytest.mark.parametrize("url", ["https://host/api", "http://127.0.0.1:8470", "http://[::1]:0"])
def test_the_api_is_at_a_url_of_http(url: str) -> None:
    assert Settings.from_env({"FEDSPAN_API_URL": url}).api_url == url
