"""Make the book of prices that ships with Fedspan from collected tables.

    python tools/make_book.py --tables DIR OUT

DIR holds regions.csv, instances.csv, spot_interruption.csv, egress.csv, latency.csv and
latency_anchor_matrix.csv, each with a header. What states no open licence is left out: other
carbon figures than Google's and codecarbon's, hand-copied Azure spot prices, latency rows but
Skyplane's and Cosmos's.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import numpy as np

from fedspan.placement.book import (
    BASES,
    EPOCH,
    LADDER,
    Anchors,
    Book,
    Egress,
    Floats,
    Ints,
    Machines,
    Prices,
    Regions,
    Source,
    Tariff,
    assumed_mbps,
    unranked,
)
from fedspan.placement.book_file import read, write

MADE = date(2026, 11, 20)
Row = dict[str, str]

APACHE, MIT, CC_BY, PUBLISHED = "Apache-2.0", "MIT", "CC-BY-4.0", "published price list"
KARPENTER_AWS = (
    "aws/karpenter-provider-aws@1d927085 pkg/providers/pricing/zz_generated.pricing_aws.go"
)
LIBCLOUD = "apache/libcloud 3.9.1 libcloud/data/pricing.json (compute.ec2_linux)"
CORTEX = "cortexlabs/cortex@dc48c02e pkg/lib/aws/resource_metadata.go"
SPOT_ADVISOR = "alexei-led/spotinfo@05e93313 internal/spot/data/spot-advisor-data.json"
AWS_TRANSFER = "skyplane-project/skyplane@4602d9ce skyplane/data/aws_transfer_costs.csv"
AZURE_TRANSFER = "skyplane-project/skyplane@4602d9ce skyplane/compute/azure/azure_cloud_provider.py"
GCP_TRANSFER = "skyplane-project/skyplane@11e38021 profiles/cost.csv"
CODECARBON = "mlco2/codecarbon codecarbon/data/private_infra/global_energy_mix.json"

SOURCES = (
    Source("aws-list", "AWS list prices, us-east-1", KARPENTER_AWS, date(2026, 7, 20), APACHE),
    Source("aws-libcloud", "AWS list prices by region", LIBCLOUD, date(2025, 3, 2), APACHE),
    Source(
        "aws-by-libcloud",
        "AWS: us-east-1 list price x the family's multiplier of the region",
        f"{KARPENTER_AWS}; {LIBCLOUD}",
        date(2025, 3, 2),
        APACHE,
    ),
    Source(
        "aws-by-cortex",
        "AWS: us-east-1 list price x the family's multiplier of the region, older families",
        f"{KARPENTER_AWS}; {CORTEX}",
        date(2022, 9, 3),
        APACHE,
    ),
    Source(
        "aws-by-parity",
        "AWS: us-east-1 list price, as other families cost the same in this region",
        KARPENTER_AWS,
        date(2026, 7, 20),
        APACHE,
    ),
    Source(
        "aws-by-sibling",
        "AWS: us-east-1 list price x the region's multiplier of a related family",
        f"{KARPENTER_AWS}; {LIBCLOUD}; {CORTEX}",
        date(2022, 9, 3),
        APACHE,
    ),
    Source(
        "aws-spot",
        "AWS spot: on-demand price x (1 - savings by Spot Advisor)",
        SPOT_ADVISOR,
        date(2025, 6, 28),
        APACHE,
    ),
    Source(
        "gcp-list",
        "GCP list prices, on demand and spot",
        "cloudpilot-ai/karpenter-provider-gcp@417f047b pkg/providers/pricing/initial-prices.json; "
        "Cyclenerd/google-cloud-pricing-cost-calculator@dac31281 tools/machinetypes.csv",
        date(2026, 8, 3),
        APACHE,
    ),
    Source(
        "azure-list",
        "Azure list prices, Linux",
        "Azure/karpenter-provider-azure@352646f5 pkg/providers/pricing/zz_generated.pricing.go",
        date(2026, 6, 18),
        APACHE,
    ),
    Source(
        "gcp-carbon",
        "Grid intensity of Google's regions, 2024",
        "GoogleCloudPlatform/region-carbon-info@49f3f26b data/yearly/2024.csv",
        date(2024, 12, 31),
        APACHE,
    ),
    Source(
        "country-2023",
        "Average grid intensity of the country, 2023",
        CODECARBON.replace(" ", "@b05965e4 "),
        date(2023, 12, 31),
        MIT,
    ),
    Source(
        "country-2022",
        "Average grid intensity of the country, 2022",
        CODECARBON.replace(" ", "@b05965e4 "),
        date(2022, 12, 31),
        MIT,
    ),
    Source(
        "country-2021",
        "Average grid intensity of the country, 2021",
        CODECARBON.replace(" ", "@0963f175 "),
        date(2021, 12, 31),
        MIT,
    ),
    Source(
        "aws-egress",
        "AWS to the internet: first price of the region",
        AWS_TRANSFER,
        date(2022, 12, 1),
        APACHE,
    ),
    Source(
        "aws-egress-tiers",
        "AWS to the internet: first price of the region, with the steps of us-east-1",
        f"{AWS_TRANSFER}; skypilot-org/skypilot sky/clouds/aws.py",
        date(2022, 12, 1),
        APACHE,
    ),
    Source(
        "aws-egress-sibling",
        "AWS to the internet, unverified: as in the nearest region of the same area",
        AWS_TRANSFER,
        date(2022, 12, 1),
        APACHE,
    ),
    Source(
        "gcp-egress-premium",
        "GCP to the internet, Premium tier: first step by Google's page, the others second-hand",
        "cloud.google.com/vpc/network-pricing; skypilot-org/skypilot sky/clouds/gcp.py",
        date(2026, 4, 1),
        APACHE,
    ),
    Source(
        "gcp-egress-standard",
        "GCP to the internet, Standard tier from North America and Europe: prices and the free "
        "200 GiB second-hand, unverified",
        "cloud.google.com/vpc/network-pricing; "
        "docs.cloud.google.com/network-tiers/docs/set-network-tier",
        date(2026, 1, 1),
        PUBLISHED,
    ),
    Source(
        "azure-egress",
        "Azure to the internet, North America and Europe",
        f"{AZURE_TRANSFER}; skypilot-org/skypilot sky/clouds/azure.py",
        date(2022, 12, 1),
        APACHE,
    ),
    Source(
        "azure-egress-far",
        "Azure to the internet, elsewhere: first step cited, the others unverified",
        f"{AZURE_TRANSFER}; azure.microsoft.com/pricing/details/bandwidth",
        date(2022, 12, 1),
        APACHE,
    ),
    Source("aws-between", "AWS between regions", AWS_TRANSFER, date(2022, 12, 1), APACHE),
    Source("gcp-between", "GCP between regions", GCP_TRANSFER, date(2022, 5, 10), APACHE),
    Source("azure-between", "Azure between regions", AZURE_TRANSFER, date(2023, 1, 1), APACHE),
    Source(
        "aws-address",
        "AWS public IPv4 address",
        "aws.amazon.com/vpc/pricing",
        date(2026, 1, 1),
        PUBLISHED,
    ),
    Source(
        "gcp-address",
        "GCP external IPv4 address, half of it on Spot VMs; second-hand",
        "cloud.google.com/vpc/network-pricing",
        date(2026, 10, 16),
        PUBLISHED,
    ),
    Source(
        "azure-address",
        "Azure Standard public IPv4 address, second-hand",
        "azure.microsoft.com/pricing/details/ip-addresses",
        date(2026, 1, 1),
        PUBLISHED,
    ),
    Source(
        "aws-nic",
        "AWS: sustained network rate of a machine type",
        "aws/karpenter-provider-aws@1d927085 pkg/providers/instancetype/zz_generated.bandwidth.go",
        date(2026, 7, 20),
        APACHE,
    ),
    Source(
        "gcp-nic",
        "GCP: what a machine type sends at most, and no more than 7 Gbit/s to outside its network",
        "cloud.google.com/compute/docs/network-bandwidth; "
        "Cyclenerd/google-cloud-compute-machine-types@2bd914df instances/series",
        date(2025, 1, 1),
        APACHE,
    ),
    Source(
        "azure-nic",
        "Azure: expected network bandwidth of a size, an upper limit",
        "MicrosoftDocs/azure-compute-docs@2072bfd7 articles/virtual-machines/sizes",
        date(2024, 7, 29),
        CC_BY,
    ),
    Source(
        "skyplane",
        "Round-trip times between 69 regions of AWS, Azure and GCP",
        "skyplane-project/skyplane@0f1c893b profiles/latency.csv; slopes also from "
        "Azure/azure-cosmos-dotnet-v3@1bc2c522 RegionProximityUtil.cs (MIT)",
        date(2022, 4, 16),
        APACHE,
    ),
)

OPEN_COUNTRIES_2021 = {
    "AT": 147.573,
    "BH": 489.77,
    "ES": 193.863,
    "IE": 363.608,
    "IT": 340.794,
    "NL": 388.702,
    "NZ": 132.427,
    "PL": 660.122,
    "SG": 487.937,
}
"""Of countries for which the tables have no open figure, from codecarbon at 0963f175 (2021)."""

GCP_OUTSIDE_MBPS = 7_000.0
"""What a machine of Google sends at most to addresses outside its network."""
GCP_SERIES = frozenset(["a2", "a3", "c3", "c4", "c4a", "e2", "g2", "n2", "n2d", "n4", "t2a", "t2d"])
"""Series whose every type may send as much as that (10 Gbit/s or more to the inside), but those of
`GCP_SLOWER`. That e2-medium is shared is in its own figure."""
GCP_SLOWER = {
    "e2-medium": 2_000.0,
    "e2-highcpu-2": 4_000.0,
    "e2-highmem-2": 4_000.0,
    "e2-standard-2": 4_000.0,
}

AZURE_SIZES = (2, 4, 8, 16)
AZURE_MBPS = {
    "B?as_v2": (6_250, 6_250, 6_250, 6_250),
    "B?s_v2": (6_250, 6_250, 6_250, 6_250),
    "D?as_v5": (12_500, 12_500, 12_500, 12_500),
    "D?as_v6": (12_500, 12_500, 12_500, 16_000),
    "D?ps_v5": (12_500, 12_500, 12_500, 12_500),
    "D?ps_v6": (12_500, 12_500, 15_000, 15_000),
    "D?s_v4": (5_000, 10_000, 12_500, 12_500),
    "D?s_v5": (12_500, 12_500, 12_500, 12_500),
    "D?s_v6": (12_500, 12_500, 12_500, 12_500),
    "E?as_v5": (12_500, 12_500, 12_500, 12_500),
    "E?as_v6": (12_500, 12_500, 12_500, 16_000),
    "E?ps_v5": (12_500, 12_500, 12_500, 12_500),
    "E?ps_v6": (12_500, 12_500, 15_000, 15_000),
    "E?s_v4": (5_000, 10_000, 12_500, 12_500),
    "E?s_v5": (12_500, 12_500, 12_500, 12_500),
    "E?s_v6": (12_500, 12_500, 12_500, 12_500),
    "F?s_v2": (5_000, 10_000, 12_500, 12_500),
}
"""By series and vCPUs (`AZURE_SIZES`). Of the first B-series Azure documents none."""
AZURE_GPU_MBPS = {
    "NC4as_T4_v3": 8_000,
    "NC8as_T4_v3": 8_000,
    "NC16as_T4_v3": 8_000,
    "NC64as_T4_v3": 32_000,
    "NC24ads_A100_v4": 20_000,
    "NC48ads_A100_v4": 40_000,
    "NC96ads_A100_v4": 80_000,
    "NC40ads_H100_v5": 40_000,
    "NC80adis_H100_v5": 80_000,
    "ND96asr_v4": 24_000,
    "ND96isr_H100_v5": 80_000,
    "NV36ads_A10_v5": 40_000,
}

GCP_STANDARD = frozenset(["NA", "EU"])
"""Continents whose regions offer Standard tier at the price cited: Google bills it by where traffic
comes from, and of the others no price was found that can be cited."""

GIB, GB = 2**30, 10**9
"""GCP prices GiB and says so. AWS and Azure print GB; the decimal reading is the dearer one, so a
bill is at most 7 % below what we say."""

INTERCEPT_MS, REACH_KM, SHRINKAGE = 3.0, 300.0, 0.05
NEAR_KM = 100.0
"""Anchors closer than this say nothing about ms per km: their RTT is equipment, not distance."""
FIBRE_MS = 10.0
"""A round trip over 1,000 km of straight fibre. Medians below it are of a few short pairs, whose
RTT is less than the intercept."""
BAND_KM = (500, 1500, 3000, 6000, 10000, 21000)


def table(folder: Path, name: str) -> list[Row]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def micro(usd: str) -> int:
    return round(float(usd) * 1_000_000)


# Regions and machines


def carbon(rows: list[Row]) -> Iterator[tuple[float, str]]:
    """Of each region, by Google's own figure or else the average of its country."""
    average = {
        row["country_iso2"]: (
            float(row["grid_gco2_per_kwh"]),
            f"country-{row['carbon_source'][16:20]}",
        )
        for row in rows
        if row["carbon_source"].startswith("country average")
    }
    for row in rows:
        country = row["country_iso2"]
        if row["carbon_source"].startswith("GoogleCloudPlatform/region-carbon-info"):
            yield float(row["grid_gco2_per_kwh"]), "gcp-carbon"
        elif country in average:
            yield average[country]
        elif country in OPEN_COUNTRIES_2021:
            yield OPEN_COUNTRIES_2021[country], "country-2021"
        else:
            yield np.nan, ""


