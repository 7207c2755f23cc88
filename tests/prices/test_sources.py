"""Each cloud's interface as recorded, and the faults it may have."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import threading
import tracemalloc
from dataclasses import dataclass
from decimal import Decimal

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.quotes import Quote, Shape, Wanted
from fedspan.errors import Denied, InvalidRequest, ProviderError, Throttled
from fedspan.prices.aws import NO_CREDENTIALS, AwsPrices
from fedspan.prices.azure import AzureRetail
from fedspan.prices.gcp import GcpCatalog
from tests.prices.conftest import NOW
from tests.prices.serving import EC2, IRELAND, REGION_INDEX, RETAIL, SKUS, Answer, recorded

KEY = "AIzaSyD-hush_hush"
AMERICAN = (
    Shape("n2-standard-8", 8, 32 * 1024),
    Shape("e2-medium", 2, 4 * 1024),
    Shape("g2-standard-4", 4, 16 * 1024, "L4", 1),
    Shape("a2-highgpu-1g", 12, 85 * 1024, "A100-40GB", 1),
    Shape("a2-ultragpu-1g", 12, 170 * 1024, "A100-80GB", 1),
    Shape("t2d-standard-2", 2, 8 * 1024),
    Shape("c4a-standard-2", 2, 8 * 1024),
)
IRISH = tuple(
    Shape(name, 2, 4096) for name in ("m5.large", "c7g.large", "t4g.medium", "p5.48xlarge")
)
DUTCH = tuple(
    Shape(name, 2, 4096)
    for name in ("Standard_D2s_v5", "Standard_B2s", "Standard_D4ps_v5", "Standard_E2s_v5")
)


def quiet(what: str, share: float) -> None:
    assert 0 <= share <= 1


def prices(reading) -> dict[tuple[str, str], Decimal]:
    return {(one.machine, "spot" if one.spot else "on demand"): one.price for one in reading.quotes}


@pytest.fixture
def ec2(monkeypatch):
    """Makes boto3 clients at a URL, without retries so that one fault is seen."""

    def at(url):
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60)
        secrets = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        return lambda region: boto3.client(
            "ec2", region_name=region, endpoint_url=url, config=config, **secrets
        )

    return at


# AWS


def aws(web, cloud, spot=lambda region: None) -> AwsPrices:
    return AwsPrices(web, spot, cloud.url)


def test_of_awss_list_only_linux_on_shared_machines_counts(web, cloud):
    reading = aws(web, cloud).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)

    assert prices(reading) == {
        ("m5.large", "on demand"): Decimal("0.107"),
        ("c7g.large", "on demand"): Decimal("0.0773"),
        ("t4g.medium", "on demand"): Decimal("0.0368"),
    }
    assert {(one.region, one.currency, one.unit) for one in reading.quotes} == {
        ("eu-west-1", "USD", "hour")
    }
    assert reading.notes == (NO_CREDENTIALS,)


def test_a_region_that_aws_does_not_list_is_told(web, cloud):
    reading = aws(web, cloud).read(Wanted(("eu-west-1", "mars-1"), IRISH), NOW, quiet)

    assert len(reading.quotes) == 3
    assert "aws: the price list does not know mars-1" in reading.notes


def test_a_region_whose_list_fails_costs_no_other(web, cloud):
    reading = aws(web, cloud).read(Wanted(("us-east-1", "eu-west-1"), IRISH), NOW, quiet)

    assert {one.region for one in reading.quotes} == {"eu-west-1"}
    assert any("us-east-1/index.csv: status 404" in note for note in reading.notes)


def test_awss_list_streams_through_little_memory(web, cloud):
    head, *rows = recorded("aws_eu-west-1.csv").partition('"SKU"')[2].splitlines(keepends=True)
    text = ('"SKU"' + head + "".join(rows) * 1000).encode()
    cloud.says(IRELAND, text)
    wanted = Wanted(("eu-west-1",), IRISH)
    tracemalloc.start()
    reading = aws(web, cloud).read(wanted, NOW, quiet)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(reading.quotes) == 3
    assert len(text) > 8 * 2**20
    assert held < 4 * 2**20


@pytest.mark.parametrize(
    "body, said",
    [
        ("", "name no columns"),
        ("<html>\n" * 50, "name no columns"),
        ('"SKU","TermType"\n', "has no column Product Family"),
        ('"' + "x" * 200_000, "line 1 is no CSV"),
    ],
)
def test_what_is_no_price_list_is_told(web, cloud, body, said):
    cloud.says(IRELAND, body)

    with pytest.raises(ProviderError, match=said):
        aws(web, cloud).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)


def test_a_list_that_breaks_off_is_not_half_believed(web, cloud):
    text = recorded("aws_eu-west-1.csv")
    cloud.says(IRELAND, Answer(text[: text.index("EZ6TVBXNQ4M9RWHD")], breaks=True))

    with pytest.raises(ProviderError, match="broke off"):
        aws(web, cloud).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)


@pytest.mark.parametrize(
    "index", ['{"regions": {"a": {}}}', '{"regions": {"a": null}}', '{"regions": []}', "{}"]
)
def test_an_index_of_another_form_is_told(web, cloud, index):
    cloud.says(REGION_INDEX, index)

    with pytest.raises(ProviderError, match="the index of regions: not of the known form"):
        aws(web, cloud).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)


@pytest.mark.parametrize(
    "url, said",
    [
        ("https://elsewhere.com/index.json", "links to another host"),
        ("https://[x", "a link in it is no URL"),
        ("//127.0.0.1:99999/index.json", "a link in it is no URL"),
    ],
)
def test_an_index_that_links_elsewhere_is_refused(web, cloud, url, said):
    link = {"regionCode": "eu-west-1", "currentVersionUrl": url}
    cloud.says(REGION_INDEX, json.dumps({"regions": {"eu-west-1": link}}))

    with pytest.raises(ProviderError, match=said):
        aws(web, cloud).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)


def altered(**changes: str) -> str:
    """The recorded list, with the one row of m5.large that counts changed."""
    rows = list(csv.reader(io.StringIO(recorded("aws_eu-west-1.csv"))))
    [names] = [row for row in rows if row[0] == "SKU"]
    [wanted] = [row for row in rows if "0.1070000000" in row and "Used" in row]
    for name, value in changes.items():
        wanted[names.index(name)] = value
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    "changes, quote",
    [
        ({"PricePerUnit": "0.0000000000"}, ("0E-10", "USD", "hour")),
        ({"PricePerUnit": "NaN"}, ("NaN", "USD", "hour")),
        ({"PricePerUnit": "a lot"}, ("NaN", "USD", "hour")),
        ({"Currency": "CNY"}, ("0.1070000000", "CNY", "hour")),
        ({"Unit": "Quantity"}, ("0.1070000000", "USD", "Quantity")),
    ],
)
def test_what_is_odd_is_passed_on_as_it_is(web, cloud, changes, quote):
    cloud.says(IRELAND, altered(**changes))
    reading = aws(web, cloud).read(Wanted(("eu-west-1",), IRISH[:1]), NOW, quiet)

    [found] = reading.quotes
    assert (str(found.price), found.currency, found.unit) == quote


@pytest.mark.parametrize(
    "changes",
    [
        {"Region Code": "eu-west-2"},
        {"Tenancy": "Dedicated"},
        {"Pre Installed S/W": "SQL Web"},
        {"TermType": "Reserved"},
    ],
)
def test_a_row_of_something_else_is_passed_over(web, cloud, changes):
    cloud.says(IRELAND, altered(**changes))

    assert aws(web, cloud).read(Wanted(("eu-west-1",), IRISH[:1]), NOW, quiet).quotes == ()


def test_a_spot_price_is_that_of_the_median_zone(web, cloud, ec2):
    cloud.says(EC2, *(recorded(f"aws_spot_history_{number}.xml") for number in (1, 2)))
    reading = aws(web, cloud, ec2(cloud.url)).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)

    spot = {one.machine: one.price for one in reading.quotes if one.spot}
    assert spot == {"m5.large": Decimal("0.0478"), "c7g.large": Decimal("0.0301")}
    assert reading.notes == ()
    assert "ProductDescription.1=Linux%2FUNIX" in cloud.of(EC2)[0].body
    assert "NextToken" in cloud.of(EC2)[1].body


def test_refused_credentials_leave_spot_prices_and_are_told(web, cloud, ec2):
    error = "<Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors>"
    cloud.says(EC2, Answer(f"<Response>{error}</Response>", 401))
    reading = aws(web, cloud, ec2(cloud.url)).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)

    assert len(reading.quotes) == 3
    assert reading.notes == ("aws: no spot prices of eu-west-1: AuthFailure",)


def test_spot_prices_without_end_are_left(web, cloud, ec2):
    page = recorded("aws_spot_history_1.xml")
    pages = [page.replace("7Yz4cyp+8RBaO3IVvlF2HwEXAMPLE==", f"page{n}") for n in range(110)]
    cloud.says(EC2, *pages)
    reading = aws(web, cloud, ec2(cloud.url)).read(Wanted(("eu-west-1",), IRISH), NOW, quiet)

    assert reading.notes == ("aws: no spot prices of eu-west-1: ProviderError",)
    assert len(cloud.of(EC2)) == 101


def test_motos_spot_history_is_understood(web, cloud, ec2, moto_url):
    wanted = Wanted(("eu-west-1",), IRISH)
    reading = aws(web, cloud, ec2(moto_url)).read(wanted, NOW, quiet)

    assert reading.notes == ()
    assert prices(reading)["m5.large", "spot"] == Decimal("0.00001")  # moto's for everything


@pytest.fixture
def moto_url():
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


# Google


def gcp(web, cloud, key=KEY) -> GcpCatalog:
    return GcpCatalog(web, key, cloud.url)


def test_googles_machines_are_the_sum_of_their_parts(web, cloud):
    reading = gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN), NOW, quiet)

    assert prices(reading) == {
        ("n2-standard-8", "on demand"): Decimal("0.388472"),
        ("n2-standard-8", "spot"): Decimal("0.18424"),
        ("e2-medium", "on demand"): Decimal("0.03350571"),  # pays one vCPU of its two
        ("e2-medium", "spot"): Decimal("0.02008"),
        ("g2-standard-4", "on demand"): Decimal("0.706824"),
        ("a2-highgpu-1g", "on demand"): Decimal("3.673385"),
        ("t2d-standard-2", "on demand"): Decimal("0.084492"),
    }
    assert reading.notes == ("gcp: a2-ultragpu-1g include disks, which the catalog prices apart",)


def test_googles_prices_are_those_of_the_region(web, cloud):
    wanted = Wanted(("us-east1", "europe-west1"), AMERICAN)
    reading = gcp(web, cloud).read(wanted, NOW, quiet)

    assert {one.region for one in reading.quotes} == {"us-east1"}  # Belgium lists no memory
    assert not any(one.machine.startswith("g2") for one in reading.quotes)


def test_googles_key_is_in_a_header_and_nowhere_else(web, cloud):
    gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN), NOW, quiet)

    first, second = cloud.of(SKUS)
    assert first.headers["X-Goog-Api-Key"] == second.headers["X-Goog-Api-Key"] == KEY
    assert first.query == {"currencyCode": ["USD"], "pageSize": ["5000"]}
    assert second.query == {**first.query, "pageToken": ["AJaZ3nLkQw"]}


@pytest.mark.parametrize(
    "key, kind",
    [(None, Denied), ("", Denied), ("hush hush", InvalidRequest), ("hush\n", InvalidRequest)],
)
def test_without_a_key_google_is_not_asked(web, cloud, key, kind):
    with pytest.raises(kind, match="FEDSPAN_GCP_API_KEY") as raised:
        gcp(web, cloud, key).read(Wanted(("us-central1",), AMERICAN), NOW, quiet)

    assert "hush" not in str(raised.value)
    assert cloud.asked == []


def test_a_refused_key_is_told_without_it(web, cloud):
    cloud.says(SKUS, Answer(f'{{"error": "{KEY}"}}', 403))
    with pytest.raises(Denied) as raised:
        gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN), NOW, quiet)

    assert KEY not in str(raised.value)


def sku(**changes):
    """The recorded core of N2 on demand, changed; then the second page."""
    page = json.loads(recorded("gcp_skus_1.json"))
    if "serviceRegions" in changes:
        page["skus"][0]["serviceRegions"] = changes.pop("serviceRegions")
    info = page["skus"][0]["pricingInfo"][0]
    expression = info["pricingExpression"]
    [tier] = expression["tieredRates"]
    for name, value in changes.items():
        for owner in (info, expression, tier, tier["unitPrice"]):
            if name in owner:
                owner[name] = value
    return json.dumps(page)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"nanos": 0}, ("0", "USD", "hour")),
        ({"nanos": -5}, ("0", "USD", "hour")),
        ({"units": "NaN"}, ("0", "USD", "hour")),
        ({"currencyCode": "EUR"}, ("0.388472", "EUR", "hour")),
        ({"usageUnit": "mo"}, ("0.388472", "USD", "mo")),
        ({"usageUnit": "GiBy.h"}, ("0.388472", "USD", "GiB-hour")),
    ],
)
def test_an_odd_part_makes_an_odd_machine(web, cloud, changes, said):
    cloud.says(SKUS, sku(**changes))
    reading = gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN[:1]), NOW, quiet)

    [quote] = [one for one in reading.quotes if not one.spot]
    assert (str(quote.price.normalize()), quote.currency, quote.unit) == said


def test_a_price_that_cannot_be_multiplied_is_told(web, cloud):
    cloud.says(SKUS, sku(units="9e999999"))

    with pytest.raises(ProviderError, match=r"gcp catalog: not of the known form \(Overflow\)"):
        gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN[:1]), NOW, quiet)


def test_a_price_that_begins_tomorrow_is_not_todays(web, cloud):
    later = sku(effectiveTime="2026-11-21T00:00:00Z")
    cloud.says(SKUS, later)
    reading = gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN[:1]), NOW, quiet)

    assert [one.spot for one in reading.quotes] == [True]


@pytest.mark.parametrize(
    "page, said",
    [
        ('{"skus": 3}', "no list of skus"),
        ("{}", "no list of skus"),
        (sku(tieredRates=[]), "not of the known form"),
        (sku(units="many"), "not of the known form"),
        (sku(serviceRegions=None), "the regions of SKU [-0-9A-F]+ are not of the known form"),
        (sku(serviceRegions=[["us-central1"]]), "the regions of SKU [-0-9A-F]+ are not"),
        (sku(serviceRegions="us-central1"), "the regions of SKU [-0-9A-F]+ are not"),
        (recorded("gcp_skus_1.json")[:4000], "no whole JSON document"),
        (recorded("gcp_skus_1.json"), "more than 40 pages"),
    ],
)
def test_a_catalog_of_another_form_is_told(web, cloud, page, said):
    cloud.says(SKUS, page)
    cloud.says(f"{SKUS}?pageToken", page)

    with pytest.raises(ProviderError, match=said):
        gcp(web, cloud).read(Wanted(("us-central1",), AMERICAN), NOW, quiet)


# Azure


def azure(web, cloud) -> AzureRetail:
    return AzureRetail(web, f"{cloud.url}{RETAIL}")


def test_of_azures_meters_only_linux_pay_as_you_go_and_spot_count(web, cloud):
    reading = azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)

    assert prices(reading) == {
        ("Standard_D2s_v5", "on demand"): Decimal("0.116"),
        ("Standard_D2s_v5", "spot"): Decimal("0.0214"),  # the other begins in 2999
        ("Standard_B2s", "on demand"): Decimal("0.048"),  # the primary meter
        ("Standard_D4ps_v5", "on demand"): Decimal("0.184"),
    }


def test_azure_is_asked_for_what_is_wanted_in_dollars(web, cloud):
    azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)

    question = cloud.of(RETAIL)[0].query
    assert question["currencyCode"] == ["USD"]
    assert "armRegionName eq 'westeurope'" in question["$filter"][0]
    assert "armSkuName eq 'Standard_E2s_v5'" in question["$filter"][0]


def test_many_machine_types_are_asked_for_in_parts(web, cloud):
    cloud.says(RETAIL, '{"Items": [], "NextPageLink": null}')
    many = tuple(Shape(f"Standard_X{number}", 2, 4096) for number in range(45))
    azure(web, cloud).read(Wanted(("westeurope", "northeurope"), many), NOW, quiet)

    questions = [one.query["$filter"][0] for one in cloud.of(RETAIL)]
    assert [one.count("armSkuName") for one in questions] == [20, 20, 5] * 2
    assert max(map(len, questions)) < 2000


def meter(**changes) -> str:
    item = json.loads(recorded("azure_westeurope_2.json"))["Items"][0]
    return json.dumps({"Items": [item | changes], "NextPageLink": None})


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"retailPrice": 0.0}, ("0.0", "USD", "hour")),
        ({"retailPrice": float("nan")}, ("NaN", "USD", "hour")),
        ({"retailPrice": None}, ("NaN", "USD", "hour")),
        ({"currencyCode": "EUR"}, ("0.048", "EUR", "hour")),
        ({"unitOfMeasure": "100 Hours"}, ("0.048", "USD", "100 Hours")),
    ],
)
def test_an_odd_meter_is_passed_on_as_it_is(web, cloud, changes, said):
    cloud.says(RETAIL, meter(**changes))
    reading = azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)

    [quote] = reading.quotes
    assert (str(quote.price), quote.currency, quote.unit) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"armRegionName": "northeurope"},
        {"armSkuName": "Standard_Z1"},
        {"type": "DevTestConsumption"},
        {"tierMinimumUnits": 100.0},
        {"productName": "BS Series Dedicated Host"},
        {"effectiveStartDate": "2027-01-01T00:00:00Z"},
    ],
)
def test_a_meter_of_something_else_is_passed_over(web, cloud, changes):
    cloud.says(RETAIL, meter(**changes))

    assert azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet).quotes == ()


def test_of_several_meters_a_primary_one_counts_and_the_newest(web, cloud):
    [item] = json.loads(meter())["Items"]
    meters = [
        item | {"retailPrice": 0.01, "isPrimaryMeterRegion": False},
        item | {"retailPrice": 0.02, "effectiveStartDate": "2020-01-01T00:00:00Z"},
        item | {"retailPrice": 0.03, "effectiveStartDate": "2025-01-01T00:00:00Z"},
        item | {"retailPrice": 0.04, "effectiveStartDate": "2024-01-01T00:00:00Z"},
    ]
    cloud.says(RETAIL, json.dumps({"Items": meters}))
    reading = azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)

    assert [one.price for one in reading.quotes] == [Decimal("0.03")]


@pytest.mark.parametrize(
    "page, said",
    [
        ('{"Items": null}', "no list of Items"),
        ('{"Items": [], "NextPageLink": "https://elsewhere.com/"}', "links to another host"),
        ('{"Items": [], "NextPageLink": "https://[x"}', "a link in it is no URL"),
        ('{"Items": [], "NextPageLink": "//127.0.0.1:99999/"}', "a link in it is no URL"),
        (recorded("azure_westeurope_1.json")[:2000], "no whole JSON document"),
    ],
)
def test_a_page_of_another_form_is_told(web, cloud, page, said):
    cloud.says(RETAIL, page)

    with pytest.raises(ProviderError, match=said):
        azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)


def test_pages_without_end_are_left(web, cloud):
    cloud.says(RETAIL, json.dumps({"Items": [], "NextPageLink": f"{cloud.url}{RETAIL}?next=1"}))
    with pytest.raises(ProviderError, match="more than 40 pages"):
        azure(web, cloud).read(Wanted(("westeurope",), DUTCH), NOW, quiet)

    assert len(cloud.asked) == 40


def test_too_many_calls_end_the_reading_at_once(web, cloud):
    cloud.says(RETAIL, Answer("busy", 429))
    wanted = Wanted(("westeurope", "northeurope", "uksouth"), DUTCH)
    with pytest.raises(Throttled):
        azure(web, cloud).read(wanted, NOW, quiet)

    assert len(cloud.asked) == 5


def test_quotes_compare_by_what_they_say():
    assert Quote("a", "b", False, Decimal("0.10"), "c") == Quote(
        "a", "b", False, Decimal("0.1"), "c"
    )


# Anything


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=4,
)


def spots(value, path=()):
    """Where something stands inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    for key, one in inside:
        yield (*path, key)
        yield from spots(one, (*path, key))


