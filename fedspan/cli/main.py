"""Entry point of the ``fedspan`` command: what there is, and how errors are told."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from fedspan import __version__
from fedspan.cli import book, credentials, demo, deploy, jobs, models, place, plane, sites, token
from fedspan.cli.exits import INTERRUPTED, MEANINGS, code_of
from fedspan.cli.plain import dumped
from fedspan.cli.session import Command, Group, Interrupted
from fedspan.domain.texts import plain
from fedspan.errors import FedspanError, InvalidRequest, StorageFull, StoreError

EPILOG = "\n\n".join(
    ["Exit codes:", *(f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())]
)

app = typer.Typer(
    name="fedspan",
    cls=Group,
    help="Federated learning that spans clouds: data stays where it is, models travel.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedspan {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit"),
    ] = False,
) -> None:
    pass


app.command(cls=Command)(demo.demo)
app.command(cls=Command)(place.place)
app.command(cls=Command)(plane.up)
app.command(cls=Command)(plane.down)
app.command(cls=Command)(plane.status)
app.command(cls=Command)(token.token)
app.command(cls=Command)(deploy.deploy)
app.add_typer(jobs.app)
app.add_typer(models.app)
app.add_typer(sites.app)
app.add_typer(credentials.app)
app.add_typer(book.app)


def main() -> None:
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell their own users
    sys.exit(run(sys.argv[1:]) if _can_tell() else 1)


def _can_tell() -> bool:
    """Whether there is a stdout (``>&-`` closes it); a stderr that is closed costs nothing."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as we live
    if sys.stdout is None:
        print("error: standard output is closed; `> /dev/null` throws it away", file=sys.stderr)
    return sys.stdout is not None


def run(arguments: Sequence[str]) -> int:
    """Run a command; its exit code. Errors are told in one place: here."""
    as_json = "--json" in arguments
    try:
        command = typer.main.get_command(app)
        code = command.main(list(arguments), prog_name="fedspan", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except FedspanError as exc:
        problems = exc.problems if isinstance(exc, InvalidRequest) else (str(exc),)
        return _told(type(exc).__name__, problems, code_of(type(exc)), as_json)
    except click.ClickException as exc:
        return _told("Usage", _usage(exc), 2, as_json)
    except Interrupted as exc:
        return _told("Interrupted", (str(exc),), INTERRUPTED, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _told("Interrupted", ("interrupted",), INTERRUPTED, as_json)
    except BrokenPipeError:
        _give_up_stdout()  # whoever read has left
        return 1
    except OSError as exc:
        kind = StorageFull if exc.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        where = exc.filename or ("" if _stdout_works() else "standard output")
        said = ": ".join(str(one) for one in (where, exc.strerror or exc) if one)
        return _told(kind.__name__, (said,), code_of(kind), as_json)
    except Exception as exc:
        said = f"unexpected {type(exc).__name__}: {exc}; FEDSPAN_DEBUG=1 shows where"
        return _told("FedspanError", (said,), code_of(FedspanError), as_json)


def _usage(exc: click.ClickException) -> tuple[str, ...]:
    where = exc.ctx.command_path if isinstance(exc, click.UsageError) and exc.ctx else "fedspan"
    return (f"{exc.format_message()} (see `{where} --help`)",)


def _told(kind: str, problems: Sequence[str], code: int, as_json: bool) -> int:
    """One clear message on stderr, each problem on its line; with ``--json`` also a document."""
    if os.environ.get("FEDSPAN_DEBUG") == "1" and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    message = "; ".join(problems)
    if len(problems) == 1:
        print(f"error: {plain(message)}", file=sys.stderr)
    else:
        print("error:", *(f"  {plain(one)}" for one in problems), sep="\n", file=sys.stderr)
    if as_json:
        error = {"type": kind, "message": message, "problems": list(problems)}
        _shown(dumped({"error": error}))
    return code


def _shown(document: str) -> None:
    """On stdout, unless that fails."""
    try:
        print(document, flush=True)
    except OSError:
        _give_up_stdout()


def _stdout_works() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_stdout()
        return False
    return True


def _give_up_stdout() -> None:
    """What is still to be written goes nowhere, or Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