def regions_of(rows: list[Row]) -> Regions:
    gco2, sources = zip(*carbon(rows), strict=True)
    return Regions(
        provider=tuple(row["provider"] for row in rows),
        name=tuple(row["region"] for row in rows),
        city=tuple(row["city"] for row in rows),
        country=tuple(row["country_iso2"] for row in rows),
        continent=tuple(row["continent"] for row in rows),
        eu=np.array([row["eu_member"] == "1" for row in rows]),
        eea=np.array([row["eea"] == "1" for row in rows]),
        latitude=np.array([float(row["latitude"]) for row in rows]),
        longitude=np.array([float(row["longitude"]) for row in rows]),
        gco2=np.array(gco2),
        gco2_source=sources,
    )


def machines_of(instances: list[Row]) -> Machines:
    rows = {(row["provider"], row["instance_type"]): row for row in instances}
    order = {provider: number for number, provider in enumerate(dict.fromkeys(p for p, _ in rows))}
    types = [rows[key] for key in sorted(rows, key=lambda it: (order[it[0]], it[1]))]
    stated = [documented_mbps(row) for row in types]
    return Machines(
        provider=tuple(row["provider"] for row in types),
        name=tuple(row["instance_type"] for row in types),
        arch=tuple(row["arch"] for row in types),
        vcpus=np.array([int(row["vcpus"]) for row in types]),
        memory_mib=np.array([round(float(row["memory_gib"]) * 1024) for row in types]),
        gpu=tuple(row["gpu"] for row in types),
        gpus=np.array([int(row["gpu_count"]) for row in types]),
        nic_mbps=np.array(
            [
                mbps or assumed_mbps(int(row["vcpus"]))
                for mbps, row in zip(stated, types, strict=True)
            ]
        ),
        nic_assumed=np.array([mbps is None for mbps in stated]),
    )


