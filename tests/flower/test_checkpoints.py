"""Rounds as objects: whole or not there, whatever was killed or damaged."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedspan.domain.rounds import Checkpoint, Participation, Round, Status
from fedspan.errors import Conflict, Corrupt, NotFound, StaleEpoch
from fedspan.flower.checkpoints import forget, latest, load, records, save
from fedspan.flower.records import Record
from fedspan.objects.folder import FolderObjects

Tensors = dict[str, NDArray[Any]]
STATE: Tensors = {"m_t/flat": np.arange(6, dtype=np.float32)}


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path / "objects")


def tensors(number: int) -> Tensors:
    return {
        "0.weight": np.full((2, 3), number, np.float32),
        "0.count": np.array(number, np.int64),
    }


def commit(
    objects: FolderObjects,
    number: int,
    model: Tensors | None = None,
    state: Tensors = STATE,
    *,
    epoch: int = 1,
    parent: str = "",
) -> Record:
    """The record of `number`, whoever committed it."""

    def describe(checkpoint: Checkpoint) -> Round:
        return Round(
            job="j",
            number=number,
            epoch=epoch,
            seconds=1.5,
            participants={"a": Participation(status=Status.DONE, examples=3)},
            parameters=6,
            checkpoint=checkpoint,
        )

    return save(objects, "j", number, (model or tensors(number), state), describe, parent)[0]


def key_of(objects: FolderObjects, number: int, file: str) -> str:
    """The key of a round's ``json``, ``safetensors`` or ``strategy.safetensors``."""
    if file == "json":
        return f"jobs/j/rounds/{number:06d}.json"
    [key] = [
        info.key
        for info in objects.list(f"jobs/j/rounds/{number:06d}-")
        if info.key.partition(".")[2] == file
    ]
    return key


def found(objects: FolderObjects) -> int | None:
    newest = latest(objects, "j")
    return newest[0].round.number if newest else None


def damage(objects: FolderObjects, key: str) -> None:
    whole = bytearray(objects.get(key))
    place = whole.index(b'"sha256":"') + 20 if key.endswith(".json") else len(whole) // 2
    whole[place] ^= 1
    objects.put(key, bytes(whole))


def test_a_job_without_checkpoints_has_none(objects: FolderObjects) -> None:
    assert latest(objects, "j") is None
    assert records(objects, "j") == []


def test_the_latest_round_comes_back_bit_by_bit(objects: FolderObjects) -> None:
    for number in range(1, 11):
        commit(objects, number)

    newest = latest(objects, "j")

    assert newest is not None
    record, model, state = newest
    assert record.round.number == 10
    assert {key: (one.dtype, one.tobytes()) for key, one in model.items()} == {
        key: (one.dtype, one.tobytes()) for key, one in tensors(10).items()
    }
    assert state["m_t/flat"].tobytes() == STATE["m_t/flat"].tobytes()


def test_the_record_names_files_and_hashes(objects: FolderObjects) -> None:
    record = commit(objects, 3)

    assert record.strategy is not None
    for checkpoint in (record.round.checkpoint, record.strategy):
        stored = objects.get(checkpoint.key)
        assert checkpoint.sha256 == hashlib.sha256(stored).hexdigest()
        assert checkpoint.bytes == len(stored)
    model, optimiser = record.round.checkpoint.sha256, record.strategy.sha256
    assert {info.key for info in objects.list("jobs/")} == {
        "jobs/j/rounds/000003.json",
        f"jobs/j/rounds/000003-{model}.safetensors",
        f"jobs/j/rounds/000003-{optimiser}.strategy.safetensors",
    }


def test_a_strategy_without_state_leaves_no_file_of_it(objects: FolderObjects) -> None:
    commit(objects, 1, state={})

    newest = latest(objects, "j")

    assert newest is not None and newest[2] == {}
    assert len(objects.list("jobs/j/")) == 2


@pytest.mark.parametrize("file", ["safetensors", "strategy.safetensors", "json"])
def test_a_round_with_a_flipped_bit_does_not_count(objects: FolderObjects, file: str) -> None:
    commit(objects, 1)
    commit(objects, 2)
    damage(objects, key_of(objects, 2, file))

    assert found(objects) == 1


@pytest.mark.parametrize("file", ["safetensors", "strategy.safetensors", "json"])
def test_a_round_with_a_missing_file_does_not_count(objects: FolderObjects, file: str) -> None:
    commit(objects, 1)
    commit(objects, 2)
    objects.delete(key_of(objects, 2, file))

    assert found(objects) == 1


