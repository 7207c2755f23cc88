"""The book as a file: what is written is read back, what is damaged says how, and the one that
ships is sane."""

import hashlib
import json
import math
from dataclasses import fields, is_dataclass, replace
from datetime import date, timedelta
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspan.domain.countries import COUNTRIES
from fedspan.errors import Corrupt
from fedspan.placement.book import (
    ASSUMED_MBPS_PER_VCPU,
    BASES,
    EPOCH,
    LADDER,
    Anchors,
    Book,
    Egress,
    Machines,
    Prices,
    Regions,
    Source,
    Tariff,
    assumed_mbps,
)
from fedspan.placement.book_file import read, write
from fedspan.services.books import shipped
from tools.make_book import distances, left_out

PROVIDERS = ("aws", "gcp", "höm")
LICENCES = {"Apache-2.0", "MIT", "CC-BY-4.0", "published price list"}

texts = st.text(max_size=8)
money = st.integers(1, 10**12)
counts = st.integers(1, 10**6)
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
rates = st.floats(0, 100)
positive = st.floats(1e-3, 1e6)


def maybe(low, high):
    return st.one_of(st.just(math.nan), st.floats(low, high))


def column(draw, strategy, length, dtype):
    return np.array(draw(st.lists(strategy, min_size=length, max_size=length)), dtype)


def words(draw, length, strategy=texts):
    return tuple(draw(st.lists(strategy, min_size=length, max_size=length)))


@st.composite
def regions(draw, sources):
    provider = words(draw, draw(st.integers(1, 5)), st.sampled_from(PROVIDERS))
    size = len(provider)
    return Regions(
        provider=provider,
        name=tuple(f"r{number}" for number in range(size)),
        city=words(draw, size),
        country=words(draw, size),
        continent=words(draw, size),
        eu=column(draw, st.booleans(), size, np.bool_),
        eea=column(draw, st.booleans(), size, np.bool_),
        latitude=column(draw, maybe(-90, 90), size, np.float64),
        longitude=column(draw, maybe(-180, 180), size, np.float64),
        gco2=column(draw, maybe(0, 2000), size, np.float64),
        gco2_source=words(draw, size, st.sampled_from(["", *sources])),
    )


@st.composite
def machines(draw, provider):
    size = len(provider)
    return Machines(
        provider=provider,
        name=tuple(f"m{number}" for number in range(size)),
        arch=words(draw, size),
        vcpus=column(draw, counts, size, np.int64),
        memory_mib=column(draw, counts, size, np.int64),
        gpu=words(draw, size),
        gpus=column(draw, st.integers(0, 8), size, np.int64),
        nic_mbps=column(draw, positive, size, np.float64),
        nic_assumed=column(draw, st.booleans(), size, np.bool_),
    )


def all_cells(regions, machines):
    """Region, machine and purchase of every price there could be, in the order of the file."""
    return [
        (region, machine, spot)
        for provider in dict.fromkeys(machines.provider)
        for spot in (False, True)
        for region in range(len(regions))
        for machine in range(len(machines))
        if regions.provider[region] == machines.provider[machine] == provider
    ]


@st.composite
def prices(draw, regions, machines, sources):
    cells = all_cells(regions, machines)
    chosen = sorted(draw(st.sets(st.integers(0, len(cells) - 1), min_size=1)))
    region, machine, spot = zip(*(cells[number] for number in chosen), strict=True)
    size = len(chosen)
    return Prices(
        region=np.array(region),
        machine=np.array(machine),
        spot=np.array(spot),
        price=column(draw, money, size, np.int64),
        basis=column(draw, st.integers(0, len(BASES) - 1), size, np.int64),
        dated=column(draw, st.integers(0, 40_000), size, np.int64),
        interruptions=column(draw, rates, size, np.float64),
        source=words(draw, size, st.sampled_from(sources)),
    )


@st.composite
def tariffs(draw, sources):
    starts = sorted(draw(st.sets(st.floats(0.5, 1e9), max_size=3)))
    price = words(draw, len(starts) + 1, st.integers(0, 10**9))
    return Tariff((0.0, *starts), price, draw(counts), draw(st.sampled_from(sources)))


