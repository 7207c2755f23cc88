"""``make cross-cloud``: a federated job across clouds, with nothing but adapters changed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.e2e.cross_cloud import ROUNDS, SITES, shown

REPOSITORY = Path(__file__).parents[2]


def test_a_job_runs_across_clouds_and_leaves_them_empty() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.cross_cloud"],
        cwd=REPOSITORY,
        env={**os.environ, "JSON": "1"},
        capture_output=True,
        text=True,
        timeout=540,
    )

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    on_aws, on_gcp = document["runs"]
    assert (on_aws["cloud"], on_aws["metadata"]) == ("aws", "dynamodb://fedspan")
    assert (on_gcp["cloud"], on_gcp["metadata"]) == ("gcp", "firestore://fedspan-e2e")
    assert on_aws["model"]["uri"].startswith("s3://fedspan-models/models/")
    assert on_gcp["model"]["uri"].startswith("gs://fedspan-models/models/")
    assert on_aws["model"]["sha256"] == on_gcp["model"]["sha256"]
    for run in document["runs"]:
        assert (run["state"], run["rounds"], run["left_over"]) == ("succeeded", ROUNDS, [])
        assert list(run["participants"]) == list(SITES)
        assert run["phases"]["training"] > 0
    assert document["processes_left"] == 0
    _is_told_in_words(document)


def _is_told_in_words(document: dict[str, Any]) -> None:
    console = Console(width=100, file=io.StringIO())
    for one in shown(document):
        console.print(one)
    said = console.file.getvalue()

    assert document["runs"][0]["model"]["sha256"] in said
    assert "nothing on any cloud" in said
