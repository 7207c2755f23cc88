"""``fedspan demo``: the main job, on data that comes along."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fedspan.cli.exits import INTERRUPTED
from fedspan.cli.plane import say_unfinished
from fedspan.cli.session import Session, session

if TYPE_CHECKING:
    from fedspan.cli.api import Api
    from fedspan.domain.sites import Site


def demo(
    ctx: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds to train")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model")] = 7,
    port: Annotated[
        int, typer.Option(min=0, max=65535, show_default="any that is free", help="Where to listen")
    ] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on serving the API afterwards, until Ctrl-C")
    ] = False,
) -> None:
    """Three hospitals train one model, here and now."""
    from fedspan.cli.submitting import run_to_end
    from fedspan.local.hospitals import demo_spec, write_hospitals

    here = session(ctx)
    here.home.prepare()
    with _control_plane(here, port) as (api, ours):
        _register(here, api, write_hospitals(here.home.sites, seed))
        _, code = run_to_end(here, api, demo_spec(rounds, seed))
        if keep and ours and code != INTERRUPTED:
            _wait(here)
        unfinished = [job.id for job in api.every_job() if not job.ended] if ours else []
    say_unfinished(here, unfinished)
    raise typer.Exit(code)


def _register(here: Session, api: Api, hospitals: Sequence[Site]) -> None:
    """A site of a hospital's name keeps all it has; data of the demo's name is replaced."""
    from fedspan.local.hospitals import joined

    known = {site.name: site for site in api.sites()}
    wanted = [joined(known[one.name], one) if one.name in known else one for one in hospitals]
    for hospital, site in zip(hospitals, wanted, strict=True):
        [data] = hospital.datasets
        mine = known[site.name].dataset(data.name) if site.name in known else None
        api.put_site(site)
        if mine is not None and mine.path != data.path:
            here.say(
                f"site {site.name}: its dataset {data.name} was {mine.path}, and is the demo's now"
            )


@contextlib.contextmanager
def _control_plane(here: Session, port: int) -> Iterator[tuple[Api, bool]]:
    """The one that runs on this home, or one for the duration; and whether it is ours."""
    if here.home.running() is not None:
        with here.running_api() as api:
            yield api, False
        return
    from fedspan.cli.logs import LOG, logged

    with here.screen.status("starting"):
        from fedspan.local.plane import control_plane

    with (
        logged(here.path / LOG),
        control_plane(here.home, port),
        here.running_api() as api,
    ):
        yield api, True


def _wait(here: Session) -> None:
    control = here.home.control()
    here.say(f"still listening on {control.url if control else '?'}; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
