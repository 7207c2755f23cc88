"""Terraform, run on a copy of ``infra/<cloud>``.

State, and on AWS the key that signs tokens, lie in ``HOME/deploy/<cloud>``: a home of its own, so
that ``fedspan token --home HOME/deploy/aws`` makes tokens for that installation. Keep that folder.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspan.cli.idle_cost import idle
from fedspan.errors import InvalidRequest, ProviderError
from fedspan.local.assets import asset

OLDEST: Final = (1, 11)
"""Terraform that has write-only arguments."""
STATE: Final = "terraform.tfstate"
KEY: Final = "signing.key"
GOOGLE_KEYS: Final = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
)


@dataclass(frozen=True, slots=True)
class Target:
    """One installation: a cloud, the folder of its state, what was packaged, and variables."""

    cloud: str
    folder: Path
    package: Path
    variables: Mapping[str, str]


def target(cloud: str, home: Path, package: Path | None, given: Sequence[str]) -> Target:
    """Raises `InvalidRequest` for a ``--var`` that is not NAME=VALUE."""
    wrong = [one for one in given if not re.fullmatch(r"[a-z_0-9]+=.*", one, re.DOTALL)]
    if wrong:
        raise InvalidRequest(*(f"--var: {one!r} is not NAME=VALUE" for one in wrong))
    variables = dict(one.split("=", 1) for one in given)
    return Target(
        cloud, home / "deploy" / cloud, (package or Path("build") / cloud).resolve(), variables
    )


def check(at: Target, *, account: bool) -> None:
    """Raises `InvalidRequest` with all that is missing, before anything is done."""
    missing = [*_terraform_missing(), *_package_missing(at)]
    if account and not has_account(at.cloud):
        missing.append(f"credentials: {_ACCOUNT[at.cloud]}")
    if at.cloud == "gcp" and "project" not in at.variables:
        missing.append("--var: project=ID, the Google Cloud project, is needed")
    if missing:
        raise InvalidRequest(*missing)


_ACCOUNT: Final = {
    "aws": "none for AWS were found; `aws configure`, or AWS_PROFILE, or AWS_ACCESS_KEY_ID",
    "gcp": "none for Google Cloud were found; `gcloud auth application-default login`, or "
    "GOOGLE_APPLICATION_CREDENTIALS",
}


def has_account(cloud: str) -> bool:
    """Whether there are credentials to try. Asks nobody."""
    if cloud == "gcp":
        usual = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
        return usual.exists() or any(os.environ.get(name) for name in GOOGLE_KEYS)
    import boto3

    return boto3.Session().get_credentials() is not None


def _terraform_missing() -> Iterator[str]:
    found = shutil.which("terraform")
    if found is None:
        yield "terraform: is not on PATH; https://developer.hashicorp.com/terraform/install"
        return
    said = subprocess.run([found, "version", "-json"], capture_output=True, text=True)
    version = str(json.loads(said.stdout or "{}").get("terraform_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        yield f"terraform: {version} is too old; 1.11 or newer is needed"


def _package_missing(at: Target) -> Iterator[str]:
    needed = ("deployment.zip", "chalice.tf.json") if at.cloud == "aws" else ("main.py", "fedspan")
    if not all((at.package / name).exists() for name in needed):
        yield (
            f"package: {at.package} holds none; `make package-{at.cloud}` makes one, "
            "--package names another folder"
        )


@contextmanager
def opened(at: Target, *, changing: bool) -> Iterator[Path]:
    """A folder where Terraform can run: the installation's own when something is `changing`, else
    a copy that goes with the block."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = at.folder if changing else Path(scratch)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in folder.glob("*.tf"):
            old.unlink()
        for file in asset(f"infra/{at.cloud}").iterdir():
            if file.suffix in (".tf", ".json"):
                shutil.copy(file, folder)
        if not changing and (at.folder / STATE).exists():
            shutil.copy(at.folder / STATE, folder)
        if at.cloud == "gcp":
            shutil.make_archive(str(folder / "functions"), "zip", at.package)
        yield folder


def signing_key(folder: Path) -> str:
    """The installation's, made on first use, for its owner only."""
    path = folder / KEY
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text()


