"""``fedspan job ...``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedspan.cli.session import Command, Session, group, session

if TYPE_CHECKING:
    from fedspan.cli.api import Api

app = group("job", "Federated jobs: write a spec, submit it, follow it.")

Id = Annotated[str, typer.Argument(metavar="JOB")]


def _report(here: Session, api: Api, id: str) -> None:
    from fedspan.cli import render
    from fedspan.cli.report import document, gather

    report = gather(api, here.home, id)
    here.show(document(report), *render.summary(report))


@app.command(cls=Command)
def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")] = "my-job",
    file: Annotated[
        Path | None, typer.Option("--file", show_default="NAME.yaml", help="Where to write it")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file")] = False,
) -> None:
    """Write a commented spec for a job called NAME, to begin with."""
    from pydantic import TypeAdapter, ValidationError

    from fedspan.cli import template
    from fedspan.domain.values import Name
    from fedspan.errors import Conflict, InvalidRequest

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise InvalidRequest(
            f"NAME: {name!r} is no name; take lower-case letters, digits and dashes, at most 63"
        ) from None
    here, path = session(ctx), file or Path(f"{name}.yaml")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as written:
            written.write(template.spec(name))
    except FileExistsError:
        raise Conflict(f"{path} exists; --force overwrites it") from None
    here.show({"file": str(path)}, f"{path} is written; next: fedspan job submit {path} --watch")


@app.command(cls=Command)
def submit(
    ctx: typer.Context,
    spec: Annotated[str | None, typer.Argument(metavar="[SPEC]")] = None,
    app_folder: Annotated[
        Path | None,
        typer.Option("--app", metavar="DIR", help="Run the Flower app in this folder, unchanged"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of the app's configuration; repeatable"),
    ] = None,
    participants: Annotated[
        str, typer.Option(metavar="SITE,SITE...", help="With --app alone; default: all that allow")
    ] = "",
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="With --app alone; default: the one all offer")
    ] = "",
    rounds: Annotated[
        int, typer.Option(min=0, help="With --app alone; default: its num-server-rounds")
    ] = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until it ends; Ctrl-C cancels it")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check whether it could run")
    ] = False,
) -> None:
    """Start the job that SPEC describes: a YAML or JSON file, or - for stdin. With --app a spec
    may be left out, or says all but the model."""
    from fedspan.cli import app_spec, submitting
    from fedspan.cli.spec_file import read_spec

    here, wish = session(ctx), app_spec.Wish(app_folder, settings or [])
    if spec is None:
        wanted = app_spec.derived(here, wish, participants, dataset, rounds)
    else:
        app_spec.not_beside_a_spec(participants, dataset, rounds)
        wanted = app_spec.filled(read_spec(spec), spec, wish)
    if dry_run:
        submitting.check(here, wanted)
    elif watch:
        raise typer.Exit(submitting.submit_and_watch(here, wanted))
    else:
        submitting.submit(here, wanted)


@app.command("list", cls=Command)
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many")] = 50,
) -> None:
    """The newest jobs first."""
    here = session(ctx)
    with here.api() as api:
        found = api.jobs(limit)
    from fedspan.cli import render

    listed = [job.model_dump(mode="json", exclude={"placement"}) for job in found]
    here.show({"jobs": listed}, render.jobs(found))


@app.command(cls=Command)
def show(ctx: typer.Context, id: Id) -> None:
    """A job: its rounds, what was chosen and why, its model, its cost."""
    here = session(ctx)
    with here.api() as api:
        _report(here, api, id)


@app.command(cls=Command)
def watch(ctx: typer.Context, id: Id) -> None:
    """Follow a job to its end; Ctrl-C leaves it running. Exits as the job ends."""
    from fedspan.cli.exits import code_of_job
    from fedspan.cli.watch import watch as follow

    here = session(ctx)
    with here.api() as api:
        job = api.job(id)
        if job.ended:
            _report(here, api, id)
            raise typer.Exit(code_of_job(job))
    with here.running_api() as api:
        job = follow(here, api, id)
        _report(here, api, id)
    raise typer.Exit(code_of_job(job))


@app.command(cls=Command)
def events(ctx: typer.Context, id: Id) -> None:
    """All that happened to a job."""
    here = session(ctx)
    with here.api() as api:
        found = api.events(id)
    from fedspan.cli import render

    here.show({"events": [one.model_dump(mode="json") for one in found]}, render.events(found))


@app.command(cls=Command)
def bill(ctx: typer.Context, id: Id) -> None:
    """What a job cost, by cloud, round and participant; while it runs, so far."""
    here = session(ctx)
    with here.api() as api:
        found = api.bill(id)
    from fedspan.cli import render_bill

    here.show(render_bill.document(found), *render_bill.tables(found))


@app.command(cls=Command)
def cancel(ctx: typer.Context, id: Id) -> None:
    """Ask for a job's end; its machines are taken down."""
    here = session(ctx)
    with here.running_api() as api:
        job = api.cancel(id)
    document = {
        "job": id,
        "state": job.state.value,
        "cancel_requested": job.cancel_requested,
    }
    said = f"has already ended: {job.state}" if job.ended else "is being cancelled"
    here.show(document, f"job {id} {said}")


@app.command(cls=Command)
def approve(
    ctx: typer.Context,
    id: Id,
    candidate: Annotated[
        int, typer.Option("--candidate", metavar="N", min=1, help="As `job show` numbers them")
    ] = 1,
) -> None:
    """Let a job that waits for it start, at the best place or another of its list."""
    from fedspan.cli.report import place
    from fedspan.domain.places import where

    here = session(ctx)
    with here.running_api() as api:
        job = api.approve(id, candidate)
    document = {"job": id, "state": job.state.value, "placement": place(job)}
    taken = job.placement.candidate if job.placement else None
    said = f": {where(taken)}" if taken else ""
    here.show(document, f"job {id} is approved{said}; `fedspan job watch {id}` follows it")


@app.command(cls=Command)
def delete(ctx: typer.Context, id: Id) -> None:
    """Forget a job that has ended; a model it kept stays."""
    here = session(ctx)
    with here.api() as api:
        api.delete_job(id)
    here.show({"deleted": id}, f"job {id} is deleted")
