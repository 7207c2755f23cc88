"""Round-trip times between participants and regions: measured, else estimated.

The anchor model (PLACEMENT notes in docs/decisions.md): traffic between two places takes a detour
much like that of measured pairs of places near them. The detour is ms per km; the weight of a
measured pair falls with the distance of its ends to ours, and where nothing is near, the typical
detour between the two continents counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from fedspan.placement.book import Book, Floats, Ints

EARTH_KM: Final = 6371.0
INTERCEPT_MS: Final = 3.0
NEAR_KM: Final = 300.0
"""At this distance an anchor's weight has fallen to 1/e."""
SHRINK: Final = 0.05
LEAST_PAIR_KM: Final = 100.0
"""Closer anchors say nothing of the detour: the intercept is most of their RTT."""
LEAST_MS: Final = 0.5
"""Nothing is nearer than this, not even the same building."""
BLOCK: Final = 512
"""Participants at a time: what they need fits a processor's cache."""
MEASURED_BAND: Final = 0.1
"""Share by which a measured RTT is taken to vary, in 9 of 10 cases."""


@dataclass(frozen=True, eq=False)
class _Model:
    """What the model needs of a book, for regions in columns: their position (0 where they have
    none), the rows that have one (`placed`) and that have not (`here`), the sums over the anchors
    at the region's end, and `SHRINK` times ms per km from each region's continent (a row each)."""

    latitude: Floats
    longitude: Floats
    placed: Ints
    here: Ints
    detour: Floats
    weight: Floats
    slope: Floats


def great_circle_km(latitude: Floats, longitude: Floats, to_lat: Floats, to_lon: Floats) -> Floats:
    """Kilometres between points in degrees, by the haversine formula on a sphere of 6,371 km."""
    lat, lon, lat2, lon2 = (np.radians(one) for one in (latitude, longitude, to_lat, to_lon))
    half = (
        np.sin((lat2 - lat) / 2) ** 2 + np.cos(lat) * np.cos(lat2) * np.sin((lon2 - lon) / 2) ** 2
    )
    arc: Floats = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    return arc


def distances(latitude: Floats, longitude: Floats, to_lat: Floats, to_lon: Floats) -> Floats:
    """Kilometres from each of N points to each of K, N x K: by the angle between unit vectors,
    which is fast, and near to each other by the haversine formula, which is exact there."""
    cosine = unit_vectors(latitude, longitude) @ unit_vectors(to_lat, to_lon).T
    near = np.nonzero(cosine > 0.9999)
    np.clip(cosine, -1.0, 1.0, out=cosine)
    km = np.arccos(cosine, out=cosine)
    km *= EARTH_KM
    row, column = near
    km[near] = great_circle_km(latitude[row], longitude[row], to_lat[column], to_lon[column])
    return km


def unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


@lru_cache(maxsize=4)
def _model(book: Book) -> _Model:
    anchors, regions = book.anchors, book.regions
    placed = ~np.isnan(regions.latitude)
    lat, lon = np.where(placed, regions.latitude, 0.0), np.where(placed, regions.longitude, 0.0)
    apart = distances(anchors.latitude, anchors.longitude, anchors.latitude, anchors.longitude)
    known = ~np.isnan(anchors.rtt_ms) & (apart >= LEAST_PAIR_KM)
    np.fill_diagonal(known, False)
    pairs = np.where(known, (anchors.rtt_ms - INTERCEPT_MS) / np.where(known, apart, 1.0), 0.0)
    ends = np.exp(distances(anchors.latitude, anchors.longitude, lat, lon) / -NEAR_KM)
    return _Model(
        latitude=lat,
        longitude=lon,
        placed=np.flatnonzero(placed),
        here=np.flatnonzero(~placed),
        detour=pairs @ ends,
        weight=known.astype(np.float64) @ ends,
        slope=SHRINK * _slopes(book),
    )


def _slopes(book: Book) -> Floats:
    known = book.anchors.slopes
    continents, which = np.unique(book.regions.continent, return_inverse=True)
    pairs = [["-".join(sorted((row, column))) for column in continents] for row in continents]
    table = np.array([[known.get(pair, known["*"]) / 1000 for pair in row] for row in pairs])
    return np.asarray(table[np.ix_(which, which)], np.float64)


def estimated(book: Book, latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    """RTT in ms by the anchor model from N points to the R regions, and the distance in km, both
    N x R. A region without a position is this computer: 0 km, the least RTT."""
    rtt = np.empty((len(latitude), len(book.regions)))
    km = np.empty_like(rtt)
    for start in range(0, len(latitude), BLOCK):
        block = slice(start, start + BLOCK)
        rtt[block], km[block] = _estimated(book, latitude[block], longitude[block])
    return rtt, km


def _estimated(book: Book, latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    model, anchors = _model(book), book.anchors
    km = distances(latitude, longitude, model.latitude, model.longitude)
    ends = distances(latitude, longitude, anchors.latitude, anchors.longitude)
    ends /= -NEAR_KM
    np.exp(ends, out=ends)
    nearest = model.placed[np.argmin(km[:, model.placed], axis=1)]
    slope = ends @ model.detour
    slope += model.slope[nearest]
    weight = ends @ model.weight
    weight += SHRINK
    slope /= weight
    slope *= km
    slope += INTERCEPT_MS
    slope[:, model.here] = LEAST_MS
    km[:, model.here] = 0.0
    return slope, km


def band_ms(book: Book, km: Floats) -> Floats:
    """Within how many ms an estimate over `km` is right in 9 of 10 cases."""
    anchors = book.anchors
    row = np.searchsorted(anchors.band_km, km)
    return anchors.band_ms[np.minimum(row, len(anchors.band_ms) - 1)]
