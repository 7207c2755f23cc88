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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspan.cli.idle_cost import CHALICE, declared, monthly, packaged, sweep_minutes
from fedspan.domain.parsing import nearest
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


Say = Callable[[str], None]
"""Tells a person what Terraform does now."""


class NoPlan(ProviderError):
    """Terraform cannot even begin; its message says in a few words why, `words` are its own."""

    def __init__(self, why: str, words: str = "") -> None:
        super().__init__(why)
        self.words = words


def check(at: Target, *, changing: bool) -> None:
    """Raises `InvalidRequest` with all that is missing, before anything is done. A plan, which is
    not `changing` anything, needs neither an account nor, to be counted only, Terraform."""
    missing = [*_terraform_missing(needed=changing), *_package_missing(at), *_unknown(at)]
    if changing and not has_account(at.cloud):
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


def _terraform_missing(*, needed: bool) -> Iterator[str]:
    found = shutil.which("terraform")
    if found is None:
        if needed:
            yield "terraform: is not on PATH; https://developer.hashicorp.com/terraform/install"
        return
    said = subprocess.run([found, "version", "-json"], capture_output=True, text=True)
    version = str(json.loads(said.stdout or "{}").get("terraform_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        yield f"terraform: {version} is too old; 1.11 or newer is needed"


def _package_missing(at: Target) -> Iterator[str]:
    needed = ("deployment.zip", CHALICE) if at.cloud == "aws" else ("main.py", "fedspan")
    if not all((at.package / name).exists() for name in needed):
        yield (
            f"package: {at.package} holds none; `make package-{at.cloud}` makes one, "
            "--package names another folder"
        )


def _unknown(at: Target) -> Iterator[str]:
    """What Terraform would refuse; but it is not always asked."""
    text = asset(f"infra/{at.cloud}").joinpath("variables.tf").read_text()
    known = re.findall(r'^variable "(\w+)"', text, re.MULTILINE)
    for name in at.variables:
        if name not in known:
            yield f"--var: {name!r} is no variable of infra/{at.cloud}{nearest(name, known)}"


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
        said = re.sub(r"\x1b\[[0-9;]*m|[╷│╵├─]", "", ran.stderr or "its words are above")
        said = said[max(said.find("Error:"), 0) :]  # warnings stand before it
        raise ProviderError(f"terraform {words[0]} failed: {' '.join(said.split())[:1500]}")
    return ran.stdout or ""


NO_PROVIDER: Final = re.compile(
    r"Error: (Failed to (query available provider packages|install provider)"
    r"|Incompatible provider version|Invalid provider registry host)"
)


def init(at: Target, folder: Path, say: Say) -> None:
    """Raises `NoPlan` when its provider can be had from nowhere."""
    say("terraform init: gets its provider")
    mirror = os.environ.get("TF_PLUGIN_DIR")
    try:
        terraform(at, folder, "init", "-no-color", *([f"-plugin-dir={mirror}"] if mirror else []))
    except ProviderError as exc:
        if NO_PROVIDER.search(str(exc)):
            raise NoPlan(
                "`terraform init` could not get its provider", str(exc).split(" To see ")[0]
            ) from exc
        raise


def variables(at: Target, folder: Path) -> list[str]:
    """As arguments."""
    if at.cloud == "aws":
        machine = asset("state_machines/federated_job.asl.json")
        ours = {"package": str(at.package), "state_machine": str(machine)}
    else:
        ours = {"package": str(folder / "functions.zip")}
    return [f"-var={name}={value}" for name, value in {**ours, **at.variables}.items()]


def plan(at: Target, say: Say) -> dict[str, Any]:
    """What would be made, changed and removed, and what that costs idle. Changes nothing, and
    asks no cloud when there is no account. Where Terraform cannot begin, what the files name is
    counted, and `unplanned` says why. Raises `ProviderError` with what else it objects to."""
    account, notes, unplanned = has_account(at.cloud), [], ""
    with opened(at, changing=False) as folder:
        try:
            changes, there = _planned(at, folder, say, offline=not account)
            if not account:
                notes.append("no account was found: planned as for an empty one")
        except NoPlan as exc:
            unplanned = str(exc)
            notes += [exc.words] if exc.words else []
            there = declared(folder, at.package, at.variables)
            changes, said = _counted(at, there)
            notes += said
    if at.cloud == "aws" and at.variables.get("credentials_key") != "true":
        notes.append(NO_KEY)
    shown: dict[str, Any] = {what: dict(sorted(kinds.items())) for what, kinds in changes.items()}
    return {
        "cloud": at.cloud,
        "account": account,
        "changes": shown | ({"counted": True} if unplanned else {}),
        "unplanned": unplanned,
        "resources": dict(sorted(there.items())),
        "idle_usd_a_month": monthly(there, sweep_minutes(at.package)),
        "notes": notes,
    }


def _counted(at: Target, there: Counter[str]) -> tuple[dict[str, Counter[str]], list[str]]:
    """What would be made, as far as that is known without Terraform, and what to say of it."""
    notes = []
    if functions := packaged(at.package, "aws_lambda_function"):
        notes.append(f"the {functions} functions are those that {at.package / CHALICE} names")
    if (at.folder / STATE).exists():
        return {}, [*notes, f"{at.folder} says what is there already; nobody compared it"]
    return {"create": there}, notes


def _planned(
    at: Target, folder: Path, say: Say, *, offline: bool
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """By what happens to them, and all that are there afterwards. Raises `NoPlan`."""
    if shutil.which("terraform") is None:
        raise NoPlan("it is not on PATH")
    if offline and at.cloud == "gcp":
        raise NoPlan("no account of Google Cloud was found, and its provider wants one")
    init(at, folder, say)
    words = [*variables(at, folder), "-out=planned", "-no-color", "-lock=false"]
    if offline:
        (folder / STATE).unlink(missing_ok=True)
        region = [] if "region" in at.variables or os.environ.get("AWS_REGION") else ["us-east-1"]
        words += ["-var=offline=true", *(f"-var=region={one}" for one in region)]
    say("terraform plan: compares what would be with what is there")
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


def apply(at: Target, to: int, say: Say) -> dict[str, Any]:
    """Make it so; what Terraform says goes `to` a file. The installation's outputs."""
    with opened(at, changing=True) as folder:
        init(at, folder, say)
        terraform(at, folder, "apply", "-auto-approve", *variables(at, folder), to=to)
        said = json.loads(terraform(at, folder, "output", "-json"))
    return {name: one["value"] for name, one in said.items()}


def destroy(at: Target, to: int, say: Say) -> None:
    """Remove all of it. Raises `InvalidRequest` where there is nothing known to remove."""
    if not (at.folder / STATE).exists():
        raise InvalidRequest(f"--destroy: {at.folder} holds no state, so nothing is known of it")
    with opened(at, changing=True) as folder:
        init(at, folder, say)
        terraform(at, folder, "destroy", "-auto-approve", *variables(at, folder), to=to)