def documented_mbps(row: Row) -> float | None:
    """What the provider says the network of a machine type sends."""
    name, vcpus = row["instance_type"], int(row["vcpus"])
    match row["provider"]:
        case "gcp" if name.partition("-")[0] in GCP_SERIES:
            return GCP_SLOWER.get(name, GCP_OUTSIDE_MBPS)
        case "azure":
            size = name.removeprefix("Standard_")
            by_size = AZURE_MBPS.get(re.sub(r"\d+", "?", size, count=1))
            if by_size and vcpus in AZURE_SIZES:
                return by_size[AZURE_SIZES.index(vcpus)]
            return AZURE_GPU_MBPS.get(size)
        case _:
            return float(row["net_mbps_baseline"] or 0) or None


# Prices


def basis_of(said: str) -> str:
    for basis, start in (("list", "list"), ("estimate", "estimate"), ("derived", "derived")):
        if said.startswith(start):
            return basis
    if said.startswith("od x (1 -"):
        return "derived"
    raise SystemExit(f"a price of unknown basis: {said!r}")


def on_demand_source(row: Row) -> str:
    """The oldest ingredient decides: where it is not told which table a multiplier is from, the
    older one is taken."""
    if row["provider"] != "aws":
        return f"{row['provider']}-list"
    said = row["od_basis"]
    for mark, source in (
        ("list (libcloud", "aws-libcloud"),
        ("list (karpenter", "aws-list"),
        ("(libcloud)", "aws-by-libcloud"),
        ("(cortex-2022)", "aws-by-cortex"),
        ("(us-parity)", "aws-by-parity"),
        ("estimate", "aws-by-sibling"),
    ):
        if mark in said:
            return source
    raise SystemExit(f"an AWS price of unknown origin: {said!r}")


