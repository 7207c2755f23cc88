"""``fedspan book``: the command against the interfaces as recorded, over real HTTP."""

from __future__ import annotations

import json

import pytest

from tests.prices import serving
from tests.prices.serving import IRELAND, RETAIL, SKUS, Answer, recorded

KEY = "AIzaSyD-hush_hush"


@pytest.fixture
def cloud(monkeypatch):
    """The three clouds in one place. The credentials of whoever runs the tests are not used."""
    with serving.cloud() as made:
        made.as_recorded()
        monkeypatch.setenv("FEDSPAN_PRICES_AWS", made.url)
        monkeypatch.setenv("FEDSPAN_PRICES_GCP", made.url)
        monkeypatch.setenv("FEDSPAN_PRICES_AZURE", f"{made.url}{RETAIL}")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
        monkeypatch.setenv("AWS_CONFIG_FILE", "none")
        for name in ("FEDSPAN_GCP_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        yield made


PLACES = ("--region", "eu-west-1", "--region", "us-central1", "--region", "westeurope")


def price(cli, region, machine, purchase="on-demand"):
    shown = cli("book", "show", "--region", region, "--machine", machine, "--json").document
    return [one for one in shown["prices"] if one["purchase"] == purchase]


def test_the_shipped_book_is_shown_without_a_home(cli, home):
    result = cli("book", "show", "--json")

    assert result.code == 0
    assert result.document["book"]["origin"] == "shipped"
    assert {one["provider"] for one in result.document["providers"]} == {"aws", "gcp", "azure"}
    assert sum(one["prices"] for one in result.document["sources"]) == sum(
        one["prices"] for one in result.document["providers"]
    )
    assert all(one["licence"] and one["dated"] for one in result.document["sources"])
    assert "prices" not in result.document
    assert not home.path.exists()


def test_people_see_how_old_the_book_is(cli):
    result = cli("book", "show")

    assert "shipped" in result.out
    assert "aws-libcloud" in result.out
    assert "prices are older than 90 days; `fedspan book refresh`" in result.out


def test_the_ids_of_sources_are_whole_on_a_narrow_screen(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = cli("book", "show").out
    sources = cli("book", "show", "--json").document["sources"]

    assert all(f"{one['id']} " in text for one in sources)


def test_the_prices_of_a_machine_are_shown_the_cheapest_first(cli):
    shown = cli("book", "show", "--machine", "t4g.medium", "--json").document
    prices = [one["price_usd_hour"] for one in shown["prices"]]

    assert prices == sorted(prices)
    assert {one["provider"] for one in shown["prices"]} == {"aws"}
    assert {one["provider"] for one in shown["providers"]} == {"aws"}
    assert "t4g.medium" in cli("book", "show", "--machine", "t4g.medium").out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--region", "eu-west-11"], "did you mean 'eu-west-1'?"),
        (["--machine", "m5.larg"], "did you mean 'm5.large'?"),
        (["--provider", "azur"], "did you mean 'azure'?"),
        (["--provider", "gcp", "--machine", "m5.large"], "'m5.large' is no machine type of gcp"),
        (["--provider", "gcp", "--region", "aws:eu-west-1"], "is no region of gcp"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(cli, arguments, said):
    result = cli("book", "show", *arguments)

    assert result.code == 2
    assert said in result.err


def test_a_refresh_reads_all_three_clouds(cli, home, cloud, monkeypatch):
    monkeypatch.setenv("FEDSPAN_GCP_API_KEY", KEY)
    result = cli("book", "refresh", *PLACES, "--json")

    assert result.code == 0, result.err
    done = result.document
    assert done["written"] is True
    assert done["failed"] == {}
    assert {name: one["changed"] + one["unchanged"] for name, one in done["refreshed"].items()} == {
        "aws": 3,
        "gcp": 64,
        "azure": 3,
    }
    assert done["refreshed"]["azure"]["added"] == 1
    assert "aws: no credentials, so spot prices stay as they were" in done["notes"]
    [n2] = price(cli, "us-central1", "n2-standard-8")
    assert n2["price_usd_hour"] == 0.388472
    [spot] = price(cli, "westeurope", "Standard_D2s_v5", "spot")
    assert (spot["price_usd_hour"], spot["price_basis"]) == (0.0214, "list")
    assert spot["price_source"] == "azure-retail-prices"
    assert KEY not in (home.path / "fedspan.log").read_text()
    assert cli("book", "show", "--json").document["book"]["origin"] == "refreshed"


def test_a_cloud_without_its_key_is_named_and_the_others_are_refreshed(cli, cloud):
    result = cli("book", "refresh", *PLACES)

    assert result.code == 0
    assert "gcp was not refreshed: the catalog needs an API key" in result.out
    assert "FEDSPAN_GCP_API_KEY" in result.out
    assert cloud.of(SKUS) == []


def test_each_cloud_that_is_read_has_its_line_at_once(cli, cloud):
    piped = cli("book", "refresh", *PLACES, "--json").err.splitlines()

    assert [line for line in piped if line.startswith("reading")] == [
        "reading the prices of aws",
        "reading the prices of azure",
    ]


def test_without_a_network_the_refresh_ends_at_once_and_says_so(cli, home, cloud, monkeypatch):
    monkeypatch.setenv("FEDSPAN_PRICES_AWS", "http://127.0.0.1:9")
    monkeypatch.setenv("FEDSPAN_PRICES_AZURE", "http://127.0.0.1:9/retail")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    result = cli("book", "refresh")

    assert result.code == 6
    assert result.err.count("no network?") == 2
    assert "http://127.0.0.1:9/retail: cannot be reached" in result.err


def test_when_no_cloud_answers_the_command_fails(cli, home, cloud):
    cloud.says(RETAIL, Answer("no", 404))
    result = cli("book", "refresh", "--provider", "azure", "--provider", "gcp", "--json")

    assert result.code == 6
    assert "azure" in result.err
    assert "gcp" in result.err
    assert result.document["error"]["type"] == "ProviderError"
    assert not list((home.path / "objects").rglob("*.json"))


def test_a_dry_run_changes_nothing(cli, home, cloud):
    result = cli("book", "refresh", "--provider", "azure", *PLACES[-2:], "--dry-run", "--json")

    assert result.code == 0
    assert (result.document["written"], result.document["dry_run"]) == (False, True)
    assert not list((home.path / "objects").rglob("*.json"))


def retail(**changes):
    page = json.loads(recorded("azure_westeurope_2.json"))
    page["Items"][0] |= changes
    return json.dumps(page)


@pytest.mark.parametrize(
    "changes, said, insisted",
    [
        ({"retailPrice": 4.8}, "$4.8 an hour, but it was $0.048", 4.8),
        ({"retailPrice": 0.0}, "want more than nothing", 0.048),
        ({"currencyCode": "EUR"}, "is quoted in EUR, not USD", 0.048),
        ({"unitOfMeasure": "1 Month"}, "is quoted by '1 Month', not by the hour", 0.048),
    ],
)
def test_absurd_prices_need_force_and_some_no_force_lets_in(cli, cloud, changes, said, insisted):
    cloud.says(RETAIL, retail(**changes))
    refused = cli("book", "refresh", "--provider", "azure", *PLACES[-2:], "--json")
    origin = cli("book", "show", "--json").document["book"]["origin"]
    forced = cli("book", "refresh", "--provider", "azure", *PLACES[-2:], "--force", "--json")

    assert (refused.code, origin) == (2, "shipped")
    assert said in refused.document["error"]["problems"][0]
    assert "azure:westeurope Standard_B2s on demand" in refused.err
    assert forced.code == 0
    [one] = price(cli, "westeurope", "Standard_B2s")
    assert one["price_usd_hour"] == insisted


def test_a_cloud_that_is_busy_is_asked_again(cli, cloud):
    cloud.says(IRELAND, Answer("busy", 429, {"Retry-After": "0"}), recorded("aws_eu-west-1.csv"))
    result = cli("book", "refresh", "--provider", "aws", "--region", "eu-west-1", "--json")

    assert result.code == 0
    assert len(cloud.of(IRELAND)) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://prices.example.com",
        "https://me:hush@prices.example.com",
        "https://[hush",
        "https://prices.example.com:99999",
        "ftp://a",
        "prices",
    ],
)
def test_a_mirror_is_asked_by_https_and_without_a_password(cli, cloud, monkeypatch, url):
    monkeypatch.setenv("FEDSPAN_PRICES_AWS", url)
    result = cli("book", "refresh", "--provider", "aws")

    assert result.code == 2
    assert "FEDSPAN_PRICES_AWS: want https://" in result.err
    assert "hush" not in result.err


def test_books_are_compared(cli, home, cloud):
    same = cli("book", "diff", "--json").document
    done = cli("book", "refresh", *PLACES, "--json").document
    changed = cli("book", "diff", "--json").document
    old, new = done["old"]["sha256"], done["new"]["sha256"]
    back = cli("book", "diff", new[:12], old[:12], "--json").document

    assert same["old"] == same["new"]
    assert (changed["old"]["sha256"], changed["new"]["sha256"]) == (old, new)
    by_provider = {one["provider"]: one for one in changed["providers"]}
    assert by_provider["azure"]["changed"] == 1
    assert by_provider["azure"]["rises"][0]["machine_type"] == "Standard_D2s_v5"
    assert [one["purchase"] for one in by_provider["azure"]["appeared"]] == ["spot"]
    assert {one["provider"]: len(one["vanished"]) for one in back["providers"]}["azure"] == 1
    assert "Largest rises" in cli("book", "diff").out


def test_books_in_files_are_compared(cli, home, cloud, tmp_path):
    cli("book", "refresh", *PLACES)
    path = tmp_path / "mine.json"
    path.write_bytes((home.path / "objects/books/book.json").read_bytes())

    assert cli("book", "diff", path, "current", "--json").document["old"]["made"]
    assert "the same book" in cli("book", "diff", path, "current").out


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["nothing.json"], 2, "there is no file nothing.json"),
        (["1999-01-01"], 2, "no book '1999-01-01'"),
        (["shippd"], 2, "did you mean 'shipped'?"),
    ],
)
def test_a_book_that_is_none_is_told(cli, arguments, code, said):
    result = cli("book", "diff", *arguments)

    assert result.code == code
    assert said in result.err


def test_a_file_that_is_no_book_is_told(cli, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    result = cli("book", "diff", path, "--json")

    assert (result.code, result.document["error"]["type"]) == (6, "Corrupt")
    assert str(path) in result.err


def test_a_damaged_book_names_what_helps_and_a_refresh_does_help(cli, home, cloud):
    cli("book", "refresh", *PLACES)
    path = home.path / "objects/books/book.json"
    path.write_bytes(path.read_bytes()[:5000])
    broken = cli("book", "show")
    mended = cli("book", "refresh", *PLACES)

    assert broken.code == 6
    assert "fedspan book refresh" in broken.err
    assert mended.code == 0
    assert cli("book", "show", "--json").document["book"]["origin"] == "refreshed"
