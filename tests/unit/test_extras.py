"""What is not installed: each part that needs it says which extra brings it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedspan.extras import needed

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HIDING = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if any(name == one or name.startswith(one + ".") for one in {hidden!r}):
            raise ModuleNotFoundError(f"no {{name}}", name=name)
sys.meta_path.insert(0, Absent())
"""
GOOGLE_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


def without(hidden: list[str], program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `program` says in a Python that lacks `hidden`."""
    command = [sys.executable, "-c", HIDING.format(hidden=hidden) + program, *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


OPENING = """
from fedspan.errors import Unsupported
from fedspan.keys.opening import open_key
from fedspan.objects.opening import open_objects
from fedspan.stores.opening import open_store
try:
    print(eval(sys.argv[1]))
except Unsupported as exc:
    print(exc)
"""


@pytest.mark.parametrize(
    ("asked", "hidden", "extra"),
    [
        ("open_store('dynamodb://t')", "boto3", "aws"),
        ("open_store('firestore://p')", "google", "gcp"),
        ("open_store('firestore://p')", "google.cloud", "gcp"),  # google-auth alone is there
        ("open_objects('s3://b')", "obstore", "aws"),
        ("open_objects('gs://b')", "obstore", "gcp"),
        ("open_key('alias/fedspan')", "boto3", "aws"),
        (f"open_key('{GOOGLE_KEY}')", "google", "gcp"),
        (f"open_key('{GOOGLE_KEY}')", "requests", "gcp"),
    ],
)
def test_what_is_opened_without_its_sdk_says_which_extra_brings_it(
    asked: str, hidden: str, extra: str
) -> None:
    ran = without([hidden], OPENING, asked)

    assert ran.returncode == 0, ran.stderr
    assert f"needs {hidden}" in ran.stdout
    assert ran.stdout.endswith(f"not installed: pip install 'fedspan[{extra}]'\n")


STARTING = """
from importlib.metadata import EntryPoint
sys.argv[1:] = ["--help"]
EntryPoint("fedspan", {value!r}, "console_scripts").load()()
"""


def test_the_command_without_its_extra_is_one_line_on_stderr() -> None:
    program = STARTING.format(value=PROJECT["scripts"]["fedspan"])
    ran = without(["click", "typer", "rich", "yaml"], program)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: the command line needs ")
    assert ran.stderr.endswith("not installed: pip install 'fedspan[local]'\n")
    assert ran.stderr.count("\n") == 1


def test_the_command_with_its_extra_runs() -> None:
    ran = without([], STARTING.format(value=PROJECT["scripts"]["fedspan"]))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Federated learning that spans clouds" in ran.stdout


@pytest.mark.parametrize("fault", ["import fedspan.nowhere", "from fedspan.errors import Nothing"])
def test_a_fault_of_our_own_is_no_missing_extra(fault: str) -> None:
    with pytest.raises(ImportError), needed("this", "aws"):
        exec(fault)