def offers_of(
    instances: list[Row], buckets: dict[tuple[str, str], int]
) -> Iterator[tuple[Row, bool, int, str, float, str]]:
    """(row, spot, price, basis, interruptions, source)."""
    for row in instances:
        basis = basis_of(row["od_basis"])
        yield row, False, micro(row["on_demand_usd_hour"]), basis, 0.0, on_demand_source(row)
        if not row["spot_usd_hour"] or row["spot_basis"].startswith("sample"):
            continue
        provider = row["provider"]
        bucket = buckets.get((row["region"], row["instance_type"])) if provider == "aws" else None
        rate = unranked(provider) if bucket is None else LADDER[bucket]
        # What is a share of a guess is a guess.
        spot_basis = "estimate" if basis == "estimate" else basis_of(row["spot_basis"])
        source = "aws-spot" if provider == "aws" else f"{provider}-list"
        yield row, True, micro(row["spot_usd_hour"]), spot_basis, rate, source


def prices_of(
    instances: list[Row], advisor: list[Row], regions: Regions, machines: Machines
) -> Prices:
    buckets = {
        (row["region"], row["instance_type"]): int(row["interruption_bucket"])
        for row in advisor
        if row["os"] == "Linux" and row["interruption_bucket"]
    }
    dated = {source.id: (source.dated - EPOCH).days for source in SOURCES}
    types = {
        pair: row for row, pair in enumerate(zip(machines.provider, machines.name, strict=True))
    }
    offers = sorted(
        (
            machines.provider.index(row["provider"]),
            spot,
            regions.index[f"{row['provider']}:{row['region']}"],
            types[row["provider"], row["instance_type"]],
            price,
            BASES.index(basis),
            rate,
            source,
        )
        for row, spot, price, basis, rate, source in offers_of(instances, buckets)
    )
    _, spot, region, machine, price, basis, rate, source = zip(*offers, strict=True)
    return Prices(
        region=np.array(region),
        machine=np.array(machine),
        spot=np.array(spot),
        price=np.array(price),
        basis=np.array(basis),
        dated=np.array([dated[it] for it in source]),
        interruptions=np.array(rate),
        source=source,
    )


