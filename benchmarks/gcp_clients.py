"""What a client for Compute Engine costs a function: ours by REST against Google's own.

Each runs in processes of its own, which have already loaded what a function has anyway. Measured
are the CPU of importing it, then of making it and of one list of machines (answered on loopback by
the server of our tests), the peak of memory, and the bytes that its distributions take on disk with
all they depend on. The least of the runs counts: what is more was something else on the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.options import one_or_more
from fedspan.domain.credentials import GcpSecret, revealed

if TYPE_CHECKING:
    from rich.table import Table  # not in the processes that are measured

MEGABYTE = 1_000_000
BRINGS = {"none": (), "rest": ("google-auth", "requests"), "library": ("google-cloud-compute",)}
NAMES = {
    "none": "none",
    "rest": "Fedspan, by REST",
    "library": "google-cloud-compute",
}


def of_none() -> Callable[[GcpSecret, str], int]:
    return lambda secret, url: 0


def of_rest() -> Callable[[GcpSecret, str], int]:
    from fedspan.providers.gcp.identity import of_key
    from fedspan.providers.gcp.rest import Calls

    def count(secret: GcpSecret, url: str) -> int:
        calls = Calls(of_key(secret), url)
        found = list(calls.aggregated("instances", "name,status,description"))
        calls.close()
        return len(found)

    return count


def of_library() -> Callable[[GcpSecret, str], int]:
    from google.api_core.client_options import ClientOptions
    from google.auth.jwt import Credentials
    from google.cloud import compute_v1

    from fedspan.providers.gcp.identity import SCOPE, key_file

    class Quiet(Credentials):
        """Without the look at Google's real IAM, which is in another thread and not ours to time
        or to trouble."""

        def _is_regional_access_boundary_lookup_required(self) -> bool:
            return False

    def count(secret: GcpSecret, url: str) -> int:
        scope = {"scope": SCOPE}
        key = Quiet.from_service_account_info(
            key_file(secret), audience=None, additional_claims=scope
        )
        options = ClientOptions(api_endpoint=url)
        with compute_v1.InstancesClient(credentials=key, client_options=options) as client:
            pages = client.aggregated_list(project=secret.project_id)
            return sum(len(one.instances) for _, one in pages)

    return count


WAYS = {"none": of_none, "rest": of_rest, "library": of_library}


def measured(way: str, secret: GcpSecret, url: str) -> dict[str, Any]:
    """One way, in this process."""
    start = time.process_time()
    count = WAYS[way]()
    loaded = time.process_time()
    found = count(secret, url)
    listed = time.process_time()
    return {
        "import_cpu_s": loaded - start,
        "list_cpu_s": listed - loaded,
        "peak_mb": peak_mb(),
        "found": found,
    }


def peak_mb() -> float:
    """Of this process; what `getrusage` tells may be of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(one for one in lines if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def run(way: str, given: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--way", way]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise SystemExit(f"{NAMES[way]}: {done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def best(way: str, given: str, repeats: int) -> dict[str, Any]:
    runs = [run(way, given) for _ in range(repeats)]
    assert {one["found"] for one in runs} == {0 if way == "none" else 1}
    least = {key: min(one[key] for one in runs) for key in runs[0] if key != "found"}
    return {"way": way, **least, "disk_mb": disk_bytes(BRINGS[way]) / MEGABYTE}


def disk_bytes(names: tuple[str, ...]) -> int:
    """Of these distributions and all they need."""
    seen: set[str] = set()
    waiting = [*names]
    total = 0
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        found = metadata.distribution(name)
        files = [Path(str(found.locate_file(one))) for one in found.files or ()]
        kept = [one for one in files if one.suffix != ".pyc" and one.is_file()]
        total += sum(one.stat().st_size for one in kept)
        waiting += needed(found)
    return total


def needed(found: metadata.Distribution) -> list[str]:
    from packaging.requirements import Requirement

    wanted = []
    for text in found.requires or ():
        one = Requirement(text)
        extra = "grpc" if found.metadata["Name"] == "google-api-core" else ""
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            wanted.append(one.name)
    return wanted


def results(repeats: int) -> list[dict[str, Any]]:
    from tests.clouds.gcp.server import GcpServer

    with GcpServer() as server:
        project = server.project("a-benchmark")
        secret = server.key(project)
        launched(secret, server.url)
        given = json.dumps({"secret": json.loads(revealed(secret)), "url": server.url})
        return [best(way, given, repeats) for way in WAYS]


def launched(secret: GcpSecret, url: str) -> None:
    """One machine, to have something to list."""
    from fedspan.providers.gcp.identity import of_key
    from fedspan.providers.gcp.rest import Calls

    document = {
        "name": "a-machine",
        "machineType": "zones/us-central1-a/machineTypes/e2-small",
        "disks": [
            {
                "boot": True,
                "initializeParams": {
                    "sourceImage": "projects/cos-cloud/global/images/family/cos-stable"
                },
            }
        ],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    calls = Calls(of_key(secret), url)
    zone = "zones", "us-central1-a"
    begun = calls.post(*zone, "instances", body=document)
    calls.post(*zone, "operations", begun["name"], "wait")
    calls.close()


def table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    shown = Table(title="A client of Compute Engine in a function")
    shown.add_column("Client", no_wrap=True)
    for head in ("Import,\nCPU s", "First list,\nCPU s", "Peak\nMB", "On disk\nMB"):
        shown.add_column(head, justify="right")
    for row in rows:
        figures = (row["import_cpu_s"], row["list_cpu_s"])
        sizes = (row["peak_mb"], row["disk_mb"])
        shown.add_row(
            NAMES[row["way"]], *(f"{one:.2f}" for one in figures), *(f"{one:.0f}" for one in sizes)
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=one_or_more, default=5)
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        given = json.load(sys.stdin)
        secret = GcpSecret.model_validate(given["secret"])
        print(json.dumps(measured(options.way, secret, given["url"])))
        return
    rows = results(options.repeats)
    if options.json:
        print(json.dumps({"results": rows}, indent=1))
    else:
        from rich.console import Console

        Console().print(table(rows))


if __name__ == "__main__":
    main()
