"""What deployed functions log: one JSON line an event, and no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = "eyJhbGc.eyJyb2xl.c2ln"

FAILING = f"""
import rich  # whose tracebacks show local variables
from types import SimpleNamespace

def fails(*_, **__):
    bearer = {SECRET!r}
    secret = "hunter" + "2"
    raise RuntimeError(f"no use for {{bearer}}")
"""

AWS = f"""
import sys; sys.path.insert(0, "functions/aws")
import app
from chalicelib.answers import answered
{FAILING}
answered(fails)()
"""

GCP = f"""
import sys; sys.path.insert(0, "functions/gcp")
import main
{FAILING}
main.score = fails
question = {{"rounds": 1, "participants": [{{"name": "a", "latitude": 1, "longitude": 1}}]}}
import json
body = json.dumps(question).encode()
main.score_placement(SimpleNamespace(method="POST", get_data=lambda: body, args={{}}))
"""

CHOSEN_BEFORE = f"""
import sys; sys.path.insert(0, "functions/aws")
from fedspan.cli.logs import logged
with logged():
    import app
    from chalicelib.answers import answered
{FAILING.replace(chr(10), chr(10) + "    ")}
    answered(fails)()
"""


def ran(program: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("program", [AWS, GCP], ids=["aws", "gcp"])
def test_an_unexpected_error_is_one_line_without_tokens_and_local_variables(program: str) -> None:
    out, err = ran(program)

    [line] = out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], err) == ("unexpected", "error", "")
    assert "RuntimeError: no use for [token]" in said["exception"]
    assert SECRET not in out
    assert "hunter2" not in out


def test_a_process_that_chose_where_it_logs_stays_there() -> None:
    out, err = ran(CHOSEN_BEFORE)

    assert out == ""
    assert json.loads(err)["event"] == "unexpected"
