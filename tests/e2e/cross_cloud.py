"""One federated job across clouds, twice: ``make cross-cloud`` (``JSON=1`` for one document).

Two participants train on two OpenStack projects. Their aggregator runs on EC2, with metadata in
DynamoDB and the model in S3; then on Compute Engine, with Firestore and Cloud Storage. Everything
goes through the state machine and the command line, as a user would have it; the clouds listen on
loopback: a real OpenStack, Google's Firestore emulator, moto's AWS, and small servers of ours for
Google's machines and objects. Each machine boots its start-up document as processes of its own.

What must hold is checked: both models are the same to the bit, and every cloud is empty afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.clouds import boot
from tests.clouds.openstack.install import folder as openstack
from tests.e2e.stage import AWS_REGION, GCP_REGION, Stage, staged

ROUNDS: Final = 3
SITES: Final = ("seoul", "busan")


@dataclass(frozen=True, slots=True)
class Run:
    """A job whose aggregator may go to `cloud` only, with the store and objects there."""

    cloud: str
    region: str
    variables: Mapping[str, str] = field(repr=False)


class Failed(Exception):
    """A command did not do what it should."""


class Control:
    """The command line on a home of its own, with a control plane that runs in the background."""

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environment = {**kept, **variables, "FEDSPAN_HOME": str(home)}
        self._home = home

    def __enter__(self) -> Control:
        self("up", "--detach", "--port", str(free_port()))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Failed):
            self("down", "--force")

    def __call__(self, *command: str, given: str = "") -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "fedspan.cli.main", *command, "--json"],
            input=given,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            log = (self._home / "fedspan.log").read_text()[-3000:]
            raise Failed(f"fedspan {' '.join(command)}: {done.stdout}{done.stderr}\n{log}")
        return json.loads(done.stdout)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def across(stage: Stage, run: Run, say: Any) -> dict[str, Any]:
    """One job from its credentials to the empty clouds."""
    began = time.monotonic()
    home = stage.folder / f"home-{run.cloud}"
    with Control(home, {**run.variables, "FEDSPAN_AGGREGATOR_PORT": str(free_port())}) as control:
        say(f"{run.cloud}: registering credentials and sites")
        credentials = [_described(one) for one in stage.register(control, run.cloud)]
        sites = [_site(control, stage, name) for name in SITES]
        registered = time.monotonic()
        say(f"{run.cloud}: training")
        job = control("job", "submit", str(_spec(stage, run)), "--watch")
        machines = stage.inventory()
        owned = control("credential", "list")["credentials"]
        for one in owned:
            if one["name"] not in SITES:
                control("credential", "delete", one["name"])
    candidate = _placed(job)
    return {
        "cloud": run.cloud,
        "region": candidate["region"],
        "machine_type": candidate["machine_type"],
        "purchase": candidate["purchase"],
        "participants": {name: f"openstack project {name}" for name in sites},
        "credentials": credentials,
        "job": job["job"],
        "state": job["state"],
        "rounds": len(job["rounds"]),
        "model": {name: job["model"][name] for name in ("uri", "sha256", "parameters")},
        "metadata": run.variables["FEDSPAN_STORE_URL"],
        "phases": {"credentials": round(registered - began, 2), **job["phases"]},
        "seconds": round(time.monotonic() - began, 1),
        "cost_usd": job["cost_usd"],
        "left_over": machines,
    }


def _described(credential: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": credential["name"],
        "subject": credential["examination"]["identity"]["subject"],
    }


def _site(control: Control, stage: Stage, name: str) -> str:
    about = stage.sites[name]
    control(
        *("site", "add", name, "--credential", name, "--city", about["city"], "--country", "KR"),
        *("--lat", str(about["latitude"]), "--lon", str(about["longitude"])),
        *("--dataset", f"breast-cancer={about['path']}:diagnosis"),
        *("--features", "30", "--classes", ",".join(about["classes"])),
        *("--examples", str(about["examples"])),
    )
    return name


def _spec(stage: Stage, run: Run) -> Path:
    from fedspan.local.hospitals import demo_spec

    spec = {
        **demo_spec(ROUNDS, 7),
        "participants": list(SITES),
        "aggregator": {"regions": {"allow": [f"{run.cloud}:{run.region}"]}, "purchase": "spot"},
    }
    path = stage.folder / f"job-{run.cloud}.json"
    path.write_text(json.dumps(spec))
    return path


def _placed(job: Mapping[str, Any]) -> Any:
    placement = job["placement"]
    return placement["answer"]["candidates"][placement["chosen"]]


def perform(say: Any) -> dict[str, Any]:
    """Both jobs; the document of what was seen. Raises `Failed`."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder:
        announce(say)
        with staged(Path(folder), say) as stage:
            ready = time.monotonic()
            runs = [
                across(stage, Run("aws", AWS_REGION, stage.on_aws), say),
                across(stage, Run("gcp", GCP_REGION, stage.on_gcp), say),
            ]
        left = list(boot.processes(Path(folder)))
    document = {
        "runs": runs,
        "clouds_ready_s": round(ready - began, 1),
        "seconds": round(time.monotonic() - began, 1),
        "processes_left": len(left),
    }
    _check(document)
    return document


