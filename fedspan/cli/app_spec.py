"""Job specs whose model is a Flower app: told by a file, or made of the app and the sites."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fedspan.cli.session import Session
from fedspan.cli.spec_file import STDIN
from fedspan.domain.spec import ROUNDS_KEY, AppValue
from fedspan.domain.texts import listed
from fedspan.errors import InvalidRequest

if TYPE_CHECKING:
    from fedspan.domain.sites import Dataset, Site
    from fedspan.flower.app_bundle import Bundle

OWN: Final = ("training", "strategy")
"""What an app does itself."""


@dataclass(frozen=True, slots=True)
class Wish:
    """``--app`` and ``--set``."""

    folder: Path | None
    settings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job spec, where it comes from, and the app that goes with it, if its model is one."""

    spec: dict[str, Any]
    path: str
    bundle: Bundle | None = None

    def settings(self, rounds: int) -> dict[str, AppValue]:
        """The app's configuration as it would run."""
        if self.bundle is None:
            return {}
        return {
            **self.bundle.config,
            **self.bundle.run_config(self.spec["model"]["config"], rounds),
        }

    def told(self, rounds: int) -> list[str]:
        """The same for people."""
        if self.bundle is None:
            return []
        shown = ", ".join(f"{key} = {value!r}" for key, value in self.settings(rounds).items())
        bundle = f"{len(self.bundle.content):,} bytes, SHA-256 {self.bundle.sha256}"
        return [f"app {self.bundle.name}: {shown or 'no settings'}", f"bundle: {bundle}"]


def filled(spec: dict[str, Any], path: str, wish: Wish) -> Wanted:
    """The spec of the file at `path`, with what was wished.

    Raises:
        InvalidRequest: no such app, a setting it has not, or what an app does itself.
    """
    model = spec.get("model", {})
    if wish.folder is not None:
        if isinstance(model, dict) and {*model} - {"app", "config", "sha256"}:
            raise InvalidRequest(f"--app: {path} has another model; leave one of them out")
        config = model.get("config", {}) if isinstance(model, dict) else {}
        spec = {**spec, "model": {"app": str(wish.folder), "config": config}}
        return _bundled(spec, path, wish.folder, wish.settings)
    name = model.get("app") if isinstance(model, dict) else None
    if not isinstance(name, str):
        if wish.settings:
            raise InvalidRequest(f"--set: is of an app, and the model of {path} is none")
        return Wanted(spec, path)
    folder = (Path() if path == STDIN else Path(path).parent) / Path(name).expanduser()
    if not folder.exists() and model.get("sha256"):  # it was uploaded before
        return Wanted(spec, path)
    return _bundled(spec, path, folder, wish.settings)


def not_beside_a_spec(participants: str, dataset: str, rounds: int) -> None:
    """Raises `InvalidRequest` for what the file says already."""
    options = {"--participants": participants, "--dataset": dataset, "--rounds": rounds}
    if given := [option for option, value in options.items() if value]:
        raise InvalidRequest(f"{', '.join(given)}: only without SPEC, which says so itself")


def derived(session: Session, wish: Wish, participants: str, dataset: str, rounds: int) -> Wanted:
    """A spec for the app alone, with the defaults of every other.

    Raises:
        InvalidRequest: neither SPEC nor an app, or nothing says who trains, on what, how long.
    """
    if wish.folder is None:
        raise InvalidRequest("want SPEC, a YAML or JSON file, or --app DIR, a Flower app's folder")
    with session.api() as api:
        known = {one.name: one for one in api.sites()}
    names = [one.strip() for one in participants.split(",") if one.strip()]
    names = names or sorted(name for name, site in known.items() if site.allow_apps)
    if not names:
        raise InvalidRequest(
            "--participants: no site allows apps; `fedspan site add SITE ... --allow-apps` does"
        )
    data = _data([known[name] for name in names if name in known], dataset)
    spec = {
        "name": re.sub(r"[^a-z0-9]+", "-", wish.folder.resolve().name.lower()).strip("-") or "app",
        "rounds": rounds,
        "participants": names,
        "model": {"app": str(wish.folder)},
        "data": {"dataset": data.name, "target": data.target} if data else {"dataset": dataset},
    }
    made = _bundled(spec, str(wish.folder), wish.folder, wish.settings)
    declared = made.bundle.config.get(ROUNDS_KEY) if made.bundle else None
    if not rounds and not isinstance(declared, int):
        raise InvalidRequest(f"--rounds: the app's configuration has no {ROUNDS_KEY!r}; say it")
    return Wanted({**made.spec, "rounds": rounds or declared}, made.path, made.bundle)


def _bundled(spec: dict[str, Any], path: str, folder: Path, settings: Sequence[str]) -> Wanted:
    from fedspan.flower.app_bundle import build_app

    if given := [one for one in OWN if one in spec]:
        raise InvalidRequest(f"{given[0]}: is the app's own; leave it out, or set model.config")
    bundle, model = build_app(folder), spec["model"]
    told = model.get("config") or {}
    if not isinstance(told, dict):
        raise InvalidRequest("model.config: must be a mapping (key: value)")
    if model.get("sha256", bundle.sha256) != bundle.sha256:
        raise InvalidRequest(f"model.sha256: the bundle of {folder} has the hash {bundle.sha256}")
    config = bundle.overridden(told) | bundle.parsed(settings)
    if ROUNDS_KEY in config:
        raise InvalidRequest(f"{ROUNDS_KEY}: is the job's `rounds` (without a spec: --rounds)")
    model = {"app": model["app"], "config": config, "sha256": bundle.sha256}
    return Wanted({**spec, "model": model}, path, bundle)


def _data(sites: Sequence[Site], name: str) -> Dataset | None:
    """The dataset of that name, or the only one that all `sites` offer; None where the control
    plane says better what is wrong."""
    if not sites:
        return None
    if name:
        return next((found for site in sites if (found := site.dataset(name))), None)
    shared = set.intersection(*({one.name for one in site.datasets} for site in sites))
    if len(shared) != 1:
        choice = f"all offer {listed(sorted(shared))}" if shared else "none is offered by all"
        raise InvalidRequest(f"--dataset: {choice}; name one")
    return sites[0].dataset(shared.pop())
