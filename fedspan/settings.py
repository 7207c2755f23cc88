"""What differs between one installation and another, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, PositiveFloat

from fedspan.domain.values import Value
from fedspan.errors import InvalidRequest

PREFIX = "FEDSPAN_"


class Settings(Value):
    """Every field is read from ``FEDSPAN_<FIELD>``.

    `heartbeat_seconds` is how often machines report; one that misses them for `lost_seconds`
    counts as lost; an aggregator has `boot_seconds` from launch to its first report. A machine
    that gets no answer for `lease_seconds` ends itself: nobody is left who could end it.
    """

    api_url: str = "http://127.0.0.1:8470"
    objects_url: str = ""
    table: str = "fedspan"
    state_machine_arn: str = ""
    signing_key_parameter: str = Field(default="", description="SSM parameter with the token key")
    heartbeat_seconds: PositiveFloat = 10.0
    lost_seconds: PositiveFloat = 60.0
    boot_seconds: PositiveFloat = 600.0
    lease_seconds: PositiveFloat = 3600.0

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """Raises `InvalidRequest` naming the variable that is wrong."""
        given = {
            field: environment[PREFIX + field.upper()]
            for field in cls.model_fields
            if PREFIX + field.upper() in environment
        }
        try:
            return cls.model_validate(given)
        except ValueError as exc:
            raise InvalidRequest(f"the FEDSPAN_ environment is wrong: {exc}") from exc