@pytest.mark.parametrize("file", ["safetensors", "strategy.safetensors"])
def test_what_is_amiss_with_a_round_is_told_by_key(objects: FolderObjects, file: str) -> None:
    record, key = commit(objects, 1), key_of(objects, 1, file)
    damage(objects, key)
    with pytest.raises(Corrupt, match=f"{key}: its bytes are not those that were committed"):
        load(objects, record)
    objects.delete(key)
    with pytest.raises(NotFound, match=key):
        load(objects, record)


def test_a_round_committed_twice_is_the_same_round(objects: FolderObjects) -> None:
    assert commit(objects, 1) == commit(objects, 1)


@pytest.mark.parametrize("what", ["model", "state"])
def test_of_two_commits_of_a_round_the_first_stands_for_both(
    objects: FolderObjects, what: str
) -> None:
    first = commit(objects, 1)
    before = {info.key: objects.get(info.key) for info in objects.list("jobs/")}
    model = tensors(9) if what == "model" else tensors(1)
    state = {"m_t/flat": np.zeros(6, np.float32)} if what == "state" else STATE

    second = commit(objects, 1, model, state, epoch=2)

    assert second == first
    assert {key: objects.get(key) for key in before} == before
    assert found(objects) == 1


def test_a_second_commit_is_answered_with_the_model_that_stands(objects: FolderObjects) -> None:
    commit(objects, 1)

    def describe(checkpoint: Checkpoint) -> Round:
        return first.round.model_copy(update={"epoch": 2, "checkpoint": checkpoint})

    [first] = records(objects, "j")
    record, model, state = save(objects, "j", 1, (tensors(9), {}), describe)

    assert record == first
    assert float(model["0.count"]) == 1
    assert state["m_t/flat"].tobytes() == STATE["m_t/flat"].tobytes()


def test_a_stale_incarnation_learns_at_its_commit_that_it_is_stale(objects: FolderObjects) -> None:
    newer = commit(objects, 1, epoch=2)

    for model in (tensors(9), tensors(1)):
        with pytest.raises(StaleEpoch, match="round 1 was committed by incarnation 2"):
            commit(objects, 1, model, epoch=1)
    assert records(objects, "j") == [newer]
    assert found(objects) == 1


def test_another_model_that_follows_from_another_round_is_a_conflict(
    objects: FolderObjects,
) -> None:
    first = commit(objects, 1)
    commit(objects, 2, parent=first.identity)

    with pytest.raises(Conflict, match="round 2 is committed with another model"):
        commit(objects, 2, tensors(9), parent="0" * 64)
    assert found(objects) == 2


def test_an_older_round_that_follows_from_what_does_not_count_gives_way(
    objects: FolderObjects,
) -> None:
    first = commit(objects, 1)
    commit(objects, 2, tensors(9), epoch=1, parent="0" * 64)
    ours = commit(objects, 2, epoch=2, parent=first.identity)

    assert records(objects, "j") == [first, ours]


def test_a_round_that_does_not_follow_from_the_one_before_does_not_count(
    objects: FolderObjects,
) -> None:
    first = commit(objects, 1)
    commit(objects, 2, parent=first.identity)
    commit(objects, 3, parent="0" * 64)

    assert found(objects) == 2
    assert len(records(objects, "j")) == 2


def test_what_a_newer_incarnation_committed_is_not_forgotten(objects: FolderObjects) -> None:
    commit(objects, 1)
    newer = commit(objects, 2, epoch=2)

    with pytest.raises(StaleEpoch, match="which has replaced this one, 1"):
        forget(objects, "j", 1, epoch=1)
    assert records(objects, "j", 1) == [newer]


def test_a_damaged_round_of_a_newer_incarnation_is_not_replaced(objects: FolderObjects) -> None:
    newer = commit(objects, 1, epoch=2)
    damage(objects, key_of(objects, 1, "safetensors"))

    with pytest.raises(StaleEpoch):
        commit(objects, 1, tensors(9), epoch=1)
    assert records(objects, "j") == [newer]


def test_a_record_of_a_newer_format_is_neither_damage_nor_a_gap(objects: FolderObjects) -> None:
    key = "jobs/j/rounds/000002.json"
    commit(objects, 1)
    told = b'{"format": 3, "round": {"versions": {"fedspan": "9.1.0"}, "model": [1]}}'
    objects.put(key, told)

    for act in (
        lambda: latest(objects, "j"),
        lambda: records(objects, "j"),
        lambda: forget(objects, "j", 1, epoch=9),
        lambda: commit(objects, 2, epoch=9),
    ):
        with pytest.raises(Corrupt, match=rf"{key} has format 3, of Fedspan 9\.1\.0; this is"):
            act()
    assert objects.get(key) == told


