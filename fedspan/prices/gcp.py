"""Google's Cloud Billing Catalog: a price for a vCPU and one for a GiB, by machine series, of
which a machine type is the sum. The key goes in a header, never in a URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fedspan.domain.quotes import HOUR, USD, Interface, Quote, Reading, Shape, Wanted
from fedspan.errors import Denied, InvalidRequest, ProviderError
from fedspan.prices.base import Told, understood
from fedspan.prices.web import Web, place

ENDPOINT: Final = "https://cloudbilling.googleapis.com"
COMPUTE: Final = "/v1/services/6F81-5844-456A/skus"
KEY_VARIABLE: Final = "FEDSPAN_GCP_API_KEY"
INTERFACE: Final = Interface(
    id="gcp-billing-catalog",
    title="Google Cloud Billing Catalog: on demand and spot, composed of vCPU, memory and GPU",
    where=f"{ENDPOINT}{COMPUTE}",
    licence="prices that Google publishes",
)
PAGE: Final = 5000
MOST_PAGES: Final = 40
"""Compute Engine had about 33,000 SKUs in 2026: seven pages."""

SERIES: Final = {
    "Compute optimized": "c2",
    "C2D AMD": "c2d",
    "C3": "c3",
    "C3D": "c3d",
    "C4": "c4",
    "C4A Arm": "c4a",
    "E2": "e2",
    "N2": "n2",
    "N2D AMD": "n2d",
    "N4": "n4",
    "T2A Arm": "t2a",
    "T2D AMD": "t2d",
    "A2": "a2",
    "G2": "g2",
}
"""How a SKU's description names a series. Only these words and no others: reservations, custom
shapes and sole tenancy have more, and other prices."""

GPUS: Final = {"Nvidia L4": "g2", "Nvidia Tesla A100": "a2"}
SHARED_VCPUS: Final = {
    "e2-micro": Decimal("0.25"),
    "e2-small": Decimal("0.5"),
    "e2-medium": Decimal(1),
}
"""What a shared-core machine pays for; it shows two vCPUs."""

WITH_DISKS: Final = re.compile(r"^(a2-ultragpu|a3|z3)-|-lssd$")
"""Types whose price includes local disks, which the sum would miss."""

UNITS: Final = {"h": HOUR, "GiBy.h": "GiB-hour"}
PART: Final = re.compile(
    r"^(?:(?:Spot )?Preemptible )?(?P<series>.+?)(?: Instance)? (?P<part>Core|Ram)$"
)
GPU: Final = re.compile(r"^(?P<gpu>.+) GPU(?: attached to Spot Preemptible VMs)?$", re.IGNORECASE)
PARTS: Final = {"Core": HOUR, "Ram": "GiB-hour", "Gpu": HOUR}
"""What a machine type is made of, and the unit of each."""


@dataclass(frozen=True, slots=True)
class Rate:
    price: Decimal
    currency: str
    unit: str


Rates = dict[tuple[str, str, bool, str], Rate]
"""By series, part, spot and region."""


class GcpCatalog:
    provider: Final = "gcp"
    interfaces: Final = (INTERFACE,)

    def __init__(self, web: Web, key: str | None, endpoint: str = ENDPOINT) -> None:
        self._web = web
        self._key = key
        self._url = f"{endpoint}{COMPUTE}"

    def read(self, wanted: Wanted, now: datetime, told: Told) -> Reading:
        if not self._key:
            raise Denied(f"gcp: the catalog needs an API key; put one into {KEY_VARIABLE}")
        if not re.fullmatch(r"[\w-]+", self._key, re.ASCII):  # as a header it could not be sent
            raise InvalidRequest(f"{KEY_VARIABLE}: is no API key; want letters, digits, - and _")
        with understood("gcp catalog"):
            rates = self._rates(frozenset(wanted.regions), now, told)
            quotes = [
                quote
                for machine in wanted.machines
                if not WITH_DISKS.search(machine.name)
                for region in wanted.regions
                for spot in (False, True)
                for quote in _composed(machine, region, spot, rates)
            ]
        left = sorted({m.name for m in wanted.machines if WITH_DISKS.search(m.name)})
        notes = [f"gcp: {', '.join(left)} include disks, which the catalog prices apart"]
        return Reading(tuple(quotes), tuple(notes if left else ()))

    def _rates(self, regions: frozenset[str], now: datetime, told: Told) -> Rates:
        rates: Rates = {}
        for sku in self._skus(told):
            found = _kind(sku)
            rate = _rate(sku, now)
            if found is None or rate is None:
                continue
            for region in regions.intersection(_places(sku)):
                rates[(*found, region)] = rate
        return rates

    def _skus(self, told: Told) -> Iterator[dict[str, Any]]:
        params = {"currencyCode": USD, "pageSize": str(PAGE)}
        headers = {"X-Goog-Api-Key": str(self._key)}
        for number in range(MOST_PAGES):
            told("gcp catalog", number / (number + 3))  # how many there are, nobody says
            page = self._web.document(self._url, params, headers)
            if not isinstance(page.get("skus"), list):
                raise ProviderError(f"{place(self._url)}: the answer has no list of skus")
            yield from (sku for sku in page["skus"] if isinstance(sku, dict))
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = str(page["nextPageToken"])
        raise ProviderError(f"{place(self._url)}: more than {MOST_PAGES} pages")


def _places(sku: dict[str, Any]) -> list[str]:
    said = sku.get("serviceRegions", [])
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise ProviderError(f"gcp: the regions of SKU {_name(sku)} are not of the known form")
    return said


def _name(sku: dict[str, Any]) -> str:
    return str(sku.get("skuId", "without an id"))[:40]


def _kind(sku: dict[str, Any]) -> tuple[str, str, bool] | None:
    """The series, the part of a machine, and whether spot, that a SKU prices."""
    category = sku.get("category")
    usage = category.get("usageType") if isinstance(category, dict) else None
    if usage not in ("OnDemand", "Preemptible"):
        return None
    spot = usage == "Preemptible"
    what = str(sku.get("description", "")).partition(" running in ")[0]
    if found := PART.match(what):
        series = SERIES.get(found["series"])
        return (series, found["part"], spot) if series else None
    if found := GPU.match(what):
        series = {name.lower(): one for name, one in GPUS.items()}.get(found["gpu"].lower())
        return (series, "Gpu", spot) if series else None
    return None


def _rate(sku: dict[str, Any], now: datetime) -> Rate | None:
    """The newest price in force, of the last tier: an earlier one would be a free allowance."""
    until = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        prices = [one for one in sku["pricingInfo"] if str(one.get("effectiveTime", "")) <= until]
        if not prices:
            return None
        expression = max(prices, key=lambda one: str(one.get("effectiveTime", "")))[
            "pricingExpression"
        ]
        tier = max(expression["tieredRates"], key=lambda one: one.get("startUsageAmount", 0))
        money = tier["unitPrice"]
        price = Decimal(str(money.get("units") or 0)) + Decimal(money.get("nanos") or 0) / 10**9
        unit = str(expression.get("usageUnit"))
        return Rate(price, str(money.get("currencyCode")), UNITS.get(unit, unit))
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as exc:
        raise ProviderError(f"gcp: the price of SKU {_name(sku)} is not of the known form") from exc


def _composed(machine: Shape, region: str, spot: bool, rates: Rates) -> Iterator[Quote]:
    """The price of all parts; nothing where the catalog lacks one."""
    series = machine.name.partition("-")[0]
    amounts = {
        "Core": SHARED_VCPUS.get(machine.name, Decimal(machine.vcpus)),
        "Ram": Decimal(machine.memory_mib) / 1024,
        "Gpu": Decimal(machine.gpus),
    }
    needed = {part: amount for part, amount in amounts.items() if amount}
    found = {part: rates.get((series, part, spot, region)) for part in needed}
    parts = {part: rate for part, rate in found.items() if rate is not None}
    if len(parts) < len(needed):
        return
    odd_unit = next((rate.unit for part, rate in parts.items() if rate.unit != PARTS[part]), HOUR)
    odd_money = next((rate.currency for rate in parts.values() if rate.currency != USD), USD)
    price = sum((rate.price * amounts[part] for part, rate in parts.items()), Decimal(0))
    if any(not rate.price.is_finite() or rate.price <= 0 for rate in parts.values()):
        price = Decimal(0)  # the sum alone would look right
    yield Quote(region, machine.name, spot, price, INTERFACE.id, odd_money, odd_unit)
