"""Participants as arrays: where they are, their links, what they measured, whom they pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedspan.domain.assumed import COMPUTE_S
from fedspan.domain.parsing import nearest, refused
from fedspan.domain.placements import Participant
from fedspan.placement import latency
from fedspan.placement.book import Book, Bools, Floats, Ints
from fedspan.placement.candidates import BITS_PER_BYTE, OCEANIA, WORLD, destination

UP_MBPS: Final = 100.0
DOWN_MBPS: Final = 100.0
"""Taken where a participant does not say; every answer names them."""


@dataclass(frozen=True, eq=False)
class Federation:
    """N participants and R regions. `up` and `down` are bytes a second, `compute` seconds a
    round; `rtt` is ms, N x R, infinite where nobody can know it; `measured` where the
    participant did; `band` within how many ms the RTT is right in 9 of 10 cases.
    `cloud` is the row of the region a participant sits in, -1 for none; `destination` an index
    of `DESTINATIONS`."""

    names: tuple[str, ...]
    up: Floats
    down: Floats
    compute: Floats
    rtt: Floats
    km: Floats
    measured: dict[tuple[int, int], float]
    cloud: Ints
    destination: Ints

    def __len__(self) -> int:
        return len(self.names)


def federation(book: Book, participants: Sequence[Participant]) -> Federation:
    """Raises `InvalidRequest` for a region nobody knows."""
    cloud, measured = _clouds(book, participants), _measured(book, participants)
    latitude, longitude = _positions(book, participants, cloud)
    placed = ~np.isnan(latitude)
    rtt, km = latency.estimated(
        book, np.where(placed, latitude, 0.0), np.where(placed, longitude, 0.0)
    )
    if not placed.all():
        rtt[np.ix_(~placed, ~np.isnan(book.regions.latitude))] = np.inf
    np.maximum(rtt, latency.LEAST_MS, out=rtt)
    for (row, region), ms in measured.items():
        rtt[row, region] = max(ms, latency.LEAST_MS)
    return Federation(
        names=tuple(one.name for one in participants),
        up=_bytes_a_second([one.up_mbps for one in participants], UP_MBPS),
        down=_bytes_a_second([one.down_mbps for one in participants], DOWN_MBPS),
        compute=_given([one.compute_s for one in participants], COMPUTE_S),
        rtt=rtt,
        km=km,
        measured=measured,
        cloud=cloud,
        destination=_destinations(book, participants, km, placed),
    )


def band_ms(book: Book, parties: Federation, row: int, region: int) -> float:
    """Within how many ms the RTT between a participant and a region is right in 9 of 10 cases."""
    measured = parties.measured.get((row, region))
    if measured is not None:
        return latency.MEASURED_BAND * measured
    if np.isnan(book.regions.latitude[region]):
        return 0.0
    return float(latency.band_ms(book, parties.km[row, region : region + 1])[0])


def _given(values: Sequence[float | None], default: float) -> Floats:
    return np.array([default if value is None else value for value in values], dtype=np.float64)


def _bytes_a_second(mbps: Sequence[float | None], default: float) -> Floats:
    return _given(mbps, default) * (1e6 / BITS_PER_BYTE)


def _clouds(book: Book, participants: Sequence[Participant]) -> Ints:
    """A name that several providers share is no region's."""
    called = {word: rows[0] for word, rows in book.regions.called.items() if len(rows) == 1}
    inside = [(one.name, one.cloud) for one in participants if one.cloud is not None]
    unknown = [(name, cloud) for name, cloud in inside if cloud not in called]
    if unknown:
        raise refused(
            unknown,
            lambda one: (
                f"participants: {one[0]} sits in no known region {one[1]!r}"
                f"{nearest(one[1], called)}"
            ),
        )
    rows = [-1 if one.cloud is None else called[one.cloud] for one in participants]
    return np.array(rows, dtype=np.int64)


def _measured(book: Book, participants: Sequence[Participant]) -> dict[tuple[int, int], float]:
    index = book.regions.index
    told = [
        (row, place, ms) for row, one in enumerate(participants) for place, ms in one.rtt_ms.items()
    ]
    unknown = [(row, place) for row, place, _ in told if place not in index]
    if unknown:
        raise refused(
            unknown,
            lambda one: (
                f"participants: {participants[one[0]].name} measured no known region "
                f"{one[1]!r}{nearest(one[1], index)}"
            ),
        )
    return {(row, index[place]): ms for row, place, ms in told}


def _positions(
    book: Book, participants: Sequence[Participant], cloud: Ints
) -> tuple[Floats, Floats]:
    """Degrees; of the cloud region where a participant gives no position, else NaN."""
    latitude = _given([one.latitude for one in participants], np.nan)
    longitude = _given([one.longitude for one in participants], np.nan)
    lent = np.isnan(latitude) & (cloud >= 0)
    latitude[lent] = book.regions.latitude[cloud[lent]]
    longitude[lent] = book.regions.longitude[cloud[lent]]
    return latitude, longitude


def _destinations(
    book: Book, participants: Sequence[Participant], km: Floats, placed: Bools
) -> Ints:
    """By country; without one, by the continent of the nearest region."""
    found = np.array([destination(one.country) for one in participants], dtype=np.int64)
    silent = np.array([not one.country for one in participants], dtype=bool) & placed
    if silent.any():
        regions = book.regions
        known = np.flatnonzero(~np.isnan(regions.latitude))
        far = np.array([regions.continent[row] == "OC" for row in known.tolist()], dtype=bool)
        near = np.argmin(km[np.ix_(silent, known)], axis=1)
        found[silent] = np.where(far[near], OCEANIA, WORLD)
    return found
