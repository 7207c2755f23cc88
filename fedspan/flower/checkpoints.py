"""The rounds of a job as objects, such that a crash at any instant leaves whole rounds only.

``jobs/<job>/rounds/<n>.safetensors``
    the model after round n, named tensors;
``jobs/<job>/rounds/<n>.strategy.safetensors``
    the server optimiser's state, for strategies that have one;
``jobs/<job>/rounds/<n>.json``
    the commit record with the hashes of both and the round's metrics, written last.

A round exists when its record does and the hashes match. Nothing points to the latest: a listing
finds it, and a listing cannot be half written. A round beyond a gap does not count: what is
missing could never be told, so it is done again, and all after it. Training is deterministic, so
a round done again gives the same bytes and repeats the same commit.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from fedspan.domain.rounds import Checkpoint, Round
from fedspan.domain.values import Message
from fedspan.errors import Conflict, Corrupt, NotFound
from fedspan.learning.weights import read_weights, write_weights
from fedspan.objects.base import Objects

Tensors = Mapping[str, NDArray[Any]]
Named = dict[str, NDArray[Any]]


class Record(Message):
    """The commit record: the round, and where its optimiser state lies, if it has one."""

    round: Round
    strategy: Checkpoint | None = None


def save(
    objects: Objects,
    job: str,
    number: int,
    weights: tuple[Tensors, Tensors],
    describe: Callable[[Checkpoint], Round],
) -> Record:
    """Store `weights`, (model, optimiser state), as round `number` of `job` and commit it.

    `describe` makes the round of its checkpoint. Repeating it with the same bytes changes
    nothing, and mends files that were damaged.

    Raises:
        Conflict: the round is committed with other bytes.
    """
    tensors, state = weights
    stem = f"jobs/{job}/rounds/{number:06d}"
    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder:
        model, optimiser = Path(folder, "model"), Path(folder, "strategy")
        checkpoint = _written(tensors, model, f"{stem}.safetensors")
        strategy = _written(state, optimiser, f"{stem}.strategy.safetensors") if state else None
        record = Record(round=describe(checkpoint), strategy=strategy)
        found = _make_way(objects, f"{stem}.json", record)
        objects.put(checkpoint.key, model)
        if strategy:
            objects.put(strategy.key, optimiser)
    return found or _commit(objects, f"{stem}.json", record)


def latest(objects: Objects, job: str, acknowledged: int = 0) -> tuple[Record, Named, Named] | None:
    """The newest whole round: its record, model and optimiser state. None when there is none.

    A round with a missing file, a flipped bit or a torn record does not count: the one before
    does. Nor does one beyond the first record that cannot be read after round `acknowledged`.
    """
    last = acknowledged + len(records(objects, job, acknowledged))
    for key in reversed([one for one in _keys(objects, job) if _number(one) <= last]):
        record = _record(objects, key)
        try:
            if record:
                tensors = _read(objects, record.round.checkpoint)
                return record, tensors, _read(objects, record.strategy) if record.strategy else {}
        except (NotFound, Corrupt):
            continue
    return None


def records(objects: Objects, job: str, after: int = 0) -> list[Record]:
    """The commit records of `job` from round `after` + 1 up to the first that is missing or
    cannot be read."""
    found: list[Record] = []
    for key in _keys(objects, job):
        record = _record(objects, key) if _number(key) == after + len(found) + 1 else None
        if record:
            found.append(record)
    return found


def forget(objects: Objects, job: str, after: int) -> None:
    """Remove the commit records of rounds later than `after`, so that these can be done again
    with other bytes. Not for rounds anyone was told of."""
    for key in _keys(objects, job):
        if _number(key) > after:
            objects.delete(key)


def _make_way(objects: Objects, key: str, record: Record) -> Record | None:
    """The commit that stands for the same bytes, if any. One whose files are damaged and which
    stands for others is removed: it counts for nothing, and blocks the round."""
    if not objects.list(key):
        return None
    found = _record(objects, key)
    if found and _hashes(found) == _hashes(record):
        return found
    if found and _whole(objects, found):
        raise _conflict(record)
    objects.delete(key)
    return None


def _commit(objects: Objects, key: str, record: Record) -> Record:
    try:
        objects.put(key, record.model_dump_json().encode(), new=True)
    except Conflict:
        found = _record(objects, key)
        if found is None or _hashes(found) != _hashes(record):
            raise _conflict(record) from None
        return found
    return record


def _conflict(record: Record) -> Conflict:
    one = record.round
    return Conflict(f"job {one.job}: round {one.number} is committed with another model")


def _written(tensors: Tensors, path: Path, key: str) -> Checkpoint:
    sha256, size = write_weights(dict(tensors), path)
    return Checkpoint(key=key, sha256=sha256, bytes=size)


def _read(objects: Objects, checkpoint: Checkpoint) -> Named:
    with tempfile.TemporaryDirectory(prefix="fedspan-") as folder:
        path = Path(folder, "weights")
        objects.download(checkpoint.key, path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != checkpoint.sha256:
                raise Corrupt(f"{checkpoint.key}: its bytes are not those that were committed")
        return read_weights(path)


def _whole(objects: Objects, record: Record) -> bool:
    files = [record.round.checkpoint, *([record.strategy] if record.strategy else [])]
    try:
        return all(_digest(objects.chunks(one.key)) == one.sha256 for one in files)
    except NotFound:
        return False


def _digest(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _keys(objects: Objects, job: str) -> list[str]:
    """The keys of the job's commit records, in order of rounds."""
    found = (info.key for info in objects.list(f"jobs/{job}/rounds/"))
    return sorted((key for key in found if key.endswith(".json")), key=_number)


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))


def _record(objects: Objects, key: str) -> Record | None:
    try:
        return Record.model_validate_json(objects.get(key))
    except (NotFound, ValidationError):
        return None


def _hashes(record: Record) -> tuple[str, str]:
    return record.round.checkpoint.sha256, record.strategy.sha256 if record.strategy else ""
