"""AWS: on demand from the bulk price list, a CSV of hundreds of MB for each region that streams
through; spot from the price history of EC2, for those who have credentials."""

from __future__ import annotations

import csv
import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fedspan.domain.quotes import HOUR, Interface, Quote, Reading, Wanted
from fedspan.errors import ProviderError
from fedspan.prices.base import Told, understood
from fedspan.prices.regions import each
from fedspan.prices.web import Web, beside, place

ENDPOINT: Final = "https://pricing.us-east-1.amazonaws.com"
INDEX: Final = "/offers/v1.0/aws/AmazonEC2/current/region_index.json"
LIST: Final = Interface(
    id="aws-price-list",
    title="AWS Price List, EC2: on demand, Linux, shared tenancy",
    where=f"{ENDPOINT}{INDEX}",
    licence="prices that AWS publishes",
)
HISTORY: Final = Interface(
    id="aws-spot-history",
    title="EC2 spot price history: the median zone of each region",
    where="ec2:DescribeSpotPriceHistory",
    licence="prices that AWS publishes",
)
UNITS: Final = {"Hrs": HOUR}
WANTED_ROWS: Final = {
    "TermType": ("OnDemand",),
    "Product Family": ("Compute Instance", "Compute Instance (bare metal)"),
    "Location Type": ("AWS Region",),  # not a local zone of it
    "Tenancy": ("Shared",),
    "Operating System": ("Linux",),
    "Pre Installed S/W": ("NA",),
    "CapacityStatus": ("Used",),  # others are reservations, at 0
}
COLUMNS: Final = (*WANTED_ROWS, "Region Code", "Instance Type")
READ: Final = ("PricePerUnit", "Currency", "Unit", "EffectiveDate")
HEAD_LINES: Final = 20
"""The names of the columns come within so many lines."""

MOST_PAGES: Final = 100
SYSTEMS: Final = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")

NO_CREDENTIALS: Final = "aws: no credentials, so spot prices stay as they were"

SpotClient = Callable[[str], Any]
"""From a region to a boto3 client of EC2 there, or None where there are no credentials."""


class AwsPrices:
    """Without credentials there are no spot prices."""

    provider: Final = "aws"
    interfaces: Final = (LIST, HISTORY)

    def __init__(self, web: Web, spot: SpotClient, endpoint: str = ENDPOINT) -> None:
        self._web = web
        self._spot = spot
        self._index = f"{endpoint}{INDEX}"

    def read(self, wanted: Wanted, now: datetime, told: Told) -> Reading:
        told("aws price list", 0.0)
        lists = self._lists()
        names = frozenset(machine.name for machine in wanted.machines)
        listed = [region for region in wanted.regions if region in lists]

        def on_demand(done: int, region: str) -> list[Quote]:
            def part(share: float) -> None:
                told(f"aws {region}", (done + share) / len(listed))

            part(0.0)
            with self._web.lines(lists[region], part) as lines:
                return list(_on_demand(lines, region, names, place(lists[region])))

        quotes, failed = each(listed, on_demand)
        unlisted = [region for region in wanted.regions if region not in lists]
        notes = [f"aws: the price list does not know {', '.join(unlisted)}"] if unlisted else []
        spot = self._spot_prices(wanted.regions, sorted(names), now, told)
        return Reading((*quotes, *spot.quotes), (*notes, *failed, *spot.notes))

    def _lists(self) -> dict[str, str]:
        """Where the list of each region is, as CSV."""
        index = self._web.document(self._index)
        with understood(f"{place(self._index)}: the index of regions"):
            return {
                str(one["regionCode"]): beside(
                    self._index, str(one["currentVersionUrl"]).removesuffix(".json") + ".csv"
                )
                for one in index["regions"].values()
            }

    def _spot_prices(
        self, regions: Iterable[str], machines: list[str], now: datetime, told: Told
    ) -> Reading:
        try:
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            return Reading((), (NO_CREDENTIALS,))
        quotes: list[Quote] = []
        failed: dict[str, list[str]] = defaultdict(list)
        for region in regions:
            told(f"aws {region} spot", 1.0)
            try:
                client = self._spot(region)
                if client is None:
                    return Reading((), (NO_CREDENTIALS,))
                try:
                    with understood("the history"):
                        quotes += _median_zone(_history(client, machines, now), region)
                finally:
                    client.close()
            except ClientError as exc:
                failed[str(exc.response.get("Error", {}).get("Code", "ClientError"))].append(region)
            except (BotoCoreError, ProviderError) as exc:
                failed[type(exc).__name__].append(region)
        notes = [f"aws: no spot prices of {', '.join(at)}: {why}" for why, at in failed.items()]
        return Reading(tuple(quotes), tuple(notes))


