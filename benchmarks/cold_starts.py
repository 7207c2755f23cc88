"""What a cold start costs each function: ``python benchmarks/cold_starts.py`` prints a table.

Each entry point runs in fresh processes of its own, which import what it imports, wire what its
environment names, and answer once. Counted are the CPU seconds of that, without the interpreter's
own start, and the peak memory of the process; of several runs the least. The clouds are those of
the tests, on loopback: moto, Google's Firestore emulator, and our Compute Engine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fedspan.domain.credentials import GcpSecret, revealed  # noqa: E402
from fedspan.stores.dynamodb import create_table  # noqa: E402
from tests.clouds.aws.server import moto_server  # noqa: E402
from tests.clouds.firestore.emulator import FirestoreEmulator  # noqa: E402
from tests.clouds.gcp.server import GcpServer  # noqa: E402

QUESTION = {
    "rounds": 20,
    "participants": [
        {"name": "seoul", "latitude": 37.57, "longitude": 126.98},
        {"name": "busan", "latitude": 35.18, "longitude": 129.08},
    ],
    "placement": {"model_bytes": 50_000_000},
}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}

# From here to the answer is what a caller waits for when no warm instance is free. Another
# process stands between (`sh`): a child's peak begins at that of whom it was forked from.
MEASURED = """
import json, resource, sys, time
start = time.process_time()
{answer}
used = time.process_time() - start
print(json.dumps([used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, status]))
"""
GCP = """
import functions_framework
app = functions_framework.create_app(sys.argv[1], "functions/gcp/main.py")
status = app.test_client().open(sys.argv[3], method=sys.argv[2], data=sys.argv[4]).status_code
"""
REST = """
sys.path.insert(0, "functions/aws")
import app
from chalice.test import Client
with Client(app.app) as client:
    status = client.http.request(sys.argv[2], sys.argv[3]).status_code
"""
LAMBDA = """
sys.path.insert(0, "functions/aws")
import app
status = len(getattr(app, sys.argv[1])(json.loads(sys.argv[4]), None)) and 200
"""
NOTHING = "status = 0"
FRAMEWORK = "import functions_framework, flask; status = 0"


@dataclass(frozen=True)
class Case:
    name: str
    program: str
    entry: str = ""
    method: str = "POST"
    path: str = "/"
    body: str = ""


def cases(key: dict[str, Any]) -> list[Case]:
    question = json.dumps(QUESTION)
    secret = json.dumps({"secret": key})
    event = json.dumps({"question": QUESTION})
    return [
        Case("gcp score_placement", GCP, "score_placement", body=question),
        Case("gcp check_credential", GCP, "check_credential", body=secret),
        Case("gcp machines", GCP, "machines", "GET", "/machines"),
        Case("gcp metadata", GCP, "metadata", "GET", "/jobs"),
        Case("gcp sweep", GCP, "sweep"),
        Case("aws GET /v1/health", REST, method="GET", path="/v1/health"),
        Case("aws GET /v1/jobs", REST, method="GET", path="/v1/jobs"),
        Case("aws score_placement", LAMBDA, "score_placement", body=event),
        Case("functions-framework", FRAMEWORK),
        Case("python alone", NOTHING),
    ]


def measure(case: Case, environment: dict[str, str]) -> tuple[float, float, int]:
    program = MEASURED.format(answer=case.program)
    given = [case.entry, case.method, case.path, case.body]
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program, *given]
    ran = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    if ran.returncode != 0:
        sys.exit(f"{case.name}: {ran.stderr}")
    seconds, mib, status = json.loads(ran.stdout.splitlines()[-1])
    return seconds, mib, status


@contextmanager
def surroundings() -> Iterator[tuple[dict[str, str], dict[str, str], dict[str, Any]]]:
    """The environments of the functions on Google Cloud and on AWS, and a key of Google's."""
    usual = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "FEDSPAN_ALLOW_LOOPBACK": "true"}
    with (
        tempfile.TemporaryDirectory() as folder,
        FirestoreEmulator() as firestore,
        GcpServer() as google,
        moto_server() as amazon,
    ):
        secret: GcpSecret = google.key(google.project("fedspan-test"))
        key = json.loads(revealed(secret))
        file = Path(folder) / "key.json"
        file.write_text(json.dumps({**key, "type": "service_account"}))
        on_gcp = {
            **usual,
            "FEDSPAN_STORE_URL": "firestore://fedspan-test",
            "FEDSPAN_GCP_ENDPOINT": google.url,
            "FIRESTORE_EMULATOR_HOST": firestore.host,
            "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        }
        yield on_gcp, {**usual, **aws(amazon)}, key


def aws(url: str) -> dict[str, str]:
    given: dict[str, Any] = {
        "endpoint_url": url,
        "region_name": "eu-west-1",
        **{name.lower(): value for name, value in CREDENTIALS.items()},
    }
    create_table(boto3.client("dynamodb", **given), "fedspan")
    boto3.client("s3", **given).create_bucket(
        Bucket="fedspan", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    boto3.client("ssm", **given).put_parameter(
        Name="/fedspan/key", Value="k" * 32, Type="SecureString"
    )
    return {
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": url,
        "FEDSPAN_OBJECTS_URL": "s3://fedspan",
        "FEDSPAN_SIGNING_KEY_PARAMETER": "/fedspan/key",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="entry points whose name has this in it")
    asked = parser.parse_args()
    print(f"{'entry point':<24}{'CPU s':>7}{'peak MiB':>10}{'status':>8}")
    with surroundings() as (on_gcp, on_aws, key):
        for case in cases(key):
            if asked.only not in case.name:
                continue
            environment = on_aws if case.name.startswith("aws") else on_gcp
            runs = [measure(case, environment) for _ in range(asked.runs)]
            seconds, mib = min(one[0] for one in runs), min(one[1] for one in runs)
            print(f"{case.name:<24}{seconds:>7.2f}{mib:>10.0f}{runs[0][2]:>8}", flush=True)


if __name__ == "__main__":
    main()
