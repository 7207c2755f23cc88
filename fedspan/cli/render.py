"""Tables and summaries, for 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fedspan.cli.report import METRICS, Report, elapsed, reason
from fedspan.domain.events import Event, Level
from fedspan.domain.jobs import ENDED, Job, JobState
from fedspan.domain.models import Card
from fedspan.domain.places import where
from fedspan.domain.rounds import Round, Status
from fedspan.domain.sites import Agent, Site
from fedspan.domain.texts import plain
from fedspan.wiring import now

COLOURS: Final = {
    JobState.SUCCEEDED: "bold green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "bold yellow",
}
BEFORE_APPROVAL: Final = frozenset(
    {JobState.SUBMITTED, JobState.CHECKING, JobState.PLACING, JobState.WAITING_APPROVAL}
)
LEVELS: Final = {Level.INFO: "", Level.WARNING: "yellow", Level.ERROR: "red"}


def state(value: JobState) -> Text:
    return Text(value.value, COLOURS.get(value, "bold cyan"))


def duration(seconds: float) -> str:
    """``8.4 s``, ``3:07``, ``2:05:09``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def dollars(micro: int) -> str:
    return f"${micro / 1_000_000:,.4f}" if 0 < micro < 1_000_000 else f"${micro / 1_000_000:,.2f}"


