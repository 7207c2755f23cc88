"""How far a site is from the clouds' regions: what is asked of it, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from fedspan.domain.sites import SiteKind
from fedspan.domain.spec import Milliseconds, Positive
from fedspan.domain.texts import MAX_CHARACTERS, brief
from fedspan.domain.values import Instant, Message, Name, Value

MOST_REGIONS: Final = 200
"""In one request: more than there are."""

NEAREST: Final = 12

MOST_CONNECTS: Final = 1_000

LIGHT_KM_PER_MS: Final = 299.792458

Region = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,15}:[a-z0-9-]{1,40}$")]
"""``provider:name``. It becomes part of a host name, so nothing else is let in."""


class Question(Value):
    """Which regions to measure: `regions`, or the `nearest` ones when none is named."""

    regions: tuple[str, ...] = Field(default=(), max_length=MOST_REGIONS)
    nearest: PositiveInt = Field(default=NEAREST, le=MOST_REGIONS)


class Asked(Value):
    """What a site shall measure. It stays asked until it is answered."""

    id: str
    at: Instant
    regions: tuple[Region, ...] = Field(min_length=1, max_length=MOST_REGIONS)


class Place(Value):
    """A region to be measured, and what is known without: `km` along the globe, and the RTT that
    is estimated from it, right within `band_ms` in 9 of 10 cases. Null: the site has no position.
    """

    region: Region
    city: str
    country: str
    km: NonNegativeFloat | None = None
    estimate_ms: NonNegativeFloat | None = None
    band_ms: NonNegativeFloat | None = None


class Plan(Value):
    """What will be measured, and who does: of kind local this computer, else the site's agent."""

    kind: SiteKind
    asked: Asked
    places: tuple[Place, ...]


def _cut(error: object) -> object:
    return error[:MAX_CHARACTERS] if isinstance(error, str) else error


class Probed(Message):
    """TCP connect times to a region's endpoint, or the reason why there are none: no more than
    the beginning is kept. `answered` is how many connects the times are of."""

    region: Region
    median_ms: Milliseconds | None = None
    min_ms: Milliseconds | None = None
    answered: NonNegativeInt = Field(default=0, le=MOST_CONNECTS)
    error: Annotated[str, BeforeValidator(_cut)] = ""

    @model_validator(mode="after")
    def times_or_reason(self) -> Self:
        if (self.median_ms is None) != (self.min_ms is None):
            raise ValueError("median_ms and min_ms come together")
        if self.median_ms is None or self.min_ms is None:
            if not self.error:
                raise ValueError("has neither times nor an error")
        elif self.min_ms > self.median_ms or not self.answered:
            raise ValueError("min_ms is at most median_ms, of at least one answered connect")
        return self


class Measured(Message):
    """The answer to the request `request` (`Asked.id`)."""

    request: str
    probed: tuple[Probed, ...] = Field(max_length=MOST_REGIONS)


class Reached(Value):
    """`at` is when the control plane heard of it."""

    median_ms: Positive
    min_ms: Positive
    answered: PositiveInt
    at: Instant


class Unreached(Value):
    reason: str
    at: Instant


class Measurement(Value):
    """What is known of a site's distances, by region. `answered` is the request answered last.
    A region under `unreached` failed when it was tried last; what it may have under `reached` is
    older."""

    site: Name
    asked: Asked | None = None
    answered: str = ""
    reached: dict[Region, Reached] = Field(default_factory=dict)
    unreached: dict[Region, Unreached] = Field(default_factory=dict)

    def fresh(self, regions: tuple[str, ...]) -> dict[str, float]:
        """The medians of those of `regions` that answered when they were tried last."""
        return {
            region: self.reached[region].median_ms
            for region in regions
            if region in self.reached and region not in self.unreached
        }


def merged(
    known: Measurement, told: Measured, now: datetime, km: Mapping[str, float]
) -> Measurement:
    """`known` with the answer to what it asks. New replaces old; what was not asked is passed
    over; what was asked and not told of is unreached. `km` says how far a region is at least:
    nothing answers faster than light."""
    asked = known.asked
    if asked is None or asked.id != told.request:
        return known
    said = {one.region: one for one in told.probed}
    reached, unreached = dict(known.reached), dict(known.unreached)
    for region in asked.regions:
        one = said.get(region)
        why = _unbelievable(one, km.get(region, 0.0))
        if why or one is None or one.median_ms is None or one.min_ms is None:
            unreached[region] = Unreached(reason=why, at=now)
        else:
            unreached.pop(region, None)
            reached[region] = Reached(
                median_ms=one.median_ms, min_ms=one.min_ms, answered=one.answered, at=now
            )
    update = {"asked": None, "answered": asked.id, "reached": reached, "unreached": unreached}
    return known.model_copy(update=update)


def _unbelievable(one: Probed | None, km: float) -> str:
    """Why there is no time to keep; empty when there is."""
    if one is None:
        return "the answer does not tell of it"
    if one.min_ms is None:
        return brief(one.error)
    if one.min_ms < 2 * km / LIGHT_KM_PER_MS:
        return (
            f"answered in {one.min_ms:.3g} ms from at least {km:,.0f} km away, faster than light: "
            "something on the way answers in its place, or the site's position is wrong"
        )
    return ""