def with_changed(value, path, new):
    *owners, last = path
    inside = value
    for key in owners:
        inside = inside[key]
    inside[last] = new
    return value


@dataclass
class Pages:
    """As `Web`: a document after the other, the last again and again; of text, one."""

    documents: list[object]
    text: str = ""

    def document(self, *_):
        return self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]

    @contextlib.contextmanager
    def lines(self, url, told):
        yield iter(self.text.splitlines(keepends=True))


def page(name):
    return json.loads(recorded(name), parse_float=Decimal)


SOURCES = {
    "aws_region_index.json": (
        lambda index: AwsPrices(Pages([index], recorded("aws_eu-west-1.csv")), lambda region: None),
        Wanted(("eu-west-1",), IRISH),
    ),
    "gcp_skus_2.json": (
        lambda skus: GcpCatalog(Pages([skus]), KEY),
        Wanted(("us-central1",), AMERICAN),
    ),
    "azure_westeurope_2.json": (
        lambda meters: AzureRetail(Pages([meters])),
        Wanted(("westeurope",), DUTCH),
    ),
}


@pytest.mark.parametrize("name", SOURCES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_stands_anywhere_in_an_answer_is_a_quote_or_a_provider_s_error(name, data):
    source, wanted = SOURCES[name]
    document = page(name)
    path = data.draw(st.sampled_from(list(spots(document))))
    read = source(with_changed(document, path, data.draw(anything))).read
    try:
        reading = read(wanted, NOW, quiet)
    except ProviderError:
        return

    assert all(isinstance(one.price, Decimal) for one in reading.quotes)