@st.composite
def egresses(draw, regions, sources):
    size = len(regions)
    same = np.array(regions.provider)[:, None] == np.array(regions.provider)
    between = column(draw, st.integers(0, 10**6), size * size, np.int64).reshape(size, size)
    listed = tuple(draw(st.lists(tariffs(sources), min_size=1, max_size=3)))
    places = st.tuples(st.integers(0, size - 1), texts, texts)
    return Egress(
        tariffs=listed,
        tiers=draw(st.dictionaries(texts, st.lists(texts).map(tuple), max_size=3)),
        internet=draw(st.dictionaries(places, st.integers(0, len(listed) - 1), max_size=6)),
        between=np.where(same, between, -1),
        between_unit=draw(counts),
        address=draw(st.dictionaries(texts, st.integers(0, 10**6), max_size=3)),
        sources=draw(st.dictionaries(texts, st.sampled_from(sources), max_size=3)),
    )


@st.composite
def anchors(draw, sources):
    size = draw(st.integers(1, 4))
    upper = column(draw, st.one_of(st.just(math.nan), positive), size * size, np.float64)
    upper = np.triu(upper.reshape(size, size), 1)
    rtt = upper + upper.T
    np.fill_diagonal(rtt, math.nan)
    bands = sorted(draw(st.sets(positive, min_size=1, max_size=3)))
    return Anchors(
        name=words(draw, size),
        latitude=column(draw, st.floats(-90, 90), size, np.float64),
        longitude=column(draw, st.floats(-180, 180), size, np.float64),
        rtt_ms=rtt,
        slopes={**draw(st.dictionaries(texts, positive, max_size=3)), "*": draw(positive)},
        band_km=np.array(bands),
        band_ms=column(draw, positive, len(bands), np.float64),
        source=draw(st.sampled_from(sources)),
    )


@st.composite
def books(draw):
    ids = sorted(draw(st.sets(st.text("abc-é", min_size=1, max_size=4), min_size=1, max_size=3)))
    places = draw(regions(ids))
    size = draw(st.integers(0, 5))
    # One at least of a provider that has a region, so that something can be bought.
    types = draw(machines((places.provider[0], *words(draw, size, st.sampled_from(PROVIDERS)))))
    return Book(
        made=draw(days),
        sources={id: Source(id, draw(texts), draw(texts), draw(days), draw(texts)) for id in ids},
        regions=places,
        machines=types,
        prices=draw(prices(places, types, ids)),
        egress=draw(egresses(places, ids)),
        anchors=draw(anchors(ids)),
    )


def differences(one, other, at="book"):
    """Paths of what is not the same; NaN is like NaN, and a column of other type is different."""
    if is_dataclass(one):
        return [
            path
            for field in fields(one)
            for path in differences(
                getattr(one, field.name), getattr(other, field.name), f"{at}.{field.name}"
            )
        ]
    if isinstance(one, np.ndarray):
        nan = one.dtype.kind == "f"
        alike = one.dtype == other.dtype and np.array_equal(one, other, equal_nan=nan)
        return [] if alike else [at]
    return [] if one == other else [at]


@settings(deadline=None)
@given(books())
def test_a_book_that_was_written_is_read_back_in_every_column(book):
    again = read(write(book))

    assert differences(replace(book, sha256=again.sha256), again) == []


@settings(deadline=None)
@given(books(), st.randoms())
def test_the_order_of_prices_does_not_change_the_file(book, chance):
    rows = list(range(len(book.prices)))
    chance.shuffle(rows)

    assert write(replace(book, prices=rearranged(book.prices, rows))) == write(book)


def rearranged(prices, rows):
    return Prices(
        **{
            field.name: tuple(values[row] for row in rows)
            if isinstance(values := getattr(prices, field.name), tuple)
            else values[rows]
            for field in fields(Prices)
        }
    )


