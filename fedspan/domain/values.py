"""What all values share: frozen, strict about unknown keys, and built from named scalar types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A name a person chose: lower-case letters, digits and dashes, at most 63."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

MicroUsd = Annotated[int, Field(ge=0)]
"""Money in whole micro-dollars: DynamoDB refuses floats, Firestore refuses Decimals."""


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its zone")
    return value


Instant = Annotated[datetime, AfterValidator(_aware)]


class Value(BaseModel):
    """A frozen value; an unknown key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Message(BaseModel):
    """What one part of Fedspan tells another: frozen, and open to keys a newer sender adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")