def table(*columns: str, right: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    """What is `whole` is never broken, however narrow the screen: ids are there to be copied."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        justify = "right" if name in right else "left"
        made.add_column(
            name,
            justify=justify,  # type: ignore[arg-type]
            overflow="fold",
            no_wrap=name in whole,
        )
    return made


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names on the left, what they are on the right."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True, min_width=10)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value)
    return made


def jobs(found: Sequence[Job]) -> RenderableType:
    if not found:
        return Text("no jobs yet; `fedspan demo` runs one, `fedspan job init` begins your own")
    columns = ("Job", "Name", "State", "Rounds", "Best", "Elapsed")
    made = table(*columns, right=("Rounds", "Elapsed"), whole=("Job",))
    for job in found:
        best = job.selected.shown if job.selected else ""
        made.add_row(
            job.id,
            job.spec.name,
            state(job.state),
            f"{job.rounds_done}/{job.spec.rounds}",
            best,
            duration(elapsed(job, now())),
        )
    return made


def rounds(found: Sequence[Round], chosen: int | None) -> Table:
    columns = ("Round", "Seconds", *(name.capitalize() for name in METRICS), "Done")
    made = table(*columns, right=columns)
    for one in found:
        done = sum(part.status is Status.DONE for part in one.participants.values())
        told = [one.value(name) for name in METRICS]
        metrics = ["-" if value is None else f"{value:.4f}" for value in told]
        made.add_row(
            f"{'▸ ' if one.number == chosen else ''}{one.number}",
            f"{one.seconds:.1f}",
            *metrics,
            f"{done}/{len(one.participants)}",
            style="bold green" if one.number == chosen else "",
        )
    return made


def summary(report: Report) -> list[RenderableType]:
    """All there is to say about a job that ended, and what is known of one that has not."""
    job = report.job
    head = Text.assemble((job.spec.name, "bold"), "  ", job.id, "  ", state(job.state))
    head.append(f" {'in' if job.ended else 'for'} {duration(elapsed(job, now()))}")
    shown: list[RenderableType] = [head, ""]
    if report.rounds:
        shown += [rounds(report.rounds, job.selected.round if job.selected else None), ""]
    if job.state is JobState.WAITING_APPROVAL:
        shown += [*places(job), ""]
    if asked := approval(job):
        shown += [Text(asked, "bold yellow"), ""]
    shown.append(facts(_facts(report)))
    return [*shown, f"Weights     {report.card.uri}"] if report.card else shown


def approval(job: Job, home: Path | None = None) -> str:
    """How to let a job go on that a person must approve, and until when; else empty."""
    if not job.asks_approval or job.cancel_requested or job.state not in BEFORE_APPROVAL:
        return ""
    waits = "waits" if job.state is JobState.WAITING_APPROVAL else "will wait"
    until = (job.submitted + timedelta(seconds=job.spec.limits.deadline)).astimezone()
    there = f" --home {home}" if home else ""
    return (
        f"job {job.id} {waits} for approval, until {until:%Y-%m-%d %H:%M} at the latest: "
        f"`fedspan job approve {job.id}{there}` takes the first place, --candidate N another"
    )


def places(job: Job) -> list[RenderableType]:
    """Where its aggregator could go, numbered as `job approve` takes them."""
    from fedspan.cli.render_place import candidates

    return [candidates(job.placement.answer)] if job.placement else []


def _facts(report: Report) -> Iterable[tuple[str, RenderableType]]:
    job, card = report.job, report.card
    if job.outcome is not None and job.state is not JobState.SUCCEEDED:
        said = f"{job.outcome.code}: {job.outcome.message}" if job.outcome.message else ""
        yield "Outcome", Text(plain(said or job.outcome.code), COLOURS.get(job.state, ""))
    if job.placement is not None and job.placement.candidate is not None:
        yield "Place", plain(where(job.placement.candidate))
    if job.selected is not None:
        yield "Chosen", reason(report)
    if card is not None:
        yield "Model", f"{card.id}, {card.parameters:,} parameters"
        yield "SHA-256", card.sha256
    elif job.model is not None:
        yield "Model", f"{job.model}, deleted since"
    if job.phases:
        yield "Phases", " · ".join(f"{name} {took:.1f} s" for name, took in job.phases.items())
    if job.losses:
        yield "Lost", plain(_losses(job))
    if job.rests:
        yield "Away", f"{_rested(job)}; what it cost with and without: fedspan job bill {job.id}"
    yield "Cost", dollars(job.cost)
    if job.ended:
        yield "Left over", _left(report)


def _rested(job: Job) -> str:
    times = "once" if job.rests == 1 else f"{job.rests} times"
    since = f", until {job.wake.astimezone():%H:%M:%S} by the latest" if job.wake else ""
    going = job.state is JobState.RESTING
    return f"its aggregator was given back {times} while participants trained{since * going}"


def _losses(job: Job) -> str:
    """Of the aggregators, by epoch."""
    named = ", ".join(f"{one.epoch}: {one.code}" for one in job.losses)
    return f"{job.epoch - 1 - job.rests} aggregators and went on ({named})"


def _left(report: Report) -> Text:
    if report.left.nothing:
        return Text("no process, no directory")
    pids = ", ".join(map(str, report.left.processes)) or "none"
    folders = ", ".join(map(str, report.left.directories)) or "none"
    return Text(f"processes: {pids}; directories: {folders}", "bold red")


def events(found: Sequence[Event]) -> RenderableType:
    """A line each, however long: a message may hold a command to be copied."""
    if not found:
        return Text("no events")
    wide = max(len(plain(one.code)) for one in found)
    made = [Text(f"{'Time':<8}  {'Code':<{wide}}  Message", "bold")]
    for one in found:
        at = one.at.astimezone().strftime("%H:%M:%S")
        said = f"{at}  {plain(one.code):<{wide}}  {plain(one.message)}"
        made.append(Text(said, LEVELS[one.level]))
    return Text("\n").join(made)


def models(found: Sequence[Card]) -> RenderableType:
    if not found:
        return Text("no models yet; a job that succeeds keeps one")
    columns = ("Model", "Name", "Metric", "Parameters", "SHA-256")
    made = table(*columns, right=("Parameters",), whole=("Model",))
    for card in found:
        made.add_row(
            card.id,
            card.name,
            card.selected.shown,
            f"{card.parameters:,}",
            card.sha256[:12],
        )
    return made


def model(card: Card) -> list[RenderableType]:
    shown = [f"{name} {value:.4f}" for name, value in _metrics(card).items()]
    trained = ", ".join(f"{site} {count:,}" for site, count in card.participants.items())
    made: list[tuple[str, RenderableType]] = [
        ("Model", card.id),
        ("Name", card.name),
        ("Created", f"{card.created.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Round", f"{card.selected.round} of {len(card.rounds or card.app_rounds)}"),
        ("Metrics", " · ".join(shown) or "-"),
        ("Parameters", f"{card.parameters:,}"),
        ("Classes", plain(", ".join(card.classes))),
        ("Examples", trained),
        ("Seed", str(card.seed)),
        ("SHA-256", card.sha256),
        ("Versions", plain(" · ".join(f"{name} {one}" for name, one in card.versions.items()))),
    ]
    return [facts(made), f"Weights     {card.uri}"]


def _metrics(card: Card) -> dict[str, float]:
    """Of the round that was kept, those that were told."""
    number = card.selected.round
    metrics, app = card.rounds.get(number), card.app_rounds.get(number)
    if metrics is not None:
        return {name: getattr(metrics, name) for name in METRICS}
    told = {name: app.value(name) if app else None for name in METRICS}
    return {name: value for name, value in told.items() if value is not None}


def sites(found: Sequence[Site]) -> RenderableType:
    if not found:
        return Text("no sites yet; add one with `fedspan site add NAME --dataset NAME=FILE.csv`")
    columns = ("Site", "Place", "Dataset", "Target", "Examples", "Shape")
    made = table(*columns, right=("Examples",), whole=("Site",))
    for site in found:
        place = plain(", ".join(filter(None, (site.city, site.country))))
        for index, one in enumerate(site.datasets):
            first = (site.name, place) if index == 0 else ("", "")
            shape = "×".join(map(str, one.features))
            made.add_row(*first, one.name, plain(one.target), f"{one.examples:,}", shape)
        if not site.datasets:
            made.add_row(site.name, place, "-", "", "", "")
    return made


def machines(found: Sequence[Agent]) -> RenderableType:
    made = table("Machine", "Seen", "CPU", "Job", whole=("Job",))
    for one in found:
        seen = f"{one.seen.astimezone():%Y-%m-%d %H:%M:%S}"
        made.add_row(plain(one.machine), seen, f"{one.load.cpu:.0%}", plain(one.job or ""))
    return made


def tally(found: Iterable[Job]) -> str:
    """``2 succeeded, 1 failed``."""
    count = dict.fromkeys(ENDED, 0)
    for job in found:
        if job.ended:
            count[job.state] += 1
    shown = [f"{number} {one.value}" for one, number in sorted(count.items()) if number]
    return ", ".join(shown) or "none"
