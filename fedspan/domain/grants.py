"""Short-lived access to the objects of one job."""

from __future__ import annotations

from pydantic import ConfigDict, SecretStr, field_serializer

from fedspan.domain.values import Instant, Message


class Grant(Message):
    """`variables` are what the tools of the cloud would find in their environment: secrets, and
    where the objects are. No repr, log or validation error shows them; its JSON does, since that
    is how a machine gets them."""

    model_config = ConfigDict(hide_input_in_errors=True)

    expires: Instant
    variables: dict[str, SecretStr]

    @field_serializer("variables", when_used="json")
    def _revealed(self, variables: dict[str, SecretStr]) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in variables.items()}