@pytest.fixture(scope="module")
def small():
    """A book of two regions, three machine types and four prices."""
    return Book(
        made=date(2026, 11, 20),
        sources={"s": Source("s", "A list", "here", date(2026, 1, 1), "MIT")},
        regions=Regions(
            provider=("aws", "gcp"),
            name=("eu-north-1", "us-east1"),
            city=("Gävle", "Moncks Corner"),
            country=("SE", "US"),
            continent=("EU", "NA"),
            eu=np.array([True, False]),
            eea=np.array([True, False]),
            latitude=np.array([60.7, 33.2]),
            longitude=np.array([17.1, -80.0]),
            gco2=np.array([40.0, math.nan]),
            gco2_source=("s", ""),
        ),
        machines=Machines(
            provider=("aws", "aws", "gcp"),
            name=("m5.large", "t4g.large", "e2-medium"),
            arch=("x86", "arm", "x86"),
            vcpus=np.array([2, 2, 2]),
            memory_mib=np.array([8192, 8192, 4096]),
            gpu=("", "", ""),
            gpus=np.array([0, 0, 0]),
            nic_mbps=np.array([750.0, 512.0, 780.0]),
            nic_assumed=np.array([False, False, True]),
        ),
        prices=Prices(
            region=np.array([0, 0, 0, 1]),
            machine=np.array([0, 1, 0, 2]),
            spot=np.array([False, False, True, False]),
            price=np.array([102_000, 68_000, 30_000, 33_000]),
            basis=np.array([0, 2, 1, 0]),
            dated=np.array([20_000, 20_001, 20_000, 20_000]),
            interruptions=np.array([0.0, 0.0, 0.37, 0.0]),
            source=("s", "s", "s", "s"),
        ),
        egress=Egress(
            tariffs=(Tariff((0.0, 100.0), (0, 90_000), 10**9, "s"),),
            tiers={"aws": ("",), "gcp": ("premium", "standard")},
            internet={(0, "", "world"): 0, (1, "premium", "world"): 0},
            between=np.array([[0, -1], [-1, 0]]),
            between_unit=10**9,
            address={"aws": 5000},
            sources={"address:aws": "s"},
        ),
        anchors=Anchors(
            name=("aws:eu-north-1", "gcp:us-east1"),
            latitude=np.array([60.7, 33.2]),
            longitude=np.array([17.1, -80.0]),
            rtt_ms=np.array([[math.nan, 120.5], [120.5, math.nan]]),
            slopes={"EU-NA": 16.0, "*": 17.0},
            band_km=np.array([21_000.0]),
            band_ms=np.array([34.0]),
            source="s",
        ),
    )


def hashed(file):
    """Bytes of a file whose content may be wrong, but not its hash."""
    unhashed = json.dumps({**file, "sha256": ""}, separators=(",", ":")).encode()
    digest = hashlib.sha256(unhashed).hexdigest().encode()
    return unhashed.replace(b'"sha256":""', b'"sha256":"%s"' % digest, 1)


@pytest.fixture(scope="module")
def small_text(small):
    return write(small)


@pytest.fixture
def file(small):
    return json.loads(write(small))


def test_a_price_that_stands_twice_is_not_written(small):
    twice = replace(small, prices=rearranged(small.prices, [0, 1, 0]))

    with pytest.raises(ValueError, match=r"eu-north-1 m5\.large is there twice"):
        write(twice)


def test_a_price_that_joins_two_providers_is_not_written(small):
    crossed = replace(small, prices=replace(small.prices, region=np.array([1, 0, 0, 1])))

    with pytest.raises(ValueError, match="joins two providers"):
        write(crossed)


def test_a_file_that_breaks_off_anywhere_says_so(small):
    data = write(small).rstrip()

    for end in range(1, len(data)):
        with pytest.raises(Corrupt, match=r"truncated|not JSON"):
            read(data[:end])
    with pytest.raises(Corrupt, match=r"truncated: it breaks off after 700 bytes"):
        read(data[:700])


def test_a_byte_that_changed_anywhere_is_noticed(small):
    data = write(small)

    for at in range(len(data)):
        with pytest.raises(Corrupt):
            read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\x89PNG\r\n", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"prices: cheap", "not JSON"),
        (b"[]", "its format is None"),
        (b'{"format": "fedspan-model"}', "its format is 'fedspan-model', not 'fedspan-book'"),
        (
            b'{"format": "fedspan-book", "version": 2}',
            r"this Fedspan reads version 1, the file has 2; update Fedspan or run `fedspan book",
        ),
        (b'{"format": "fedspan-book", "version": 1, "sha256": "00"}', "changed or damaged"),
        (b'{"format": "fedspan-book", "version": 1, "sha256": "\\ud800"}', "changed or damaged"),
        (b'{"format": "fedspan-book", "version": 1, "a": NaN}', "holds NaN"),
    ],
)
def test_what_is_no_book_of_this_version_is_refused(data, message):
    with pytest.raises(Corrupt, match=message):
        read(data)


