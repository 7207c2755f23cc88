"""What a person sees while a job runs: a live screen, or plain lines where there is none."""

from __future__ import annotations

import io
import select
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedspan.cli import render
from fedspan.cli.report import METRICS, elapsed
from fedspan.domain.events import Event
from fedspan.domain.jobs import Job
from fedspan.domain.rounds import Participation, Round, Status
from fedspan.domain.texts import plain
from fedspan.wiring import now

MOST_ROWS: Final = 12
"""Participants that are shown one by one; a screen has few lines."""

STATUS: Final = {
    Status.WAITING: ("·", "dim"),
    Status.TRAINING: ("●", "cyan"),
    Status.DONE: ("✓", "green"),
    Status.FAILED: ("✗", "bold red"),
    Status.SKIPPED: ("-", "yellow"),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it was at the last look. `ending` says that the person asked for its end."""

    job: Job
    rounds: Sequence[Round]
    events: Sequence[Event]
    ending: bool = False


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, seen: Seen) -> None: ...


def view_on(console: Console) -> View:
    return Screen(console) if console.is_terminal else Lines(console)


class Lines:
    """One line an event. Events can be far apart, so a reader that left is looked for each time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, seen: Seen) -> None:
        for one in seen.events[self._shown :]:
            at = one.at.astimezone().strftime("%H:%M:%S")
            self._console.print(plain(f"{at} {one.code}: {one.message}"), soft_wrap=True)
        self._shown = len(seen.events)
        if _deserted(self._console):
            raise BrokenPipeError


def _deserted(console: Console) -> bool:
    """Whether the console is a pipe that nobody reads any more."""
    try:
        written = console.file.fileno()
    except io.UnsupportedOperation:  # a buffer in memory
        return False
    looked = select.poll()
    looked.register(written, 0)  # errors are told unasked
    return any(what & select.POLLERR for _, what in looked.poll(0))


class Screen:
    """A few lines that change in place, and are gone at the end."""

    def __init__(self, console: Console) -> None:
        self._seen: Seen | None = None
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, seen: Seen) -> None:
        self._seen = seen

    def _render(self) -> RenderableType:
        return frame(self._seen) if self._seen else Text()


def frame(seen: Seen) -> RenderableType:
    shown = [_head(seen), _bar(seen), _metrics(seen.rounds), Text(), _participants(seen.job)]
    return Group(*shown, Text(), _foot(seen))


def _head(seen: Seen) -> RenderableType:
    job = seen.job
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(overflow="ellipsis", no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    spent = f"  {render.duration(elapsed(job, now()))}  {render.dollars(job.cost)}"
    state = Text("cancelling", "bold yellow") if seen.ending else render.state(job.state)
    line.add_row(
        Text.assemble((job.spec.name, "bold"), "  ", (job.id, "dim")), Text.assemble(state, spent)
    )
    return line


def _bar(seen: Seen) -> RenderableType:
    job = seen.job
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    took = f"  {seen.rounds[-1].seconds:.1f} s a round" if seen.rounds else ""
    bar = ProgressBar(total=job.spec.rounds, completed=job.rounds_done)
    line.add_row("Rounds", bar, f"{job.rounds_done}/{job.spec.rounds}{took}")
    return line


def _metrics(rounds: Sequence[Round]) -> RenderableType:
    """75 columns, so that it stays on one line."""
    told = [(name, rounds[-1].value(name)) for name in METRICS] if rounds else []
    if all(value is None for _, value in told):
        return Text("Last    no metrics yet", "dim")
    line = Text("Last  ")
    for name, value in told:
        if value is not None:
            line.append(f"  {name} ", "dim").append(f"{value:.3f}")
    return line


def _participants(job: Job) -> RenderableType:
    found = sorted((job.progress.participants or _booting(job)).items())
    made = render.table(
        f"Round {job.progress.round or 1}",
        "Status",
        "Examples",
        "Seconds",
        right=("Examples", "Seconds"),
    )
    for name, part in found[:MOST_ROWS]:
        made.add_row(name, _status(part), f"{part.examples:,}", f"{part.seconds:.2f}")
    if len(found) > MOST_ROWS:
        rest = found[MOST_ROWS:]
        done = sum(part.status is Status.DONE for _, part in rest)
        made.add_row(f"{len(rest)} more", f"{done} done", "", "", style="dim")
    return made


def _booting(job: Job) -> dict[str, Participation]:
    """Before the first round."""
    linked = job.aggregator.linked if job.aggregator else ()
    return {
        name: Participation(
            status=Status.WAITING, message="linked" if name in linked else "not linked yet"
        )
        for name in job.spec.participants
    }


def _status(part: Participation) -> Text:
    sign, style = STATUS[part.status]
    said = f"{sign} {part.status.value}"
    return Text(f"{said}: {plain(part.message)}" if part.message else said, style)


def _foot(seen: Seen) -> Text:
    if not seen.events:
        return Text()
    last = seen.events[-1]
    style = render.LEVELS[last.level] or "dim"
    return Text(plain(f"{last.code}: {last.message}"), style, no_wrap=True, overflow="ellipsis")