# Egress


def tariff_of(steps: Iterable[tuple[float, int]], free: float, unit: int, source: str) -> Tariff:
    """`steps` are (from, price); what is free comes first, at 0."""
    kept: list[tuple[float, int]] = [(0.0, 0)]
    for start, price in steps:
        begins = max(start, free)
        if begins == kept[-1][0]:
            kept.pop()
        kept.append((begins, price))
    starts, prices = zip(*kept, strict=True)
    return Tariff(starts, prices, unit, source)


def steps_of(rows: list[Row]) -> list[tuple[float, int]]:
    return sorted((float(row["tier_from_gb"]), micro(row["usd_per_gb"])) for row in rows)


def aws_tariff(rows: list[Row]) -> Tariff:
    if rows[0]["confidence"] == "assumed":
        source, kept = "aws-egress-sibling", rows
    else:
        # Later steps of Sydney are from a page without a licence: its first price holds for all.
        kept = [row for row in rows if "chengqing" not in row["source"]]
        source = "aws-egress-tiers" if len(kept) > 1 else "aws-egress"
    return tariff_of(steps_of(kept), float(rows[0]["free_gb_month"]), GB, source)


def internet_of(
    rows: list[Row], regions: Regions
) -> tuple[tuple[Tariff, ...], dict[tuple[int, str, str], int]]:
    by_scope: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["traffic"].startswith("internet_out"):
            by_scope[row["provider"], row["scope"]].append(row)
    tariffs: dict[Tariff, int] = {}
    internet: dict[tuple[int, str, str], int] = {}
    for (provider, scope), steps in by_scope.items():
        for number, tier, destination, tariff in placed(provider, scope, steps, regions):
            internet[number, tier, destination] = tariffs.setdefault(tariff, len(tariffs))
    return tuple(tariffs), internet


