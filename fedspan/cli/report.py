"""A job in one document: what ``demo --json`` and ``job show --json`` print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fedspan.cli.api import Api
from fedspan.cli.left_over import LeftOver, left_over
from fedspan.domain.jobs import Job
from fedspan.domain.models import Card
from fedspan.domain.rounds import Round
from fedspan.errors import NotFound
from fedspan.local.home import Home

METRICS: Final = ("loss", "accuracy", "precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class Report:
    job: Job
    rounds: Sequence[Round]
    card: Card | None
    left: LeftOver


def gather(api: Api, home: Home, id: str) -> Report:
    """Raises `NotFound`."""
    job = api.job(id)
    return Report(job, api.rounds(id), _card(api, job), left_over(home, id))


def _card(api: Api, job: Job) -> Card | None:
    """A model may have been deleted since."""
    if job.model is None:
        return None
    try:
        return api.model(job.model)
    except NotFound:
        return None


def document(report: Report) -> dict[str, Any]:
    job, card = report.job, report.card
    return {
        "job": job.id,
        "name": job.spec.name,
        "state": job.state.value,
        "placement": place(job),
        "rounds": [_round(one) for one in report.rounds],
        "selected": job.selected.model_dump(mode="json") if job.selected else None,
        "model": card.model_dump(mode="json", include={"id", "uri", "sha256", "parameters"})
        if card
        else None,
        "phases": job.phases,
        "cost_usd": job.cost / 1_000_000,
        "lost": [one.model_dump(mode="json") for one in job.losses],
        "left_over": {
            "processes": len(report.left.processes),
            "directories": len(report.left.directories),
        },
        "outcome": {"code": job.outcome.code, "message": job.outcome.message}
        if job.outcome
        else None,
    }


def place(job: Job) -> dict[str, Any] | None:
    """Where its aggregator goes, or could go: `chosen` is an index into the candidates."""
    return job.placement.model_dump(mode="json") if job.placement else None


def _round(one: Round) -> dict[str, Any]:
    metrics = one.metrics
    return {
        "round": one.number,
        "epoch": one.epoch,
        "seconds": one.seconds,
        "metrics": {name: _number(getattr(metrics, name)) for name in METRICS} if metrics else None,
        "participants": {
            site: {
                "status": part.status.value,
                "examples": part.examples,
                "seconds": part.seconds,
            }
            for site, part in one.participants.items()
        },
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def elapsed(job: Job, now: datetime) -> float:
    """Seconds from its submission to its end, or until now."""
    return max(0.0, ((job.since if job.ended else now) - job.submitted).total_seconds())


def reason(report: Report) -> str:
    """Why the chosen round was chosen, in words."""
    found = report.job.selected
    if found is None:
        return "no round was chosen"
    shown = [one for one in report.rounds if one.metrics is not None]
    scores = [float(getattr(one.metrics, found.metric)) for one in shown]
    many = "the only round" if len(scores) == 1 else f"the highest of {len(scores)} rounds"
    if scores.count(found.value) > 1:
        many += f" ({scores.count(found.value)} reach it: the lower loss decides)"
    chosen = f"round {found.round}: {found.metric} {found.value:.4f}, {many}"
    if not found.qualifies:
        return f"{chosen}, but below the {found.threshold:g} asked for"
    reached = sum(score >= found.threshold for score in scores)
    return f"{chosen}; {reached} reached the {found.threshold:g} asked for"
