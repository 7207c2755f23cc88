"""Select and save: the best round's model, its card, its hash."""

from __future__ import annotations

from fedspan import __version__
from fedspan.app import App
from fedspan.domain.events import Level
from fedspan.domain.jobs import Job, JobState, Outcome, salvageable
from fedspan.domain.models import Card
from fedspan.domain.rounds import Round
from fedspan.domain.selection import Selection
from fedspan.domain.selection import select as best
from fedspan.errors import Conflict, TrainingFailed
from fedspan.services.changes import Step, change, enter, event, past


def select(app: App, job_id: str) -> dict[str, object]:
    """Choose the round to keep; that none reaches the threshold is a result of its own."""
    job = enter(app, job_id, JobState.SELECTING)
    if not past(job, JobState.SELECTING):
        found = best(app.rounds.list(job_id), job.spec.selection)
        if found is None:
            raise TrainingFailed(f"job {job_id}: no round was evaluated, so none can be kept")
        job = change(app, job_id, lambda job: _selected(app, job, found))
    return {"job": job.id, "qualifies": job.outcome is None}


def _selected(app: App, job: Job, found: Selection) -> Step:
    if job.selected is not None:
        return Step(job)
    after = job.model_copy(update={"selected": found})
    reached = f"round {found.round} is best: {found.shown}"
    if not found.metric:
        wanted = job.spec.selection.metric
        reached = f"round {found.round} is the last, and the app tells no {wanted}"
    if found.qualifies:
        return Step(after, (event(app, job, "RoundSelected", reached, round=found.round),))
    message = f"{reached}, below the {found.threshold:.4f} asked for; no model is kept"
    outcome = Outcome(state=JobState.FAILED, code="NoQualifyingRound", message=message)
    said = event(app, job, "NoQualifyingRound", message, level=Level.WARNING)
    return Step(after.model_copy(update={"outcome": outcome}), (said,))


def save(app: App, job_id: str) -> dict[str, object]:
    """Keep the selected round's weights and their card under ``models/<job>/``; of a job that
    failed, once it is torn down, those of the best round it reached."""
    job = enter(app, job_id, JobState.SAVING)
    if salvageable(job):
        job = _salvaged(app, job)
    elif job.selected is not None and not past(job, JobState.SAVING):
        rounds = {one.number: one for one in app.rounds.list(job_id)}
        _keep(app, job, rounds, job.selected)
        job = change(app, job_id, lambda job: _saved(app, job))
    return {"job": job.id, "model": job.model}


def _salvaged(app: App, job: Job) -> Job:
    rounds = {one.number: one for one in app.rounds.list(job.id)}
    found = best(rounds.values(), job.spec.selection)
    if found is None:
        return job
    if found.qualifies:
        _keep(app, job, rounds, found)
    return change(app, job.id, lambda job: _kept_of_failed(app, job, found))


def _kept_of_failed(app: App, job: Job, found: Selection) -> Step:
    """The outcome stays what it was, and says what there is all the same."""
    outcome = job.outcome
    told_before = job.selected == found and not found.qualifies
    if not salvageable(job) or outcome is None or told_before:
        return Step(job)
    if found.qualifies:
        told = f"round {found.round} is kept as model {job.id} ({found.shown})"
    else:
        told = f"no model is kept: the best, round {found.round}, has {found.shown}"
    message = f"{outcome.message or outcome.code}; {told}"
    after = job.model_copy(
        update={
            "selected": found,
            "model": job.id if found.qualifies else None,
            "outcome": outcome.model_copy(update={"message": message}),
        }
    )
    code = "ModelSaved" if found.qualifies else "NoQualifyingRound"
    level = Level.INFO if found.qualifies else Level.WARNING
    return Step(after, (event(app, job, code, told, level=level, round=found.round),))


def weights_key(model: str) -> str:
    return f"models/{model}/weights.safetensors"


def _keep(app: App, job: Job, rounds: dict[int, Round], selected: Selection) -> None:
    checkpoint = rounds[selected.round].checkpoint
    key = weights_key(job.id)
    app.objects.copy(checkpoint.key, key)
    card = _card(app, job, rounds, selected)
    app.objects.put(f"models/{job.id}/card.json", card.model_dump_json(indent=2).encode())
    if app.models.find(job.id) is None:
        try:
            app.store.write([app.models.put(card, job.id, expected=0)])
        except Conflict:
            return  # another run of this step was faster, with the same card


def _card(app: App, job: Job, rounds: dict[int, Round], selected: Selection) -> Card:
    kept = rounds[selected.round]
    key = weights_key(job.id)
    return Card(
        id=job.id,
        job=job.id,
        name=job.spec.name,
        created=app.now(),
        architecture=job.spec.model,
        features=job.features,
        classes=job.classes,
        parameters=kept.parameters,
        weights=key,
        uri=app.objects.uri(key),
        sha256=kept.checkpoint.sha256,
        bytes=kept.checkpoint.bytes,
        selected=selected,
        rounds={n: one.metrics for n, one in rounds.items() if one.metrics is not None},
        app_rounds={n: one.app for n, one in rounds.items() if one.app is not None},
        participants={site: part.examples for site, part in kept.participants.items()},
        data=job.spec.data,
        training=job.spec.training,
        strategy=job.spec.strategy,
        seed=job.spec.seed,
        versions={"fedspan": __version__, **kept.versions},
    )


def _saved(app: App, job: Job) -> Step:
    if job.model is not None:
        return Step(job)
    outcome = Outcome(state=JobState.SUCCEEDED, code="Completed")
    after = job.model_copy(update={"model": job.id, "outcome": outcome})
    return Step(after, (event(app, job, "ModelSaved", f"model {job.id} is kept"),))