def placed(
    provider: str, scope: str, steps: list[Row], regions: Regions
) -> Iterator[tuple[int, str, str, Tariff]]:
    """Where a tariff holds: (region row, tier, destination, tariff)."""
    if provider == "aws":
        region = regions.index[f"aws:{scope.removeprefix('region:')}"]
        yield region, "", "world", aws_tariff(steps)
        return
    free = float(steps[0]["free_gb_month"])
    if provider == "azure":
        far = "Zone 1" not in scope
        source = "azure-egress-far" if far else "azure-egress"
        tariff = tariff_of(steps_of(steps), free, GB, source)
        for number in rows_of(regions, "azure"):
            if azure_zone(regions.continent[number]) in scope:
                yield number, "", "world", tariff
        return
    standard = "Standard" in steps[0]["traffic"]
    source = "gcp-egress-standard" if standard else "gcp-egress-premium"
    tariff = tariff_of(steps_of(steps), free, GIB, source)
    destination = "oceania" if "Oceania" in scope else "china" if "-> China" in scope else "world"
    for number in rows_of(regions, "gcp"):
        if not standard:
            yield number, "premium", destination, tariff
        elif regions.continent[number] in GCP_STANDARD:
            yield number, "standard", destination, tariff


def rows_of(regions: Regions, provider: str) -> list[int]:
    return [row for row, its in enumerate(regions.provider) if its == provider]


def azure_zone(continent: str) -> str:
    return {"NA": "Zone 1", "EU": "Zone 1", "SA": "Zone 3"}.get(continent, "Zone 2")