def test_rounds_of_the_first_format_are_gone_on_from(objects: FolderObjects) -> None:
    record = commit(objects, 1)
    assert record.strategy is not None
    named = {
        "jobs/j/rounds/000001.safetensors": record.round.checkpoint,
        "jobs/j/rounds/000001.strategy.safetensors": record.strategy,
    }
    for key, checkpoint in named.items():
        objects.copy(checkpoint.key, key)
        objects.delete(checkpoint.key)
    model, optimiser = (one.model_copy(update={"key": key}) for key, one in named.items())
    old = record.round.model_copy(update={"checkpoint": model})
    text = f'{{"round":{old.model_dump_json()},"strategy":{optimiser.model_dump_json()}}}'
    objects.put("jobs/j/rounds/000001.json", text.encode())
    [read] = records(objects, "j")
    commit(objects, 2, parent=read.identity)

    assert found(objects) == 2
    assert (read.format, read.parent, read.identity) == (1, "", record.identity)
    damage(objects, "jobs/j/rounds/000001.safetensors")
    commit(objects, 1)
    objects.delete("jobs/j/rounds/000002.json")
    assert found(objects) == 1


@pytest.mark.parametrize("file", ["safetensors", "strategy.safetensors"])
def test_doing_a_damaged_round_again_mends_it(objects: FolderObjects, file: str) -> None:
    commit(objects, 1)
    damage(objects, key_of(objects, 1, file))
    commit(objects, 1)

    assert found(objects) == 1


def test_a_damaged_round_may_be_done_with_other_bytes(objects: FolderObjects) -> None:
    commit(objects, 1)
    damage(objects, key_of(objects, 1, "safetensors"))
    commit(objects, 1, tensors(5))

    newest = latest(objects, "j")

    assert newest is not None and float(newest[1]["0.count"]) == 5


def test_a_damaged_record_does_not_block_its_round(objects: FolderObjects) -> None:
    commit(objects, 1)
    objects.put("jobs/j/rounds/000001.json", b'{"round": {"job"')
    commit(objects, 1)

    assert found(objects) == 1


def test_records_are_those_after_a_round_in_order(objects: FolderObjects) -> None:
    for number in (3, 1, 2):
        commit(objects, number)

    assert [one.round.number for one in records(objects, "j")] == [1, 2, 3]
    assert [one.round.number for one in records(objects, "j", 1)] == [2, 3]


@pytest.mark.parametrize("torn", [True, False])
@pytest.mark.parametrize("gap", [2, 3])
def test_a_round_beyond_a_gap_does_not_count(objects: FolderObjects, gap: int, torn: bool) -> None:
    for number in (1, 2, 3, 4):
        commit(objects, number)
    if torn:
        objects.put(key_of(objects, gap, "json"), b'{"round": {"job"')
    else:
        objects.delete(key_of(objects, gap, "json"))

    assert found(objects) == gap - 1
    assert [one.round.number for one in records(objects, "j")] == [*range(1, gap)]


def test_a_gap_among_acknowledged_rounds_is_none(objects: FolderObjects) -> None:
    for number in (1, 2, 3, 4):
        commit(objects, number)
    objects.delete("jobs/j/rounds/000002.json")
    newest = latest(objects, "j", acknowledged=2)

    assert newest is not None and newest[0].round.number == 4
    assert [one.round.number for one in records(objects, "j", 2)] == [3, 4]


def test_forgotten_rounds_may_be_done_with_other_bytes(objects: FolderObjects) -> None:
    for number in (1, 2, 3):
        commit(objects, number)
    forget(objects, "j", 1, epoch=1)
    commit(objects, 2, tensors(9))

    assert found(objects) == 2


def test_jobs_do_not_see_each_others_rounds(objects: FolderObjects) -> None:
    commit(objects, 1)

    assert latest(objects, "j2") is None


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from fedspan.domain.rounds import Round
from fedspan.flower.checkpoints import save
from fedspan.objects.folder import FolderObjects

class Killed(FolderObjects):
    def put(self, key, source, *, new=False):
        if key.endswith(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(key, source, new=new)

def describe(checkpoint):
    return Round(job="j", number=2, epoch=1, seconds=1, participants={}, parameters=1,
                 checkpoint=checkpoint)

save(Killed(Path(sys.argv[1])), "j", 2,
     ({"w": np.ones(4, np.float32)}, {"m_t/flat": np.ones(4, np.float32)}), describe)
"""


@pytest.mark.parametrize("write", [".safetensors", ".strategy.safetensors", ".json"])
def test_a_kill_before_any_write_leaves_the_round_before(
    objects: FolderObjects, tmp_path: Path, write: str
) -> None:
    commit(objects, 1)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "objects"), write]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": _import_path()}, timeout=180)

    assert killed.returncode == -signal.SIGKILL
    assert found(objects) == 1
    commit(objects, 2)
    assert found(objects) == 2


def _import_path() -> str:
    import fedspan

    return str(Path(fedspan.__file__).parent.parent)