def _on_demand(
    lines: Iterable[str], region: str, machines: frozenset[str], where: str
) -> Iterator[Quote]:
    rows = _rows(lines, where)
    at = _columns(rows, where)
    wanted = [(at[name], values) for name, values in WANTED_ROWS.items()]
    wanted.append((at["Region Code"], (region,)))
    machine, price, currency, unit, since = (at[name] for name in ("Instance Type", *READ))
    width = max(at.values())
    best: dict[str, list[str]] = {}
    for row in rows:
        if len(row) <= width or row[machine] not in machines:
            continue
        if all(row[column] in values for column, values in wanted):
            held = best.get(row[machine])
            if held is None or row[since] > held[since]:
                best[row[machine]] = row
    for name, row in best.items():
        said = UNITS.get(row[unit], row[unit])
        yield Quote(region, name, False, _decimal(row[price]), LIST.id, row[currency], said)


def _rows(lines: Iterable[str], where: str) -> Iterator[list[str]]:
    rows = csv.reader(lines)
    try:
        yield from rows
    except csv.Error as exc:
        raise ProviderError(f"{where}: line {rows.line_num} is no CSV") from exc


def _columns(rows: Iterator[list[str]], where: str) -> Mapping[str, int]:
    """Where the columns are, by name: the line that begins with SKU, after a few about the file."""
    for row in itertools.islice(rows, HEAD_LINES):
        if row[:1] == ["SKU"]:
            at = {name: column for column, name in enumerate(row)}
            missing = [name for name in (*COLUMNS, *READ) if name not in at]
            if missing:
                raise ProviderError(f"{where}: has no column {', '.join(missing)}")
            return at
    raise ProviderError(f"{where}: is no price list; its first {HEAD_LINES} lines name no columns")


@dataclass(frozen=True, slots=True)
class Seen:
    """A spot price of a machine type in a zone."""

    machine: str
    zone: str
    at: datetime
    price: Decimal


def _history(client: Any, machines: list[str], now: datetime) -> Iterator[Seen]:
    """What holds at `now`: from `now` on, the history begins with the price in force."""
    pages = client.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=machines, ProductDescriptions=list(SYSTEMS), StartTime=now, EndTime=now
    )
    for number, page in enumerate(pages):
        if number == MOST_PAGES:
            raise ProviderError(f"ec2: more than {MOST_PAGES} pages of spot prices")
        for one in page.get("SpotPriceHistory", ()):
            price = _decimal(str(one["SpotPrice"]))
            yield Seen(one["InstanceType"], one["AvailabilityZone"], one["Timestamp"], price)


def _median_zone(history: Iterable[Seen], region: str) -> Iterator[Quote]:
    """What a machine costs in the median zone (of an even number, the cheaper of the two): the
    cheapest may be cheap because nobody gets a machine there."""
    newest: dict[tuple[str, str], Seen] = {}
    for seen in history:
        key = seen.machine, seen.zone
        if key not in newest or seen.at > newest[key].at:
            newest[key] = seen
    zones: dict[str, list[Decimal]] = defaultdict(list)
    for seen in newest.values():
        zones[seen.machine].append(seen.price)
    for machine, prices in zones.items():
        nan = any(price.is_nan() for price in prices)
        price = Decimal("NaN") if nan else statistics.median_low(prices)
        yield Quote(region, machine, True, price, HISTORY.id)


def _decimal(said: str) -> Decimal:
    try:
        return Decimal(said)
    except InvalidOperation:
        return Decimal("NaN")
