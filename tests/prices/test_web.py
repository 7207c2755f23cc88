"""Requests that are bounded in everything, and tell nobody's secrets."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
import requests

from fedspan.domain.quotes import Quote
from fedspan.errors import Denied, ProviderError, Throttled
from fedspan.prices.regions import each
from fedspan.prices.web import beside, place, unreachable
from tests.prices import serving
from tests.prices.serving import Answer

BUSY = Answer("busy", 429)


def test_what_passes_is_tried_again(web, cloud, pauses):
    cloud.says("/a", BUSY, Answer("down", 503), '{"price": 0.1}')

    assert str(web.document(f"{cloud.url}/a")["price"]) == "0.1"
    assert pauses == [1, 2]


@pytest.mark.parametrize(
    "said, waited",
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "86400"}, 60),  # no longer than a person would look on
        (
            {
                "Retry-After": "Fri, 20 Nov 2026 09:00:09 GMT",
                "Date": "Fri, 20 Nov 2026 09:00:00 GMT",
            },
            9,
        ),
        ({"Retry-After": "soon"}, 1),
        ({"Retry-After": "-3"}, 1),
    ],
)
def test_a_server_says_when_to_come_again(web, cloud, pauses, said, waited):
    cloud.says("/a", Answer("busy", 429, said), "{}")
    web.document(f"{cloud.url}/a")

    assert pauses == [waited]


@pytest.mark.parametrize(
    "status, kind", [(429, Throttled), (500, ProviderError), (502, ProviderError)]
)
def test_what_does_not_pass_is_told_after_so_many_tries(web, cloud, pauses, status, kind):
    cloud.says("/a", Answer("no", status))
    with pytest.raises(ProviderError, match=rf"/a: status {status} after 5 tries") as raised:
        web.document(f"{cloud.url}/a")

    assert type(raised.value) is kind
    assert len(cloud.asked) == 5
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "status, kind", [(400, ProviderError), (401, Denied), (403, Denied), (404, ProviderError)]
)
def test_what_will_not_change_is_told_at_once(web, cloud, status, kind):
    cloud.says("/a", Answer("no", status))
    with pytest.raises(ProviderError, match=f"status {status}") as raised:
        web.document(f"{cloud.url}/a", {"q": "hush"}, {"X-Goog-Api-Key": "hush"})

    assert type(raised.value) is kind
    assert "hush" not in str(raised.value)
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1:9", "nobody.invalid"])
def test_without_a_network_nothing_is_tried_again(web, pauses, host):
    with pytest.raises(ProviderError, match=r"cannot be reached .*; no network\?") as raised:
        web.document(f"http://{host}/a")

    assert f"http://{host}/a: " in str(raised.value)
    assert unreachable(raised.value)
    assert pauses == []


def test_a_host_that_answered_before_is_tried_again(web, pauses):
    with serving.cloud() as gone:
        gone.says("/a", "{}")
        web.document(f"{gone.url}/a")
    web.close()
    with pytest.raises(ProviderError, match="cannot be reached") as raised:
        web.document(f"{gone.url}/a")

    assert unreachable(raised.value)
    assert pauses == [1, 2, 4, 8]


def test_a_redirect_is_not_followed_with_the_key(web, cloud):
    cloud.says("/a", Answer("", 302, {"Location": f"{cloud.url}/b"}))
    cloud.says("/b", "{}")
    with pytest.raises(ProviderError, match="status 302"):
        web.document(f"{cloud.url}/a", headers={"X-Goog-Api-Key": "hush"})

    assert [one.path for one in cloud.asked] == ["/a"]


@pytest.mark.parametrize(
    "body", ['{"Items": [{"retailPrice": 0.1', "", "[]", "<html>", "[" * 10**5]
)
def test_what_is_no_whole_object_is_told(web, cloud, body):
    cloud.says("/a", body)

    with pytest.raises(ProviderError, match="JSON"):
        web.document(f"{cloud.url}/a")


def test_an_answer_that_breaks_off_is_asked_for_again(web, cloud):
    cloud.says("/a", Answer('{"a": 1', breaks=True), '{"a": 1}')

    assert web.document(f"{cloud.url}/a") == {"a": 1}


def test_an_answer_that_always_breaks_off_is_told(web, cloud):
    cloud.says("/a", Answer('{"a": 1', breaks=True))

    with pytest.raises(ProviderError, match="ChunkedEncodingError"):
        web.document(f"{cloud.url}/a")


def test_an_answer_without_end_is_left(web, cloud):
    cloud.says("/a", '{"a": "' + "x" * 10_000 + '"}')

    with pytest.raises(ProviderError, match="longer than 1,000 bytes"):
        replace(web, most_bytes=1000).document(f"{cloud.url}/a")
    with pytest.raises(ProviderError, match="takes longer than 0 s"):
        replace(web, most_s=0).document(f"{cloud.url}/a")


def test_a_long_text_comes_in_lines_however_it_is_cut(web, cloud):
    text = "".join(f"{number},é{'x' * (number % 700)}\n" for number in range(3000)) + "end"
    cloud.says("/a", text)
    shares = []
    with web.lines(f"{cloud.url}/a", shares.append) as lines:
        found = list(lines)

    assert "".join(found) == text
    assert all(line.endswith("\n") for line in found[:-1])
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_long_text_that_breaks_off_is_told(web, cloud):
    cloud.says("/a", Answer("a,b\n" * 10, breaks=True))

    with (
        pytest.raises(ProviderError, match="/a: the answer broke off"),
        web.lines(f"{cloud.url}/a", lambda share: None) as lines,
    ):
        list(lines)


def test_a_link_leads_to_the_same_host_only():
    here = "https://prices.azure.com/api/retail/prices"

    assert beside(here, "https://prices.azure.com:443/x?y") == "https://prices.azure.com:443/x?y"
    assert beside(here, "/z.csv") == "https://prices.azure.com/z.csv"
    for link in ("https://elsewhere.com/x", "http://prices.azure.com/x", "//127.0.0.1/x"):
        with pytest.raises(ProviderError, match="links to another host"):
            beside(here, link)


@pytest.mark.parametrize("link", ["https://[x", "https://prices.azure.com:99999/x", "//[::/x"])
def test_a_link_that_is_no_url_is_told(link):
    with pytest.raises(
        ProviderError, match=r"^https://prices\.azure\.com/a: a link in it is no URL"
    ):
        beside("https://prices.azure.com/a", link)


def test_a_number_beyond_all_numbers_is_told(web, cloud):
    cloud.says("/a", '{"price": 1e99999999999999999999}')

    with pytest.raises(ProviderError, match="no whole JSON document"):
        web.document(f"{cloud.url}/a")


def test_a_place_is_told_with_its_port_and_without_its_query():
    assert place("https://a.b/c?key=hush#d") == "https://a.b/c"
    assert place("http://me:hush@[::1]:8080/c?hush") == "http://[::1]:8080/c"


@pytest.fixture
def asked_of():
    """Regions by the number of the one whose host is gone."""

    def ask(gone):
        asked = []

        def read(number, region):
            asked.append(region)
            if number == gone:
                raise ProviderError("gone") from requests.ConnectTimeout()
            return [Quote(region, "m", False, Decimal(1), "list")]

        return asked, lambda: each(["a", "b", "c"], read)

    return ask


def test_a_host_that_cannot_be_reached_is_not_asked_for_each_region(asked_of):
    asked, ask = asked_of(gone=0)
    with pytest.raises(ProviderError, match="gone"):
        ask()

    assert asked == ["a"]


def test_what_was_read_before_the_network_went_is_kept(asked_of):
    asked, ask = asked_of(gone=1)
    quotes, notes = ask()

    assert asked == ["a", "b"]
    assert [one.region for one in quotes] == ["a"]
    assert notes == ["gone", "and 1 more regions were not asked for"]
