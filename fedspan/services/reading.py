"""What is read of jobs and models, as JSON: the same on every edge."""

from __future__ import annotations

from typing import Any, Final

from fedspan.app import App

LISTED: Final = 50
MOST_LISTED: Final = 500


def jobs(app: App, *, after: str = "", limit: int = LISTED) -> dict[str, Any]:
    """The newest first, without the long explanation of where each was placed."""
    found = app.jobs.list(after=after, limit=limit, newest_first=True)
    return {"jobs": [job.model_dump(mode="json", exclude={"placement"}) for job in found]}


def rounds(app: App, job_id: str) -> dict[str, Any]:
    """Raises `NotFound`."""
    app.jobs.get(job_id)
    return {"rounds": [one.model_dump(mode="json") for _, one in app.rounds.all(job_id)]}


def events(app: App, job_id: str) -> dict[str, Any]:
    """Raises `NotFound`."""
    app.jobs.get(job_id)
    return {"events": [one.model_dump(mode="json") for _, one in app.events.all(job_id)]}


def models(app: App, *, limit: int = LISTED) -> dict[str, Any]:
    """The newest first."""
    found = app.models.list(newest_first=True, limit=limit)
    return {"models": [card.model_dump(mode="json") for card in found]}
