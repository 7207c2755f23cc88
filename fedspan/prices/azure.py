"""Azure Retail Prices: open to everybody, a meter a row, Windows and Linux told apart by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fedspan.domain.quotes import HOUR, USD, Interface, Quote, Reading, Wanted
from fedspan.errors import ProviderError
from fedspan.prices.base import Told
from fedspan.prices.regions import each
from fedspan.prices.web import Web, beside, place

ENDPOINT: Final = "https://prices.azure.com/api/retail/prices"
INTERFACE: Final = Interface(
    id="azure-retail-prices",
    title="Azure Retail Prices: pay as you go and spot",
    where=ENDPOINT,
    licence="prices that Microsoft publishes",
)
MOST_PAGES: Final = 40
"""Of one question; twenty machine types fill one or two."""

TYPES_AT_ONCE: Final = 20
UNITS: Final = {"1 Hour": HOUR}
NOT_LINUX_MACHINES: Final = ("Windows", "CloudServices", "Cloud Services", "Dedicated Host")


class AzureRetail:
    provider: Final = "azure"
    interfaces: Final = (INTERFACE,)

    def __init__(self, web: Web, endpoint: str = ENDPOINT) -> None:
        self._web = web
        self._endpoint = endpoint

    def read(self, wanted: Wanted, now: datetime, told: Told) -> Reading:
        names = [machine.name for machine in wanted.machines]
        parts = [names[i : i + TYPES_AT_ONCE] for i in range(0, len(names), TYPES_AT_ONCE)]

        def of_region(done: int, region: str) -> list[Quote]:
            quotes: list[Quote] = []
            for number, part in enumerate(parts):
                told(f"azure {region}", (done + number / len(parts)) / len(wanted.regions))
                quotes += _chosen(self._meters(region, part), region, set(part), now)
            return quotes

        quotes, failed = each(wanted.regions, of_region)
        return Reading(tuple(quotes), tuple(failed))

    def _meters(self, region: str, machines: Sequence[str]) -> Iterator[dict[str, Any]]:
        named = " or ".join(f"armSkuName eq '{name}'" for name in machines)
        question = (
            "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' "
            f"and armRegionName eq '{region}' and ({named})"
        )
        params: dict[str, str] | None = {"currencyCode": USD, "$filter": question}
        url = self._endpoint
        for _ in range(MOST_PAGES):
            page = self._web.document(url, params)
            if not isinstance(page.get("Items"), list):
                raise ProviderError(f"{place(url)}: the answer has no list of Items")
            yield from (item for item in page["Items"] if isinstance(item, dict))
            if not page.get("NextPageLink"):
                return
            url, params = beside(self._endpoint, str(page["NextPageLink"])), None
        raise ProviderError(f"{place(url)}: more than {MOST_PAGES} pages for {region}")


def _chosen(
    meters: Iterator[dict[str, Any]], region: str, machines: set[str], now: datetime
) -> Iterator[Quote]:
    """One of several meters of the same machine: a primary one, the newest in force."""
    best: dict[tuple[str, bool], tuple[tuple[bool, str], Quote]] = {}
    for meter in meters:
        quote = _quote(meter)
        if quote is None or quote.region != region or quote.machine not in machines:
            continue
        begins = str(meter.get("effectiveStartDate", ""))
        if begins > now.strftime("%Y-%m-%dT%H:%M:%SZ"):
            continue
        key, rank = (quote.machine, quote.spot), (meter.get("isPrimaryMeterRegion") is True, begins)
        if key not in best or rank > best[key][0]:
            best[key] = rank, quote
    yield from (quote for _, quote in best.values())


def _quote(meter: dict[str, Any]) -> Quote | None:
    """What a Linux machine costs by this meter, None if it is about something else."""
    product, name = str(meter.get("productName", "")), str(meter.get("meterName", ""))
    labels = f"{name} {meter.get('skuName', '')}"
    if any(word in product for word in NOT_LINUX_MACHINES) or "Low Priority" in labels:
        return None
    if meter.get("type") != "Consumption" or meter.get("tierMinimumUnits", 0) != 0:
        return None
    try:
        price = Decimal(str(meter.get("retailPrice")))
    except InvalidOperation:
        price = Decimal("NaN")
    unit = str(meter.get("unitOfMeasure"))
    return Quote(
        region=str(meter.get("armRegionName")),
        machine=str(meter.get("armSkuName")),
        spot="Spot" in labels,
        price=price,
        interface=INTERFACE.id,
        currency=str(meter.get("currencyCode")),
        unit=UNITS.get(unit, unit),
    )