def between_of(rows: list[Row], regions: Regions) -> Ints:
    """Within a region nothing: the tables have GCP's at 0, and no figure for AWS (which takes
    0.01 between zones, none within one) or Azure. Regions the tables lack get the most common
    price of their source, or of all their provider's."""
    between = np.full((len(regions), len(regions)), -1, np.int64)
    said: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["traffic"] == "inter_region" and row["provider"] != "azure":
            pair = [f"{row['provider']}:{name}" for name in row["scope"].split("->")]
            # Google's price is of a GiB, the book's of a GB.
            share = GB / GIB if row["provider"] == "gcp" else 1.0
            said[pair[0], pair[1]] = round(micro(row["usd_per_gb"]) * share)
    places = list(regions.index)
    for provider in ("aws", "gcp"):
        own = {pair: price for pair, price in said.items() if pair[0].startswith(provider)}
        usual = Counter(price for pair, price in own.items() if price)
        for a in rows_of(regions, provider):
            mine = Counter(price for pair, price in own.items() if pair[0] == places[a] and price)
            fill = (mine or usual).most_common(1)[0][0]
            for b in rows_of(regions, provider):
                between[a, b] = 0 if a == b else own.get((places[a], places[b]), fill)
    azure = {row["scope"]: micro(row["usd_per_gb"]) for row in rows if is_azure_pair(row)}
    for a in rows_of(regions, "azure"):
        for b in rows_of(regions, "azure"):
            between[a, b] = 0 if a == b else azure_price(azure, regions, a, b)
    return between


def is_azure_pair(row: Row) -> bool:
    return row["provider"] == "azure" and row["traffic"] == "inter_region"


def azure_price(prices: dict[str, int], regions: Regions, a: int, b: int) -> int:
    source, target = regions.continent[a], regions.continent[b]
    area = source if source in ("NA", "EU", "SA") else "AS|OC|ME|AF"
    same = "same" if area not in ("NA", "EU", "SA") else source
    return prices[f"{area}->{same}" if source == target else f"{area}->other"]


def egress_of(rows: list[Row], regions: Regions) -> Egress:
    tariffs, internet = internet_of(rows, regions)
    providers = ("aws", "gcp", "azure")
    kinds = ("between", "address", "nic")
    sources = {f"{kind}:{it}": f"{it}-{kind}" for kind in kinds for it in providers}
    return Egress(
        tariffs=tariffs,
        tiers={"aws": ("",), "gcp": ("premium", "standard"), "azure": ("",)},
        internet=internet,
        between=between_of(rows, regions),
        between_unit=GB,
        address={**dict.fromkeys(providers, 5000), "gcp:spot": 2500},
        sources={**sources, "address:gcp:spot": "gcp-address"},
    )


# Round-trip times


def distances(latitude: Floats, longitude: Floats) -> Floats:
    """Great-circle km between all pairs."""
    north, east = np.radians(latitude), np.radians(longitude)
    chord = (
        np.sin((north[:, None] - north) / 2) ** 2
        + np.cos(north[:, None]) * np.cos(north) * np.sin((east[:, None] - east) / 2) ** 2
    )
    return np.asarray(2 * 6371.0088 * np.arcsin(np.sqrt(np.clip(chord, 0, 1))), np.float64)


def pair_name(a: str, b: str) -> str:
    return "-".join(sorted((a, b)))


