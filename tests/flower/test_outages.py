"""The object store away, or a disk full, in the middle of a job: as the real programs meet it."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fedspan.domain.reports import AggregatorReport, Phase
from fedspan.flower import checkpoints
from fedspan.objects.folder import FolderObjects
from fedspan.objects.s3 import s3_objects
from tests.chaos.relay import Relay, nobody
from tests.clouds.proxy import Fault, FaultProxy
from tests.flower.machines import JOB, NAMES, ROOT, World

ROUNDS = 8


class Bucket:
    """A bucket of moto, and the environment of a machine that reaches it at `url`."""

    def __init__(self, moto: str, client: Any) -> None:
        self.name, self.moto = f"outage-{secrets.token_hex(4)}", moto
        client.create_bucket(Bucket=self.name)
        self.objects = s3_objects(
            self.name,
            endpoint=moto,
            region="us-east-1",
            access_key_id="id",
            secret_access_key="secret",
        )

    def at(self, url: str) -> dict[str, str]:
        return {
            "FEDSPAN_OBJECTS": f"s3://{self.name}",
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def check(self, world: World) -> None:
        """Every round is whole here, follows from the one before, and was told as it is."""
        found = checkpoints.records(self.objects, JOB)
        for record in found:
            checkpoints.load(self.objects, record)
        newest = checkpoints.latest(self.objects, JOB)

        assert [one.round for one in found] == [world.api.rounds[n + 1] for n in range(ROUNDS)]
        assert newest is not None and newest[0] == found[-1]


@pytest.fixture
def bucket(moto_url: str, aws_client: Callable[..., Any]) -> Bucket:
    return Bucket(moto_url, aws_client("s3", moto_url))


def word(world: World) -> AggregatorReport:
    assert world.api.aggregator is not None
    return world.api.aggregator


def finish(world: World, bucket: Bucket) -> None:
    """To the end of its job, which nothing but time was lost of."""
    world.api.until(lambda: word(world).phase in (Phase.DONE, Phase.FAILED))
    last = word(world)

    assert (last.phase, last.fault, last.waiting) == (Phase.DONE, None, "")
    world.api.until(lambda: len(world.api.rounds) == ROUNDS)
    bucket.check(world)


def outage(world: World, words: str) -> AggregatorReport:
    """What the API hears in an outage, once that has these words."""
    world.api.until(lambda: words in word(world).waiting)
    return word(world)


def again(world: World) -> None:
    """After an outage: until a round more is done."""
    done = len(world.api.rounds)
    world.api.until(lambda: len(world.api.rounds) > done or word(world).phase is Phase.FAILED)


def test_a_store_that_is_away_costs_time_alone_and_is_told_of(
    bucket: Bucket, tmp_path: Path
) -> None:
    """First nothing comes through, as behind a network that drops packets, so that for minutes no
    attempt fails; then all is answered 503; then connections break off."""
    with (
        FaultProxy(bucket.moto) as proxy,
        Relay(urlsplit(proxy.url).port or 0) as relay,
        World(tmp_path, rounds=ROUNDS, extra=bucket.at(relay.url)) as world,
    ):
        world.api.until(lambda: len(world.api.rounds) >= 1)
        relay.cut(lambda machine: True)
        said = [outage(world, "no end of it after")]
        relay.cut(nobody)
        again(world)
        for fault in (Fault(503, b"<Error/>"), Fault(cut="before")):
            proxy.faults = [replace(fault) for _ in range(10_000)]
            said.append(outage(world, "tried 2 times"))
            assert proxy.faults
            proxy.reset()
            again(world)
        finish(world, bucket)

    assert [one.phase for one in said] == [Phase.TRAINING] * 3
    assert all(one.waiting.startswith("objects ") for one in said)
    assert "503" in said[1].waiting


def in_a_small_disk(folder: Path, machine: str) -> dict[str, Any]:
    """What becomes of a job when the disk of `machine` fills up: see `tests.flower.full_disk`."""
    unshare = [shutil.which("unshare") or "false", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("left out: this machine gives no mount namespace for a small full disk")
    script = [sys.executable, "-m", "tests.flower.full_disk", str(folder), machine]
    ran = subprocess.run([*unshare, *script], cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_an_aggregator_whose_disk_fills_up_says_so_and_loses_no_round(tmp_path: Path) -> None:
    found = in_a_small_disk(tmp_path, "aggregator")

    assert (found["phase"], found["fault"]) == ("failed", "DiskFull")
    assert found["codes"]["aggregator"] == 0
    kept = checkpoints.records(FolderObjects(tmp_path / "objects"), JOB)
    assert (
        found["rounds"].items()
        <= {str(one.round.number): one.round.checkpoint.key for one in kept}.items()
    )
    for record in kept:
        checkpoints.load(FolderObjects(tmp_path / "objects"), record)


def test_a_participant_whose_disk_is_full_trains_on_though_its_supernode_dies(
    tmp_path: Path,
) -> None:
    found = in_a_small_disk(tmp_path, NAMES[0])

    assert (found["phase"], found["fault"], len(found["rounds"])) == ("done", None, 6)
    assert set(found["codes"].values()) == {0}
