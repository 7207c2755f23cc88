"""A placement's question and its limits, as callers of a function send them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fedspan.app import App
from fedspan.domain.parsing import parsed
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.values import Value
from fedspan.edge import MOST_SHOWN
from fedspan.services.placements import SHOWN, score


class Asked(Value):
    question: PlacementQuestion
    limit: int = Field(default=SHOWN, ge=1, le=MOST_SHOWN)
    compare: str | None = Field(default=None, min_length=1)


def scored(app: App, event: object) -> dict[str, Any]:
    """The answer to ``{"question": {...}, "limit": 10, "compare": null}``."""
    asked = parsed(Asked, event)
    answer = score(app, asked.question, limit=asked.limit, compare=asked.compare)
    return answer.model_dump(mode="json")
