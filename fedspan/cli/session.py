"""What every command starts from: the home, where to print, and a way to the API."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from click import Context, Parameter
from typer.core import TyperCommand, TyperGroup, TyperOption

from fedspan.cli.plain import dumped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fedspan.cli.api import Api
    from fedspan.local.home import Home

DEFAULT_HOME: Final = Path("~/.fedspan")
WIDE: Final = 120
"""Columns when nobody looks: a pipe or a file."""


class Interrupted(Exception):
    """Ctrl-C; the message says what goes on."""


@dataclass(frozen=True)
class Session:
    path: Path
    json: bool

    @cached_property
    def home(self) -> Home:
        from fedspan.errors import InvalidRequest
        from fedspan.local.home import Home

        if self.path.exists() and not self.path.is_dir():
            raise InvalidRequest(f"--home {self.path}: is no folder")
        return Home(self.path)

    @cached_property
    def out(self) -> Console:
        return _console(stderr=False)

    @cached_property
    def err(self) -> Console:
        return _console(stderr=True)

    @property
    def screen(self) -> Console:
        """Where people read while a command runs."""
        return self.err if self.json else self.out

    def show(self, document: Any, *shown: RenderableType) -> None:
        """The command's result: `document` with ``--json``, else what is `shown` of it."""
        from rich.text import Text

        if self.json:
            typer.echo(dumped(document))
        for one in () if self.json else shown:
            self.out.print(one, soft_wrap=isinstance(one, str | Text))  # so that it can be copied

    def say(self, text: str) -> None:
        """A word to the person, never part of the result."""
        self.screen.print(text, soft_wrap=True)

    @contextlib.contextmanager
    def api(self) -> Iterator[Api]:
        """The running control plane, else the home read in this process."""
        if self.home.running() is not None:
            with self.running_api() as api:
                yield api
            return
        from fedspan.cli.api import Api
        from fedspan.cli.logs import LOG, logged
        from fedspan.local.offline import offline

        self.home.prepare()
        with logged(self.path / LOG), offline(self.home) as transport:
            yield Api(transport)

    @contextlib.contextmanager
    def running_api(self) -> Iterator[Api]:
        """Raises `NotRunning` unless a control plane runs."""
        from fedspan.cli.api import Api, Wire, not_running

        if self.home.running() is None:
            raise not_running(self.home)
        with Wire(self.home) as wire:
            yield Api(wire)


def session(ctx: Context) -> Session:
    given = ctx.meta.get(HOME) or os.environ.get("FEDSPAN_HOME") or DEFAULT_HOME
    return Session(Path(given).expanduser().resolve(), bool(ctx.meta.get(JSON)))


HOME: Final = "fedspan.home"
JSON: Final = "fedspan.json"


class Command(TyperCommand):
    """Takes ``--home`` and ``--json``, as every command and group does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _everywhere()


class Group(TyperGroup):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.params += _everywhere()

    def invoke(self, ctx: Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would leave without a word
            raise Interrupted("interrupted") from None


def _everywhere() -> list[TyperOption]:
    """The innermost that is given counts: ``fedspan --home A job list --home B`` reads B."""
    return [
        TyperOption(
            param_decls=["--home"],
            metavar="FOLDER",
            expose_value=False,
            callback=_remember(HOME),
            show_default="$FEDSPAN_HOME or ~/.fedspan",
            help="Where everything is kept",
        ),
        TyperOption(
            param_decls=["--json"],
            is_flag=True,
            expose_value=False,
            callback=_remember(JSON),
            help="One JSON document on stdout, nothing else",
        ),
    ]


def _remember(key: str) -> Any:
    def callback(ctx: Context, parameter: Parameter, value: object) -> None:
        if value:
            ctx.meta[key] = value

    return callback


def group(name: str, help: str) -> typer.Typer:
    """A group of commands: ``fedspan <name> ...``."""
    return typer.Typer(name=name, help=help, cls=Group, no_args_is_help=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console