def terraform(at: Target, folder: Path, *words: str, to: int | None = None) -> str:
    """Run it; what it said, unless that goes straight `to` a file. Raises `ProviderError`."""
    environment = {**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
    if at.cloud == "aws":
        known = (folder / KEY).exists() or folder == at.folder
        environment["TF_VAR_signing_key"] = signing_key(folder) if known else "0" * 64
    ran = subprocess.run(
        ["terraform", f"-chdir={folder}", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=to if to is not None else subprocess.PIPE,
        stderr=to if to is not None else subprocess.PIPE,
        text=True,
    )
    if ran.returncode:
        said = re.sub(r"\x1b\[[0-9;]*m|[╷│╵]", "", ran.stderr or "its words are above")
        raise ProviderError(f"terraform {words[0]} failed: {' '.join(said.split())[:1500]}")
    return ran.stdout or ""


def init(at: Target, folder: Path) -> None:
    """Raises `ProviderError` when its provider can be had from nowhere."""
    mirror = os.environ.get("TF_PLUGIN_DIR")
    terraform(at, folder, "init", "-no-color", *([f"-plugin-dir={mirror}"] if mirror else []))


def variables(at: Target, folder: Path) -> list[str]:
    """As arguments."""
    if at.cloud == "aws":
        machine = asset("state_machines/federated_job.asl.json")
        ours = {"package": str(at.package), "state_machine": str(machine)}
    else:
        ours = {"package": str(folder / "functions.zip")}
    return [f"-var={name}={value}" for name, value in {**ours, **at.variables}.items()]


def plan(at: Target) -> dict[str, Any]:
    """What would be made, changed and removed, and what that costs idle. Changes nothing, and
    asks no cloud when there is no account."""
    account, notes = has_account(at.cloud), []
    with opened(at, changing=False) as folder:
        try:
            init(at, folder)
            changes, there = _planned(at, folder, offline=not account)
            if not account:
                notes.append("no account was found: planned as for an empty one")
        except ProviderError as exc:
            if account and at.cloud == "aws":
                raise
            counted = declared(folder)
            changes, there = {"create": counted}, counted
            notes.append(f"counted in the files, Terraform could not plan: {str(exc)[:200]}")
    if at.cloud == "aws" and at.variables.get("credentials_key") != "true":
        notes.append(NO_KEY)
    lines = idle(there, sweep_minutes(at))
    return {
        "cloud": at.cloud,
        "account": account,
        "changes": {what: dict(sorted(kinds.items())) for what, kinds in changes.items()},
        "resources": dict(sorted(there.items())),
        "idle_usd_a_month": {
            "list_price": round(sum(line.usd for line in lines), 2),
            "free_tier": round(sum(line.usd_free_tier for line in lines), 2),
            "lines": [
                {"kind": one.kind, "count": one.count, "usd": round(one.usd, 3), "why": one.why}
                for one in lines
                if one.usd
            ],
        },
        "notes": notes,
    }


def _planned(
    at: Target, folder: Path, *, offline: bool
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """By what happens to them, and all that are there afterwards."""
    words = [*variables(at, folder), "-out=planned", "-no-color", "-lock=false"]
    if offline:
        (folder / STATE).unlink(missing_ok=True)
        region = [] if "region" in at.variables or os.environ.get("AWS_REGION") else ["us-east-1"]
        words += ["-var=offline=true", *(f"-var=region={one}" for one in region)]
    terraform(at, folder, "plan", *words)
    document = json.loads(terraform(at, folder, "show", "-json", "planned"))
    changes: dict[str, Counter[str]] = {}
    there: Counter[str] = Counter()
    for one in document.get("resource_changes", []):
        if one["mode"] != "managed":
            continue
        actions = one["change"]["actions"]
        there[one["type"]] += actions != ["delete"]
        what = "replace" if len(actions) > 1 else actions[0]
        if what != "no-op":
            changes.setdefault(what, Counter())[one["type"]] += 1
    return changes, there


NO_KEY: Final = (
    "without a key for credentials; before the first is registered, deploy again with "
    "--var credentials_key=true: a KMS key is $1 a month"
)
BLOCK: Final = re.compile(r'^resource "(\w+)" "\w+" \{\n(.*?)^\}', re.DOTALL | re.MULTILINE)


def declared(folder: Path) -> Counter[str]:
    """The resources of the files, by kind: what a ``for_each`` lists in its own block or in the map
    of functions is counted, whatever else depends on variables is as without them."""
    text = "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))
    functions = re.search(r"^  functions = \{\n(.*?)^  \}", text, re.DOTALL | re.MULTILINE)
    many = len(functions[1].splitlines()) if functions else 1
    found: Counter[str] = Counter()
    for kind, body in BLOCK.findall(text):
        count = re.search(r"^\s+count\s+= (.*)$", body, re.MULTILINE)
        each = re.search(
            r"^\s+for_each\s+= (toset\(\[[^]]*\]\)|local\.functions)", body, re.MULTILINE
        )
        if each and each[1] == "local.functions":
            found[kind] += many
        elif each and '"' in each[1]:
            found[kind] += each[1].count('"') // 2
        elif count is None or _default_is_set(count[1], text):
            found[kind] += 1
    return +found


def _default_is_set(count: str, text: str) -> bool:
    """Whether ``var.x ...`` in a count is on without anybody saying so."""
    name = re.search(r"var\.(\w+)", count)
    if name is None:
        return False
    default = re.search(
        rf'^variable "{name[1]}" \{{.*?^  default\s+= (\S+)', text, re.DOTALL | re.MULTILINE
    )
    return default is not None and default[1] not in ("null", "false", "0")


def sweep_minutes(at: Target) -> float:
    """How often AWS's sweep runs, as packaged; 0 where there is none."""
    if at.cloud != "aws":
        return 0
    rules = json.loads((at.package / "chalice.tf.json").read_text())["resource"]
    [rule] = rules["aws_cloudwatch_event_rule"].values()
    number, unit = re.fullmatch(
        r"rate\((\d+) (minute|hour|day)s?\)", rule["schedule_expression"]
    ).groups()  # type: ignore[union-attr]
    return int(number) * {"minute": 1, "hour": 60, "day": 1440}[unit]


def apply(at: Target, to: int) -> dict[str, Any]:
    """Make it so; what Terraform says goes `to` a file. The installation's outputs."""
    with opened(at, changing=True) as folder:
        init(at, folder)
        terraform(at, folder, "apply", "-auto-approve", *variables(at, folder), to=to)
        said = json.loads(terraform(at, folder, "output", "-json"))
    return {name: one["value"] for name, one in said.items()}


def destroy(at: Target, to: int) -> None:
    """Remove all of it. Raises `InvalidRequest` where there is nothing known to remove."""
    if not (at.folder / STATE).exists():
        raise InvalidRequest(f"--destroy: {at.folder} holds no state, so nothing is known of it")
    with opened(at, changing=True) as folder:
        init(at, folder)
        terraform(at, folder, "destroy", "-auto-approve", *variables(at, folder), to=to)