def announce(say: Any) -> None:
    """What takes minutes the first time, and is silent."""
    if not (openstack() / ".installed").exists():
        say(f"installing OpenStack's wheels, once, in {openstack()}")


def _check(document: Mapping[str, Any]) -> None:
    problems = [
        f"{run['cloud']}: {name} is {run[name]!r}, not {wanted!r}"
        for run in document["runs"]
        for name, wanted in (("state", "succeeded"), ("rounds", ROUNDS), ("left_over", []))
        if run[name] != wanted
    ]
    hashes = {run["model"]["sha256"] for run in document["runs"]}
    if len(hashes) != 1:
        problems.append(f"the models differ: {', '.join(sorted(hashes))}")
    if document["processes_left"]:
        problems.append(f"{document['processes_left']} processes of machines are left")
    if problems:
        raise Failed("; ".join(problems))


def shown(document: Mapping[str, Any]) -> Iterator[Any]:
    for run in document["runs"]:
        model = run["model"]
        facts = {
            "Aggregator": f"{run['cloud']} {run['region']}, {run['machine_type']}, "
            f"{run['purchase']}",
            "Participants": ", ".join(run["participants"].values()),
            "Credentials": "\n".join(one["subject"] for one in run["credentials"]),
            "Metadata": run["metadata"],
            "Model": model["uri"],
            "SHA-256": model["sha256"],
            "Phases": " · ".join(f"{name} {s:.1f} s" for name, s in run["phases"].items()),
            "In all": f"{run['seconds']:.1f} s, {run['rounds']} rounds, ${run['cost_usd']:.4f}",
            "Left over": ", ".join(run["left_over"]) or "nothing on any cloud",
        }
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, fact in facts.items():
            table.add_row(name, fact)
        yield table
        yield ""
    yield (
        f"clouds ready in {document['clouds_ready_s']} s, all done in {document['seconds']} s; "
        "both models are the same to the bit"
    )


def main() -> int:
    as_json = os.environ.get("JSON") == "1"
    console, aside = console_of(), console_of(stderr=True)
    try:
        document = perform(lambda text: aside.print(text, style="dim", soft_wrap=True))
    except Failed as exc:
        aside.print(f"error: {exc}", soft_wrap=True)
        return 1
    if as_json:
        print(json.dumps(document, indent=2))
        return 0
    for one in shown(document):
        console.print(one)
    return 0


def console_of(*, stderr: bool = False) -> Console:
    """Nothing is wrapped where nobody looks: what is there is copied and searched."""
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000
    return console


if __name__ == "__main__":
    sys.exit(main())
