"""The rounds of a job as objects, such that a crash at any instant leaves whole rounds only.

``jobs/<job>/rounds/<n>-<sha256>.safetensors``
    the model after round n, named tensors;
``jobs/<job>/rounds/<n>-<sha256>.strategy.safetensors``
    the server optimiser's state, for strategies that have one;
``jobs/<job>/rounds/<n>.json``
    the commit record with the hashes of both, that of the round before and the round's metrics,
    created last.

A round exists when its record does and the hashes match. Nothing points to the latest: a listing
finds it, and a listing cannot be half written. A round beyond a gap does not count: what is
missing could never be told, so it is done again, and all after it. Training is deterministic, so
a round done again gives the same bytes and repeats the same commit.

An aggregator that was replaced may wake late and go on writing. It cannot hurt: files carry their
hash in their name, so no write changes the bytes of a committed one; of two records for a round
the first stands, and whoever comes second goes on from that; and no record of a newer incarnation
is ever removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from fedspan.domain.rounds import Checkpoint, Round
from fedspan.errors import Conflict, Corrupt, DiskFull, NotFound, StorageFull
from fedspan.flower.files import scratch
from fedspan.flower.records import FORMAT, Record, read_record
from fedspan.learning.weights import read_weights, sha256_of, write_weights
from fedspan.objects.base import Objects

Tensors = Mapping[str, NDArray[Any]]
Named = dict[str, NDArray[Any]]


ATTEMPTS: Final = 3
"""To create a record in place of one that counts for nothing, while others do the same."""


Whole = tuple[Record, Tensors, Tensors]
"""A committed round: its record, model and optimiser state."""


def save(
    objects: Objects,
    job: str,
    number: int,
    weights: tuple[Tensors, Tensors],
    describe: Callable[[Checkpoint], Round],
    parent: str = "",
) -> Whole:
    """Store `weights`, (model, optimiser state), as round `number` of `job` after the round
    `parent`, and commit it.

    `describe` makes the round of its checkpoint. Repeating it with the same bytes changes
    nothing, and mends files that were damaged. Where another incarnation of the job was first,
    and went on from `parent` too, its round is the answer.

    Raises:
        StaleEpoch: a newer incarnation has committed the round.
        Conflict: the round is committed with other bytes, and they do not follow from `parent`.
        Corrupt: its record has a format of a newer Fedspan.
        DiskFull: here, where its files are written first.
    """
    tensors, state = weights
    stem = f"jobs/{job}/rounds/{number:06d}"
    with scratch() as folder:
        model, optimiser = folder / "model", folder / "strategy"
        checkpoint = _written(tensors, model, stem, "safetensors")
        strategy = _written(state, optimiser, stem, "strategy.safetensors") if state else None
        round = describe(checkpoint)
        ours = Record(format=FORMAT, round=round, strategy=strategy, parent=parent)
        found = _standing(objects, f"{stem}.json", ours)
        if found and found.hashes != ours.hashes:
            return load(objects, found)
        record = found or ours
        objects.put(record.round.checkpoint.key, model)
        if record.strategy:
            objects.put(record.strategy.key, optimiser)
    committed = found or _commit(objects, f"{stem}.json", ours)
    if committed.hashes != ours.hashes:
        return load(objects, committed)
    return committed, tensors, state


def load(objects: Objects, record: Record) -> Whole:
    """The round that `record` commits. Raises `NotFound` or `Corrupt` when it is not whole."""
    tensors = read(objects, record.round.checkpoint)
    return record, tensors, read(objects, record.strategy) if record.strategy else {}


def latest(objects: Objects, job: str, acknowledged: int = 0) -> Whole | None:
    """The newest whole round: its record, model and optimiser state. None when there is none.

    A round with a missing file, a flipped bit or a torn record does not count: the one before
    does. Nor does one beyond the first record that cannot be read after round `acknowledged`.
    """
    last = acknowledged + len(records(objects, job, acknowledged))
    for key in reversed([one for one in _keys(objects, job) if _number(one) <= last]):
        record = read_record(objects, key)
        try:
            if record:
                return load(objects, record)
        except (NotFound, Corrupt):
            continue
    return None


def records(objects: Objects, job: str, after: int = 0) -> list[Record]:
    """The commit records of `job` from round `after` + 1 up to the first that is missing, cannot
    be read, or does not follow from the one before.

    Raises:
        Corrupt: a record has a format of a newer Fedspan.
    """
    found: list[Record] = []
    before: Record | None = None
    for key in _keys(objects, job):
        number = _number(key)
        if number < after or number > after + len(found) + 1:
            continue
        record = read_record(objects, key)
        if number == after:
            before = record
        elif record and record.follows(before):
            found.append(record)
            before = record
    return found


def forget(objects: Objects, job: str, after: int, epoch: int) -> None:
    """Remove the commit records of rounds later than `after`, so that these can be done again
    with other bytes. Not for rounds anyone was told of.

    Raises:
        StaleEpoch: one is of an incarnation newer than `epoch`; it stays.
    """
    for key in _keys(objects, job):
        if _number(key) > after:
            _remove(objects, key, epoch)


def _standing(objects: Objects, key: str, ours: Record) -> Record | None:
    """The commit that stands in place of `ours`, if any. One whose files are damaged, or which
    does not follow from what ours does, is removed: it counts for nothing, and blocks the round."""
    if not objects.list(key):
        return None
    found, epoch = read_record(objects, key), ours.round.epoch
    if found:
        found.fence(epoch)
        if found.hashes == ours.hashes:
            return found
        if _whole(objects, found):
            if found.parent == ours.parent and found.format > 1:
                return found
            if found.round.epoch == epoch or not found.parent:
                raise _conflict(ours)
    _remove(objects, key, epoch)
    return None


def _commit(objects: Objects, key: str, ours: Record) -> Record:
    """The record that was created first: ours, most of the time."""
    for _ in range(ATTEMPTS):
        try:
            objects.put(key, ours.model_dump_json().encode(), new=True)
        except Conflict:
            found = _standing(objects, key, ours)
            if found:
                return found
        else:
            return ours
    raise _conflict(ours)


def _remove(objects: Objects, key: str, epoch: int) -> None:
    """Looks once more: since it was found, a newer incarnation may have written it."""
    found = read_record(objects, key)
    if found:
        found.fence(epoch)
    objects.delete(key)


def _conflict(record: Record) -> Conflict:
    one = record.round
    return Conflict(f"job {one.job}: round {one.number} is committed with another model")


def _written(tensors: Tensors, path: Path, stem: str, kind: str) -> Checkpoint:
    sha256, size = write_weights(dict(tensors), path)
    return Checkpoint(key=f"{stem}-{sha256}.{kind}", sha256=sha256, bytes=size)


def read(objects: Objects, checkpoint: Checkpoint) -> Named:
    """The tensors of `checkpoint`. Raises `NotFound`, or `Corrupt` for other bytes."""
    with scratch() as folder:
        return read_weights(_fetched(objects, checkpoint, folder))


def _fetched(objects: Objects, checkpoint: Checkpoint, folder: Path) -> Path:
    path = folder / "weights"
    try:
        objects.download(checkpoint.key, path)
    except StorageFull as exc:  # of what is here: nothing else is written
        raise DiskFull(str(exc)) from exc
    if sha256_of(path) != checkpoint.sha256:
        raise Corrupt(f"{checkpoint.key}: its bytes are not those that were committed")
    return path


def _whole(objects: Objects, record: Record) -> bool:
    files = [record.round.checkpoint, *([record.strategy] if record.strategy else [])]
    try:
        with scratch() as folder:
            for one in files:
                _fetched(objects, one, folder)
    except (NotFound, Corrupt):
        return False
    return True


def _keys(objects: Objects, job: str) -> list[str]:
    """The keys of the job's commit records, in order of rounds."""
    found = (info.key for info in objects.list(f"jobs/{job}/rounds/"))
    return sorted((key for key in found if key.endswith(".json")), key=_number)


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))