def slopes_of(rows: list[Row], regions: Regions) -> dict[str, float]:
    """Median ms per 1,000 km by pair of continents, of open measurements over the default
    network."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        skyplane = row["source"].startswith("skyplane-project/") and row["stat"] == "ping avg PP"
        cosmos = row["source"].startswith("Azure/azure-cosmos-dotnet-v3")
        if row["flag"] or not (skyplane or cosmos) or float(row["gc_km"]) < NEAR_KM:
            continue
        ends = (f"{row[f'{end}_provider']}:{row[end]}" for end in ("src", "dst"))
        pair = pair_name(*(regions.continent[regions.index[end]] for end in ends))
        slope = (float(row["rtt_ms"]) - INTERCEPT_MS) / float(row["gc_km"]) * 1000
        found[pair].append(slope)
        found["*"].append(slope)
    return {pair: max(FIBRE_MS, round(float(np.median(found[pair])), 3)) for pair in sorted(found)}


def matrix_of(rows: list[Row]) -> tuple[list[str], Floats]:
    """RTT in ms, the mean of both directions where both were measured."""
    names = [row[""] for row in rows]
    ms = np.array([[float(row[name] or "nan") for name in names] for row in rows])
    np.fill_diagonal(ms, np.nan)
    other = ms.T
    both = (ms + other) / 2
    mean = np.where(np.isnan(ms), other, np.where(np.isnan(other), ms, both))
    return names, np.round(mean, 2).astype(np.float64)


def left_out(km: Floats, ms: Floats, prior: Floats) -> Floats:
    """What the anchor model says of each pair when its two anchors are not there: the measured
    detours (ms per km) of pairs with ends near both, shrunk to `prior`."""
    usable = ~np.isnan(ms) & (km >= NEAR_KM)
    detour = np.zeros_like(km)
    detour[usable] = (ms[usable] - INTERCEPT_MS) / km[usable]
    near = np.exp(-km / REACH_KM)
    np.fill_diagonal(near, 0)

    def weighed(values: Floats) -> Floats:
        """Sum over i, j other than a and b of near[a, i] * values[i, j] * near[b, j]."""
        onward = values @ near  # near is symmetric: sum over j of values[i, j] * near[j, b]
        through_other_end = near * onward.diagonal()[None, :]
        both = near @ onward
        return both - through_other_end - through_other_end.T + near * near * values

    weights, sums = weighed(usable.astype(float)), weighed(detour)
    return INTERCEPT_MS + km * (SHRINKAGE * prior + sums) / (SHRINKAGE + weights)


def anchors_of(matrix: list[Row], latency: list[Row], regions: Regions) -> Anchors:
    names, ms = matrix_of(matrix)
    rows = [regions.index[name] for name in names]
    latitude, longitude = regions.latitude[rows], regions.longitude[rows]
    slopes = slopes_of(latency, regions)
    lands = [regions.continent[row] for row in rows]
    prior = np.array([[slopes.get(pair_name(a, b), slopes["*"]) for a in lands] for b in lands])
    km = distances(latitude, longitude)
    pairs = np.triu_indices(len(names), 1)
    said, true, far = left_out(km, ms, prior / 1000)[pairs], ms[pairs], km[pairs]
    error = np.abs(said - true)
    known = ~np.isnan(error)
    bands = np.searchsorted(BAND_KM, far)
    band_ms = [
        round(float(np.percentile(error[known & (bands == band)], 90)), 1)
        for band in range(len(BAND_KM))
    ]
    report("anchor model, left out one by one", error[known], far[known])
    return Anchors(
        name=tuple(names),
        latitude=latitude,
        longitude=longitude,
        rtt_ms=ms,
        slopes=slopes,
        band_km=np.array(BAND_KM, float),
        band_ms=np.array(band_ms),
        source="skyplane",
    )


def report(what: str, error: Floats, km: Floats) -> None:
    p50, p90 = np.percentile(error, (50, 90))
    print(f"{what}: {len(error)} pairs, error p50 {p50:.1f} ms, p90 {p90:.1f} ms", file=sys.stderr)
    bands = np.searchsorted(BAND_KM, km)
    for band, limit in enumerate(BAND_KM):
        mine = error[bands == band]
        p50, p90 = np.percentile(mine, (50, 90))
        print(f"  to {limit} km: {len(mine)} pairs, {p50:.1f} / {p90:.1f} ms", file=sys.stderr)


def book_of(folder: Path) -> Book:
    regions = regions_of(table(folder, "regions.csv"))
    instances = table(folder, "instances.csv")
    machines = machines_of(instances)
    return Book(
        made=MADE,
        sources={source.id: source for source in SOURCES},
        regions=regions,
        machines=machines,
        prices=prices_of(instances, table(folder, "spot_interruption.csv"), regions, machines),
        egress=egress_of(table(folder, "egress.csv"), regions),
        anchors=anchors_of(
            table(folder, "latency_anchor_matrix.csv"), table(folder, "latency.csv"), regions
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, required=True, help="the folder of tables")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    data = write(book_of(args.tables))
    book = read(data)
    args.out.write_bytes(data)
    print(
        f"{args.out}: {len(data):,} bytes, {len(book.regions)} regions, "
        f"{len(book.machines)} machine types, {len(book.prices):,} prices, book {book.id}"
    )


if __name__ == "__main__":
    main()
