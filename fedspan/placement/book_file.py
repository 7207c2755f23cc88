"""The book as a file: one JSON document whose lines a person can compare.

A line is a region, a machine type, the prices of one region, or a tariff. Prices are columns: a
row a region, aligned with the machine types of its provider, null where a type is not offered.
The hash is of the file's own bytes with the hash left empty, so that checking it costs no second
encoding.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np

from fedspan.errors import Corrupt
from fedspan.placement.book import (
    BASES,
    EPOCH,
    Anchors,
    Book,
    Bools,
    Egress,
    Floats,
    Ints,
    Machines,
    Prices,
    Regions,
    Source,
    Tariff,
)

FORMAT: Final = "fedspan-book"
VERSION: Final = 1
NO_HASH: Final = b'"sha256":""'
PURCHASES: Final = ("on_demand", "spot")
MOST_PRICE: Final = 2**53
"""Micro-dollars that a float still counts one by one."""
REGION_FIELDS: Final = 11
MACHINE_FIELDS: Final = 9

Json = Any


def read(data: bytes) -> Book:
    """The book in `data`; its arrays cannot be written to. Raises `Corrupt`, naming what is wrong,
    when it is not whole and right: prices are positive, columns equally long, and every source
    named is listed."""
    file = _document(data)
    try:
        book = _book(file)
        _check_sources(book)
    except KeyError as exc:
        raise Corrupt(f"the book lacks or does not know {exc}") from exc
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as exc:
        raise Corrupt(f"the book is not laid out as version {VERSION} is: {exc}") from exc
    _lock(book)
    return book


def write(book: Book) -> bytes:
    """The file of `book`, the same bytes for the same content. Price rows are put in the order of
    the file: by provider, on demand before spot, region, machine. Raises `ValueError` when a
    price stands twice or joins a region and a machine of different providers."""
    body = "\n".join(_lines(book)).encode()
    return body.replace(NO_HASH, b'"sha256":"%s"' % _hash(body), 1)


def _hash(unhashed: bytes) -> bytes:
    return hashlib.sha256(unhashed).hexdigest().encode()


# Reading


def _document(data: bytes) -> dict[str, Json]:
    file = _parsed(data)
    if not isinstance(file, dict) or file.get("format") != FORMAT:
        found = file.get("format") if isinstance(file, dict) else None
        raise Corrupt(f"this is no book of prices: its format is {found!r}, not {FORMAT!r}")
    if file.get("version") != VERSION:
        raise Corrupt(
            f"this Fedspan reads version {VERSION}, the file has {file.get('version')}; "
            "update Fedspan or run `fedspan book refresh`"
        )
    said = str(file.get("sha256")).encode(errors="replace")
    actual = _hash(data.replace(b'"sha256":"%s"' % said, NO_HASH, 1))
    if said != actual:
        raise Corrupt(
            "the book was changed or damaged: the hash of its content is "
            f"{actual[:12].decode()}, it says {said[:12].decode(errors='replace')}"
        )
    return file


def _parsed(data: bytes) -> Json:
    try:
        return json.loads(data, parse_constant=_no_number)
    except RecursionError as exc:
        raise Corrupt("the book is not JSON: it is nested too deeply") from exc
    except ValueError as exc:
        if data.startswith(b"{") and not data.rstrip().endswith(b"}"):
            raise Corrupt(f"the book is truncated: it breaks off after {len(data)} bytes") from exc
        raise Corrupt(f"the book is not JSON: {exc}") from exc


def _no_number(name: str) -> NoReturn:
    raise Corrupt(f"the book holds {name}, which is no figure")


def _book(file: dict[str, Json]) -> Book:
    for table in ("sources", "regions", "machines", "prices", "egress", "anchors"):
        if not file[table]:
            raise Corrupt(f"the book has no {table}")
    regions, machines = _regions(file["regions"]), _machines(file["machines"])
    return Book(
        made=date.fromisoformat(file["made"]),
        sources={id: _source(id, *said) for id, said in file["sources"].items()},
        regions=regions,
        machines=machines,
        prices=_prices(file["prices"], regions, machines),
        egress=_egress(file["egress"], regions),
        anchors=_anchors(file["anchors"]),
        sha256=file["sha256"],
    )


def _source(id: str, title: str, where: str, dated: str, licence: str) -> Source:
    title, where, licence = _texts((title, where, licence), f"sources: {id}")
    return Source(id, title, where, date.fromisoformat(dated), licence)


def _lock(book: Book) -> None:
    """Readers share a book, so none may change it."""
    for part in (book.regions, book.machines, book.prices, book.egress, book.anchors):
        for column in vars(part).values():
            if isinstance(column, np.ndarray):
                column.setflags(write=False)


def _columns(rows: Sequence[Sequence[Json]], fields: int, table: str) -> list[list[Json]]:
    for row in rows:
        if len(row) != fields:
            raise Corrupt(f"{table}: {row[:2]} has {len(row)} of {fields} columns")
    return [list(column) for column in zip(*rows, strict=True)]


def _ints(values: Json, what: str, *, least: int = 0) -> Ints:
    found = np.array(values)
    if found.dtype.kind != "i" or found.ndim != 1:
        raise Corrupt(f"{what}: holds what is no whole number")
    if found.size and found.min() < least:
        raise Corrupt(f"{what}: {found.min()} is less than {least}")
    return found.astype(np.int64, copy=False)


def _whole(value: Json, what: str, *, least: int = 0) -> int:
    return int(_ints([value], what, least=least)[0])


def _floats(values: Json, what: str, *, rows: int = 1) -> Floats:
    """null becomes NaN. `rows` is 2 where each value is a row of them."""
    found = np.array(values, np.float64)
    if found.ndim != rows or np.isinf(found).any():
        raise Corrupt(f"{what}: holds what is no number")
    return found


def _bools(values: list[Json], what: str) -> Bools:
    """Written as 0 and 1."""
    found = _ints(values, what)
    if found.max(initial=0) > 1:
        raise Corrupt(f"{what}: {found.max()} is neither 0 nor 1")
    return found.astype(np.bool_)


def _text(value: Json, what: str) -> str:
    return _texts((value,), what)[0]


def _texts(values: Iterable[Json], what: str) -> tuple[str, ...]:
    found = tuple(values)
    if isinstance(values, str) or not all(isinstance(value, str) for value in found):
        raise Corrupt(f"{what}: holds what is no text")
    return found


def _once(names: Iterable[tuple[str, str]], what: str) -> None:
    seen = set()
    for pair in names:
        if pair in seen:
            raise Corrupt(f"{what}: {':'.join(pair)} is there twice")
        seen.add(pair)


def _regions(rows: list[Json]) -> Regions:
    columns = _columns(rows, REGION_FIELDS, "regions")
    provider, name, city, country, continent, source = (
        _texts(column, "regions") for column in (*columns[:5], columns[10])
    )
    _once(zip(provider, name, strict=True), "regions")
    latitude, longitude = _positions(columns[7], columns[8], "regions")
    gco2 = _floats(columns[9], "regions: gCO2")
    if np.any(gco2 < 0):
        raise Corrupt("regions: a grid emits less than nothing")
    return Regions(
        provider=provider,
        name=name,
        city=city,
        country=country,
        continent=continent,
        eu=_bools(columns[5], "regions: eu"),
        eea=_bools(columns[6], "regions: eea"),
        latitude=latitude,
        longitude=longitude,
        gco2=gco2,
        gco2_source=source,
    )


def _positions(north: list[Json], east: list[Json], what: str) -> tuple[Floats, Floats]:
    latitude, longitude = _floats(north, f"{what}: latitude"), _floats(east, f"{what}: longitude")
    if np.any(np.abs(latitude) > 90) or np.any(np.abs(longitude) > 180):
        raise Corrupt(f"{what}: a latitude is beyond 90 or a longitude beyond 180 degrees")
    return latitude, longitude


def _machines(rows: list[Json]) -> Machines:
    columns = _columns(rows, MACHINE_FIELDS, "machines")
    nic = _floats(columns[7], "machines: the rate of a network")
    if not np.all(nic > 0):
        raise Corrupt("machines: the rate of a network is not positive")
    machines = Machines(
        provider=_texts(columns[0], "machines"),
        name=_texts(columns[1], "machines"),
        arch=_texts(columns[2], "machines"),
        vcpus=_ints(columns[3], "machines: vcpus", least=1),
        memory_mib=_ints(columns[4], "machines: memory_mib", least=1),
        gpu=_texts(columns[5], "machines"),
        gpus=_ints(columns[6], "machines: gpus"),
        nic_mbps=nic,
        nic_assumed=_bools(columns[8], "machines: nic_assumed"),
    )
    _once(zip(machines.provider, machines.name, strict=True), "machines")
    return machines


def _of_provider(providers: Sequence[str], provider: str) -> Ints:
    return np.array([row for row, its in enumerate(providers) if its == provider], np.int64)


def _prices(file: dict[str, Json], regions: Regions, machines: Machines) -> Prices:
    """`origins` are the distinct (source, basis, day) of prices, `interruptions` the distinct
    rates; a row of prices names one of each for all its prices, or one each."""
    parts = [
        _offers(offers[purchase], provider, purchase == "spot", regions, machines)
        for provider, offers in file["by_provider"].items()
        for purchase in PURCHASES
        if offers[purchase]
    ]
    if not parts or not sum(len(part[0]) for part in parts):
        raise Corrupt("the book has no prices")
    region, machine, spot, price, origin, risk = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    sources, bases, days = _columns(file["origins"], 3, "prices: origins")
    dated = [(date.fromisoformat(day) - EPOCH).days for day in days]
    rates = _floats(file["interruptions"], "prices: interruptions")
    if not np.all(rates >= 0):
        raise Corrupt("prices: a rate of interruptions is negative or missing")
    for column, table in ((origin, "origins"), (risk, "interruptions")):
        if column.max() >= len(file[table]):
            raise Corrupt(f"prices: {table} has no row {column.max()}")
    return Prices(
        region=region,
        machine=machine,
        spot=spot,
        price=price,
        basis=np.array([BASES.index(basis) for basis in bases], np.int64)[origin],
        dated=np.array(dated, np.int64)[origin],
        interruptions=rates[risk],
        source=tuple(np.array(_texts(sources, "prices: origins"), object)[origin].tolist()),
    )


def _offers(
    rows: list[Json], provider: str, spot: bool, regions: Regions, machines: Machines
) -> tuple[Ints, Ints, Bools, Ints, Ints, Ints]:
    """Of a provider and a way to buy: region, machine, spot, price, origin, interruptions."""
    types = _of_provider(machines.provider, provider)
    names, listed, origins, risks = _columns(rows, 4, f"prices: {provider}")
    _texts(names, f"prices: {provider}")
    for name, prices in zip(names, listed, strict=True):
        if len(prices) != len(types):
            found = f"{len(prices)} columns, {provider} has {len(types)} machines"
            raise Corrupt(f"prices: {provider}:{name} has {found}")
    _once(((provider, name) for name in names), "prices")
    table = _floats(listed, f"prices: {provider}", rows=2)
    wrong = np.argwhere((table <= 0) | (table % 1 > 0) | (table > MOST_PRICE))
    if len(wrong):
        row, column = wrong[0]
        what = f"{provider}:{names[row]} {machines.name[types[column]]}"
        raise Corrupt(f"prices: {what} costs {table[row, column]:g}, no positive whole price")
    row, column = np.nonzero(~np.isnan(table))
    counts = np.bincount(row, minlength=len(names)).tolist()
    places = np.array([regions.index[f"{provider}:{name}"] for name in names], np.int64)
    return (
        places[row],
        types[column],
        np.full(len(row), spot),
        table[row, column].astype(np.int64),
        _spread(origins, counts, f"prices: origins of {provider}"),
        _spread(risks, counts, f"prices: interruptions of {provider}"),
    )


def _spread(said: list[Json], counts: list[int], what: str) -> Ints:
    """One value a price, from one a row or one a price of the row."""
    values: list[Json] = []
    for row, (value, count) in enumerate(zip(said, counts, strict=True)):
        each = value if isinstance(value, list) else [value] * count
        if len(each) != count:
            raise Corrupt(f"{what}: row {row} has {len(each)} for {count} prices")
        values += each
    return _ints(values, what)


def _egress(file: dict[str, Json], regions: Regions) -> Egress:
    tariffs = tuple(_tariff(*said) for said in file["tariffs"])
    if not tariffs:
        raise Corrupt("the book has no egress tariffs")
    internet = {}
    for tier, destination, tariff, places in file["internet"]:
        what = f"egress: tier {tier!r} to {destination!r}"
        _texts((tier, destination), what)
        if _whole(tariff, what) >= len(tariffs):
            raise Corrupt(f"egress: there is no tariff {tariff}")
        named = _texts(places, what)
        internet.update({(regions.index[place], tier, destination): tariff for place in named})
    return Egress(
        tariffs=tariffs,
        tiers={
            provider: _texts(tiers, f"egress: tiers of {provider}")
            for provider, tiers in file["tiers"].items()
        },
        internet=internet,
        between=_between(file["between"], regions),
        between_unit=_whole(file["between_unit"], "egress: between_unit", least=1),
        address={
            provider: _whole(price, f"egress: address of {provider}")
            for provider, price in file["address"].items()
        },
        sources={
            figure: _text(source, f"egress: source of {figure}")
            for figure, source in file["sources"].items()
        },
    )


def _tariff(unit: int, source: str, steps: list[list[float]]) -> Tariff:
    source = _text(source, "egress: source of a tariff")
    said, price = _columns(steps, 2, "egress: tariffs")
    starts = _floats(said, f"egress: starts of {source}").tolist()
    if starts[0] != 0 or not all(b > a for a, b in pairwise(starts)):
        raise Corrupt(f"egress: a tariff of {source} starts at {said}, not 0 and rising")
    return Tariff(
        starts=tuple(starts),
        price=tuple(_ints(price, f"egress: prices of {source}").tolist()),
        unit=_whole(unit, f"egress: the unit of {source}", least=1),
        source=source,
    )


def _between(rows: dict[str, list[int]], regions: Regions) -> Ints:
    if missing := regions.index.keys() - rows.keys():
        raise Corrupt(f"egress: {min(missing)} has no prices to its regions")
    between = np.full((len(regions), len(regions)), -1, np.int64)
    columns = {it: _of_provider(regions.provider, it) for it in dict.fromkeys(regions.provider)}
    for place, prices in rows.items():
        row = regions.index[place]
        same = columns[regions.provider[row]]
        if len(prices) != len(same):
            raise Corrupt(f"egress: {place} has {len(prices)} of {len(same)} prices to its regions")
        between[row, same] = _ints(prices, f"egress: {place} to its regions")
    return between


def _anchors(file: dict[str, Json]) -> Anchors:
    name, north, east = _columns(file["places"], 3, "anchors")
    latitude, longitude = _positions(north, east, "anchors")
    count = len(name)
    rtt = np.full((count, count), np.nan)
    lengths = [len(row) for row in file["rtt_ms"]]
    if lengths != list(range(count - 1, -1, -1)):
        raise Corrupt(f"anchors: the round-trip times are no triangle over {count} places")
    flat = _floats([value for row in file["rtt_ms"] for value in row], "anchors: round-trip times")
    pairs = np.triu_indices(count, 1)
    rtt[pairs] = rtt.T[pairs] = flat
    if np.any(rtt <= 0):
        raise Corrupt("anchors: a round-trip time is not positive")
    said = dict(file["slopes"])
    slopes = dict(zip(said, _floats(list(said.values()), "anchors: slopes").tolist(), strict=True))
    if "*" not in slopes or not all(slope > 0 for slope in slopes.values()):
        raise Corrupt('anchors: a slope is not positive, or the one for all ("*") is missing')
    band_km = _floats(file["band_km"], "anchors: distances")
    band_ms = _floats(file["band_ms"], "anchors: errors")
    if len(band_km) != len(band_ms) or not len(band_km):
        raise Corrupt(f"anchors: {len(band_km)} distances but {len(band_ms)} errors")
    if not (np.all(np.diff(band_km, prepend=0) > 0) and np.all(band_ms >= 0)):
        raise Corrupt("anchors: distances do not rise from 0, or an error is negative or missing")
    return Anchors(
        name=_texts(name, "anchors"),
        latitude=latitude,
        longitude=longitude,
        rtt_ms=rtt,
        slopes=slopes,
        band_km=band_km,
        band_ms=band_ms,
        source=_text(file["source"], "anchors: source"),
    )


def _check_sources(book: Book) -> None:
    named = {
        *book.regions.gco2_source,
        *book.prices.source,
        *(tariff.source for tariff in book.egress.tariffs),
        *book.egress.sources.values(),
        book.anchors.source,
    }
    unknown = sorted(named - {""} - book.sources.keys())
    if unknown:
        raise Corrupt(f"the book names sources that it does not list: {', '.join(unknown)}")


# Writing


def _line(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: float) -> float | int | None:
    """As JSON: NaN as null, whole numbers without a fraction."""
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _listed(rows: Iterable[Json]) -> str:
    return "[\n" + ",\n".join(map(_line, rows)) + "\n]"


def _keyed(rows: dict[str, Json], shown: Callable[[Json], str] = _line) -> str:
    return "{\n" + ",\n".join(f"{_line(key)}:{shown(row)}" for key, row in rows.items()) + "\n}"


def _lines(book: Book) -> Iterator[str]:
    yield f'{{"format":"{FORMAT}","version":{VERSION},"made":"{book.made}",{NO_HASH.decode()},'
    sources = {
        it.id: [it.title, it.where, it.dated.isoformat(), it.licence]
        for it in book.sources.values()
    }
    yield f'"sources":{_keyed(sources)},'
    yield f'"regions":{_listed(_region_rows(book.regions))},'
    yield f'"machines":{_listed(_machine_rows(book.machines))},'
    yield f'"prices":{_keyed(_price_tables(book), str)},'
    yield f'"egress":{_keyed(_egress_tables(book.egress, book.regions), str)},'
    yield f'"anchors":{_keyed(_anchor_tables(book.anchors), str)}}}'
    yield ""


def _region_rows(regions: Regions) -> Iterator[list[Json]]:
    for row in range(len(regions)):
        yield [
            regions.provider[row],
            regions.name[row],
            regions.city[row],
            regions.country[row],
            regions.continent[row],
            int(regions.eu[row]),
            int(regions.eea[row]),
            _plain(regions.latitude[row]),
            _plain(regions.longitude[row]),
            _plain(regions.gco2[row]),
            regions.gco2_source[row],
        ]


def _machine_rows(machines: Machines) -> Iterator[list[Json]]:
    for row in range(len(machines)):
        yield [
            machines.provider[row],
            machines.name[row],
            machines.arch[row],
            int(machines.vcpus[row]),
            int(machines.memory_mib[row]),
            machines.gpu[row],
            int(machines.gpus[row]),
            _plain(machines.nic_mbps[row]),
            int(machines.nic_assumed[row]),
        ]


def _price_tables(book: Book) -> dict[str, str]:
    prices = book.prices
    bases, days = prices.basis.tolist(), prices.dated.tolist()
    origin_of = list(zip(prices.source, bases, days, strict=True))
    origins = sorted(set(origin_of))
    rates = sorted(set(prices.interruptions.tolist()))
    cells = _cells(book, origin_of, origins, rates)
    providers = dict.fromkeys(book.machines.provider)
    return {
        "origins": _listed(
            [source, BASES[basis], (EPOCH + timedelta(days=day)).isoformat()]
            for source, basis, day in origins
        ),
        "interruptions": _line([_plain(rate) for rate in rates]),
        "by_provider": _keyed(
            {
                provider: _keyed(
                    {it: _listed(_price_rows(book, cells, provider, it)) for it in PURCHASES}, str
                )
                for provider in providers
            },
            str,
        ),
    }


Cells = dict[tuple[int, bool], dict[int, tuple[int, int, int]]]


def _cells(book: Book, origin_of: list[Json], origins: list[Json], rates: list[float]) -> Cells:
    """By region and purchase: (price, origin, rate of interruptions) by machine."""
    prices = book.prices
    cells: Cells = {}
    origin_row = {origin: row for row, origin in enumerate(origins)}
    rate_row = {rate: row for row, rate in enumerate(rates)}
    for row, origin in enumerate(origin_of):
        region, machine = int(prices.region[row]), int(prices.machine[row])
        what = f"{book.regions.name[region]} {book.machines.name[machine]}"
        if book.regions.provider[region] != book.machines.provider[machine]:
            raise ValueError(f"the price of {what} joins two providers")
        table = cells.setdefault((region, bool(prices.spot[row])), {})
        if machine in table:
            raise ValueError(f"the price of {what} is there twice")
        rate = rate_row[float(prices.interruptions[row])]
        table[machine] = (int(prices.price[row]), origin_row[origin], rate)
    return cells


def _price_rows(book: Book, cells: Cells, provider: str, purchase: str) -> Iterator[list[Json]]:
    types = _of_provider(book.machines.provider, provider).tolist()
    for region in _of_provider(book.regions.provider, provider).tolist():
        table = cells.get((region, purchase == "spot"))
        if table:
            offered = [table[machine] for machine in types if machine in table]
            yield [
                book.regions.name[region],
                [table[machine][0] if machine in table else None for machine in types],
                _gathered([cell[1] for cell in offered]),
                _gathered([cell[2] for cell in offered]),
            ]


def _gathered(values: list[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else values


def _egress_tables(egress: Egress, regions: Regions) -> dict[str, str]:
    places = list(regions.index)
    internet: dict[tuple[str, str, int], list[str]] = {}
    for (region, tier, destination), tariff in sorted(egress.internet.items()):
        internet.setdefault((tier, destination, tariff), []).append(places[region])
    between = {
        place: egress.between[row, _of_provider(regions.provider, regions.provider[row])].tolist()
        for row, place in enumerate(places)
    }
    return {
        "tariffs": _listed(
            [it.unit, it.source, [[_plain(a), b] for a, b in zip(it.starts, it.price, strict=True)]]
            for it in egress.tariffs
        ),
        "tiers": _line(egress.tiers),
        "internet": _listed([*key, named] for key, named in internet.items()),
        "between_unit": _line(egress.between_unit),
        "between": _keyed(between),
        "address": _line(egress.address),
        "sources": _line(egress.sources),
    }


def _anchor_tables(anchors: Anchors) -> dict[str, str]:
    places = zip(anchors.name, anchors.latitude, anchors.longitude, strict=True)
    return {
        "places": _listed([name, _plain(north), _plain(east)] for name, north, east in places),
        "rtt_ms": _listed(
            [_plain(rtt) for rtt in row[number + 1 :]] for number, row in enumerate(anchors.rtt_ms)
        ),
        "slopes": _line({pair: _plain(slope) for pair, slope in anchors.slopes.items()}),
        "band_km": _line([_plain(km) for km in anchors.band_km]),
        "band_ms": _line([_plain(ms) for ms in anchors.band_ms]),
        "source": _line(anchors.source),
    }