DAMAGES = {
    "short row": (
        ("prices", "by_provider", "aws", "on_demand", 0, 1),
        [102_000],
        "aws:eu-north-1 has 1 columns, aws has 2 machines",
    ),
    "zero price": (
        ("prices", "by_provider", "aws", "on_demand", 0, 1, 1),
        0,
        r"aws:eu-north-1 t4g\.large costs 0, no positive",
    ),
    "negative price": (
        ("prices", "by_provider", "gcp", "on_demand", 0, 1, 0),
        -5,
        "gcp:us-east1 e2-medium costs -5",
    ),
    "broken price": (
        ("prices", "by_provider", "gcp", "on_demand", 0, 1, 0),
        0.5,
        "gcp:us-east1 e2-medium costs 0.5",
    ),
    "unknown region": (
        ("prices", "by_provider", "gcp", "on_demand", 0, 0),
        "us-east9",
        "does not know 'gcp:us-east9'",
    ),
    "origins": (
        ("prices", "by_provider", "aws", "on_demand", 0, 2),
        [0],
        "origins of aws: row 0 has 1 for 2 prices",
    ),
    "no such origin": (
        ("prices", "by_provider", "aws", "on_demand", 0, 2),
        9,
        "origins has no row 9",
    ),
    "negative origin": (
        ("prices", "by_provider", "aws", "on_demand", 0, 2),
        -1,
        "origins of aws: -1 is less than 0",
    ),
    "negative rate": (("prices", "interruptions", 0), -1, "rate of interruptions is negative"),
    "basis": (("prices", "origins", 0, 1), "rumour", "not laid out as version 1"),
    "day": (("prices", "origins", 0, 2), "yesterday", "not laid out as version 1"),
    "source": (("prices", "origins", 0, 0), "hearsay", "does not list: hearsay"),
    "no prices": (("prices", "by_provider"), {}, "the book has no prices"),
    "no regions": (("regions",), [], "the book has no regions"),
    "no machines": (("machines",), [], "the book has no machines"),
    "no sources": (("sources",), {}, "the book has no sources"),
    "no tariffs": (("egress", "tariffs"), [], "the book has no egress tariffs"),
    "region columns": (("regions", 1), ["gcp", "us-east1"], "has 2 of 11 columns"),
    "machine columns": (("machines", 0), ["aws"], "has 1 of 9 columns"),
    "latitude": (("regions", 0, 7), 95.0, "a latitude is beyond 90"),
    "vcpus": (("machines", 0, 3), 0, "machines: vcpus: 0 is less than 1"),
    "vcpus of text": (("machines", 0, 3), "two", "machines: vcpus: holds what is no whole number"),
    "network": (("machines", 0, 7), 0, "rate of a network is not positive"),
    "tariff": (("egress", "internet", 0, 2), 7, "there is no tariff 7"),
    "steps": (("egress", "tariffs", 0, 2, 0, 0), 200, "not 0 and rising"),
    "tariff price": (("egress", "tariffs", 0, 2, 1, 1), -1, "egress: prices of s: -1 is less"),
    "between": (("egress", "between", "aws:eu-north-1"), [0, 1], "has 2 of 1 prices"),
    "between of a region": (
        ("egress", "between"),
        {"gcp:us-east1": [0]},
        "egress: aws:eu-north-1 has no prices to its regions",
    ),
    "endless price": (
        ("prices", "by_provider", "gcp", "on_demand", 0, 1, 0),
        1e300,
        r"e2-medium costs 1e\+300, no positive whole price",
    ),
    "flag": (("regions", 0, 5), 2, "regions: eu: 2 is neither 0 nor 1"),
    "title": (("sources", "s", 0), None, "sources: s: holds what is no text"),
    "tier": (("egress", "internet", 0, 0), 5, "egress: tier 5 to 'world': holds what is no text"),
    "tier of lists": (("egress", "internet", 0, 0), [], r"egress: tier \[\] to 'world'"),
    "destination": (("egress", "internet", 0, 1), None, "egress: tier '' to None: holds"),
    "places": (("egress", "internet", 0, 3), "aws", "egress: tier '' to 'world': holds"),
    "half a tariff": (("egress", "internet", 0, 2), 0.0, "holds what is no whole number"),
    "tiers": (("egress", "tiers", "aws"), [None], "egress: tiers of aws: holds what is no text"),
    "tiers as text": (("egress", "tiers", "gcp"), "ab", "egress: tiers of gcp: holds what is no"),
    "source of a figure": (
        ("egress", "sources", "address:aws"),
        ["s"],
        "egress: source of address:aws: holds what is no text",
    ),
    "number as source": (
        ("egress", "sources", "address:aws"),
        7,
        "egress: source of address:aws: holds what is no text",
    ),
    "source of a tariff": (("egress", "tariffs", 0, 1), {}, "source of a tariff: holds what is no"),
    "start missing": (("egress", "tariffs", 0, 2, 1, 0), None, "not 0 and rising"),
    "address": (("egress", "address", "aws"), 0.5, "address of aws: holds what is no whole"),
    "triangle": (("anchors", "rtt_ms", 0), [], "no triangle over 2 places"),
    "rtt": (("anchors", "rtt_ms", 0, 0), -1, "round-trip time is not positive"),
    "slopes": (("anchors", "slopes"), {"EU-NA": 3}, r"\(\"\*\"\) is missing"),
    "bands": (("anchors", "band_ms"), [1, 2], "1 distances but 2 errors"),
    "band": (("anchors", "band_km", 0), None, "distances do not rise from 0"),
    "source of anchors": (("anchors", "source"), ["s"], "anchors: source: holds what is no text"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_book_with_a_wrong_figure_names_it(file, damage):
    path, value, message = DAMAGES[damage]
    changed(file, path, value)

    with pytest.raises(Corrupt, match=message):
        read(hashed(file))


@pytest.mark.parametrize("table", ["made", "regions", "prices", "egress", "anchors"])
def test_a_book_that_lacks_a_table_names_it(file, table):
    del file[table]

    with pytest.raises(Corrupt, match=f"lacks or does not know '{table}'"):
        read(hashed(file))


def test_a_number_without_end_is_refused(file):
    data = (
        json.dumps({**file, "sha256": ""}).replace("120.5", "1e999").replace(', "sha256": ""', "")
    )
    unhashed = data[:-1].encode() + b',"sha256":""}'
    digest = hashlib.sha256(unhashed).hexdigest().encode()

    with pytest.raises(Corrupt, match="anchors: round-trip times: holds what is no number"):
        read(unhashed.replace(b'"sha256":""', b'"sha256":"%s"' % digest, 1))


def test_what_was_read_cannot_be_written_to(small):
    book = read(write(small))
    parts = (book.regions, book.machines, book.prices, book.egress, book.anchors)
    arrays = [one for part in parts for one in vars(part).values() if isinstance(one, np.ndarray)]

    assert len(arrays) > 20
    assert not any(one.flags.writeable for one in arrays)
    with pytest.raises(ValueError, match="read-only"):
        book.prices.price[0] = 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
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


def is_refused_or_a_book(file):
    """A book that can be written, too."""
    try:
        book = read(hashed(file))
    except Corrupt:
        return True
    return read(write(book)).regions.name == book.regions.name


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_whatever_stands_anywhere_in_a_file_makes_a_book_or_is_refused(small_text, data):
    file = json.loads(small_text)
    path = data.draw(st.sampled_from(sorted(spots(file), key=str)))
    changed(file, path, data.draw(anything))

    assert is_refused_or_a_book(file)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_whatever_stands_anywhere_in_the_shipped_file_makes_a_book_or_is_refused(data):
    file = json.loads(shipped_bytes())
    path: tuple = ()
    inside = file
    while isinstance(inside, dict | list) and inside and (not path or data.draw(st.booleans())):
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        path = (*path, data.draw(st.sampled_from(keys)))
        inside = inside[path[-1]]
    changed(file, path, data.draw(anything))

    assert is_refused_or_a_book(file)


def changed(file, path, value):
    *owners, last = path
    inside = file
    for key in owners:
        inside = inside[key]
    inside[last] = value


def shipped_bytes():
    return resources.files("fedspan.placement").joinpath("book.json").read_bytes()


def test_a_region_there_twice_is_refused(file):
    file["regions"].append(file["regions"][0])

    with pytest.raises(Corrupt, match="regions: aws:eu-north-1 is there twice"):
        read(hashed(file))


# The book that ships


@pytest.fixture(scope="module")
def book():
    return shipped()


def places(book):
    return list(book.regions.index)


def test_the_shipped_book_is_the_same_bytes_after_reading_and_writing(book):
    data = shipped_bytes()

    assert write(book) == data
    assert len(data) < 400_000
    assert max(map(len, data.splitlines())) < 1500


def test_the_shipped_book_covers_three_clouds(book):
    listed = {it: book.regions.provider.count(it) for it in ("aws", "gcp", "azure")}
    types = {it: book.machines.provider.count(it) for it in ("aws", "gcp", "azure")}

    assert listed == {"aws": 33, "gcp": 43, "azure": 58}
    assert all(number > 80 for number in types.values())
    assert len(book.prices) > 14_000
    assert set(book.machines.arch) == {"x86", "arm"}


def test_every_shipped_figure_names_a_source_that_is_open_and_not_of_the_future(book):
    named = {
        *book.prices.source,
        *book.regions.gco2_source,
        *(tariff.source for tariff in book.egress.tariffs),
        *book.egress.sources.values(),
        book.anchors.source,
    }

    assert named == book.sources.keys()
    for source in book.sources.values():
        assert source.licence in LICENCES, source
        assert source.title and source.where
        assert date(2021, 1, 1) <= source.dated <= book.made
    said = " ".join(f"{it.title} {it.where}" for it in book.sources.values()).lower()
    for unlicensed in ("cross-region-latency", "edgerun", "spot-traces", "skypilot-catalog"):
        assert unlicensed not in said
    assert "real-time-cloud" not in said


def test_every_shipped_price_is_as_old_as_its_source(book):
    for day, source in zip(book.prices.dated.tolist(), book.prices.source, strict=True):
        assert EPOCH + timedelta(days=day) == book.sources[source].dated


def test_shipped_spot_prices_are_below_on_demand_and_can_be_interrupted(book):
    prices = book.prices
    on_demand = {
        (region, machine): price
        for region, machine, spot, price in zip(
            prices.region, prices.machine, prices.spot, prices.price, strict=True
        )
        if not spot
    }
    spot = np.flatnonzero(prices.spot)

    assert all(
        prices.price[row] < on_demand[prices.region[row], prices.machine[row]] for row in spot
    )
    assert set(prices.interruptions[spot].tolist()) == set(LADDER)
    assert not prices.interruptions[~prices.spot].any()


def test_shipped_regions_are_on_earth_and_in_known_countries(book):
    regions = book.regions

    assert set(regions.country) <= COUNTRIES
    assert set(regions.continent) == {"AF", "AS", "EU", "ME", "NA", "OC", "SA"}
    assert np.all(np.abs(regions.latitude) < 75) and np.all(np.abs(regions.longitude) <= 180)
    assert np.all(regions.eea[regions.eu]), "a member of the EU is one of the EEA"
    assert "CH" not in {regions.country[row] for row in np.flatnonzero(regions.eea)}
    assert "NO" in {regions.country[row] for row in np.flatnonzero(regions.eea & ~regions.eu)}
    assert np.all((regions.gco2 > 0) & (regions.gco2 < 1000))


def test_shipped_prices_are_those_of_the_lists(book):
    """Of what the providers' own lists say, by hand."""
    listed = {
        (book.regions.name[region], book.machines.name[machine], bool(spot)): int(price)
        for region, machine, spot, price in zip(
            book.prices.region,
            book.prices.machine,
            book.prices.spot,
            book.prices.price,
            strict=True,
        )
    }

    assert listed["us-east-1", "m5.large", False] == 96_000
    assert listed["us-east-1", "t4g.medium", False] == 33_600
    assert listed["eastus", "Standard_D2s_v5", False] == 96_000
    assert listed["us-central1", "e2-standard-2", False] == pytest.approx(67_010, abs=10)


def test_every_place_that_sells_machines_says_what_sending_costs(book):
    providers = np.array(book.regions.provider)
    for row in np.unique(book.prices.region).tolist():
        for tier in book.egress.tiers[providers[row]]:
            if tier == "standard" and book.regions.continent[row] not in ("NA", "EU"):
                assert (row, tier, "world") not in book.egress.internet, "nobody is sure of it"
                continue
            tariff = book.egress.tariffs[book.egress.internet[row, tier, "world"]]
            assert tariff.price[0] == 0, "what is free comes first"
            assert tariff.starts[1] in (100, 1, 200)
            assert tariff.unit == (2**30 if providers[row] == "gcp" else 10**9)
    same = providers[:, None] == providers

    assert np.all((book.egress.between >= 0) == same)
    assert not np.diag(book.egress.between).any()


def test_standard_tier_is_offered_where_its_price_is_cited(book):
    egress, regions = book.egress, book.regions
    offered = {regions.name[row] for row, tier, _ in egress.internet if tier == "standard"}
    premium = {regions.name[row] for row, tier, _ in egress.internet if tier == "premium"}

    assert {"us-central1", "europe-west4"} <= offered
    assert not offered & {"asia-east1", "southamerica-east1", "australia-southeast1", "me-west1"}
    assert len(offered) < len(premium) == regions.provider.count("gcp")


def test_an_address_of_googles_spot_machines_costs_half(book):
    egress = book.egress

    assert egress.address == {"aws": 5000, "gcp": 5000, "azure": 5000, "gcp:spot": 2500}
    assert {f"address:{name}" for name in egress.address} <= egress.sources.keys()
    assert "Spot" in book.sources[egress.sources["address:gcp:spot"]].title


def test_machines_send_what_their_provider_documents(book):
    """By hand, from the providers' pages."""
    mbps = dict(zip(book.machines.name, book.machines.nic_mbps.tolist(), strict=True))
    gcp = [mbps[name] for name in mbps if book.machines.provider[row_of(book, name)] == "gcp"]

    assert mbps["m5.large"] == 750
    assert mbps["e2-medium"] == 2_000
    assert mbps["e2-standard-2"] == mbps["e2-highcpu-2"] == 4_000
    assert mbps["n2-standard-16"] == mbps["a2-highgpu-8g"] == max(gcp) == 7_000
    assert mbps["Standard_F2s_v2"] == 5_000
    assert mbps["Standard_D4s_v4"] == 10_000
    assert mbps["Standard_E16as_v6"] == 16_000
    assert mbps["Standard_ND96asr_v4"] == 24_000
    assert {f"nic:{provider}" for provider in ("aws", "gcp", "azure")} <= book.egress.sources.keys()


def row_of(book, name):
    return book.machines.name.index(name)


def test_a_network_nobody_documents_is_assumed_from_the_vcpus(book):
    machines = book.machines
    assumed = {machines.name[row] for row in np.flatnonzero(machines.nic_assumed)}

    assert assumed == {f"Standard_B{size}" for size in ("2s", "2ms", "4ms", "8ms", "16ms")}
    assert machines.nic_mbps[row_of(book, "Standard_B4ms")] == 4 * ASSUMED_MBPS_PER_VCPU
    assert assumed_mbps(64) == 10_000


def test_shipped_anchors_are_regions_and_faster_than_light_nowhere(book):
    anchors = book.anchors
    rows = [book.regions.index[name] for name in anchors.name]
    pairs = np.triu_indices(len(anchors.name), 1)
    km = distances(anchors.latitude, anchors.longitude)[pairs]

    assert np.array_equal(anchors.latitude, book.regions.latitude[rows])
    assert np.array_equal(anchors.longitude, book.regions.longitude[rows])
    assert np.array_equal(anchors.rtt_ms, anchors.rtt_ms.T, equal_nan=True)
    assert np.all(anchors.rtt_ms[pairs] >= 2 * km / 299.792)
    assert all(10 <= slope < 50 for slope in anchors.slopes.values())
    assert anchors.band_km[-1] > 20_040, "half way around the earth is within the last band"
    assert np.all(anchors.band_ms < 50)


def test_leaving_out_a_pair_s_anchors_is_the_sum_without_them():
    draws = np.random.default_rng(3)
    latitude, longitude = draws.uniform(-60, 60, 9), draws.uniform(-20, 20, 9)
    km = distances(latitude, longitude)
    ms = 3 + km * draws.uniform(0.01, 0.03, (9, 9))
    ms = (ms + ms.T) / 2
    np.fill_diagonal(ms, math.nan)
    ms[2, 5] = ms[5, 2] = math.nan
    prior = np.full((9, 9), 0.017)

    said = left_out(km, ms, prior)

    for a in range(9):
        for b in range(a + 1, 9):
            weights = detours = 0.0
            for i in range(9):
                for j in range(9):
                    if {i, j} & {a, b} or i == j or km[i, j] < 100 or math.isnan(ms[i, j]):
                        continue
                    weight = math.exp(-(km[a, i] + km[b, j]) / 300)
                    weights += weight
                    detours += weight * (ms[i, j] - 3) / km[i, j]
            slope = (0.05 * 0.017 + detours) / (0.05 + weights)
            assert said[a, b] == pytest.approx(3 + km[a, b] * slope)
