"""What a participant's machine remembers of its training, for an aggregator that comes later.

``training.json``
    a ClientApp trains: for which job and round, as which process, for how long at most;
``reply``
    the latest model that was trained here, under a hash of all that it was made from.

Training is deterministic, so a reply that is asked for again, by another incarnation of the
aggregator, is the one that would be trained again. One that is not whole is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from pydantic import PositiveFloat, PositiveInt, ValidationError

from fedspan.domain.values import Message
from fedspan.flower.folding import Flat

TRAINING: Final = "training.json"
REPLY: Final = "reply"


class AtWork(Message):
    """A ClientApp that trains, `limit` being the seconds a round may take."""

    job: str
    round: PositiveInt
    pid: PositiveInt
    limit: PositiveFloat


@dataclass(frozen=True, slots=True)
class Kept:
    """A model that was trained, and what its reply says of it."""

    flat: Flat
    examples: int
    loss: float
    seconds: float


@contextlib.contextmanager
def at_work(folder: Path, job: str, number: int, limit: float) -> Iterator[None]:
    """Meanwhile the machine's agent finds this process at work."""
    told = AtWork(job=job, round=number, pid=os.getpid(), limit=limit)
    with contextlib.suppress(OSError):
        _put(folder / TRAINING, told.model_dump_json().encode())
    try:
        yield
    finally:
        idle(folder)


def working(folder: Path) -> tuple[AtWork, float] | None:
    """Who is at work, and for how many seconds; nobody who died, or should have ended."""
    file = folder / TRAINING
    try:
        found = AtWork.model_validate_json(file.read_bytes())
        seconds = max(0.0, time.time() - file.stat().st_mtime)
    except (OSError, ValidationError):
        return None
    return (found, seconds) if seconds <= found.limit and psutil.pid_exists(found.pid) else None


def idle(folder: Path) -> None:
    """Nobody is at work there."""
    (folder / TRAINING).unlink(missing_ok=True)


def name_of(said: Any, *parts: bytes | memoryview) -> str:
    """A hash of all a reply is made from."""
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def identity(path: str) -> list[int]:
    """Of a file of data: another one, or one that was written to, has another."""
    try:
        found = Path(path).stat()
    except OSError:
        return []  # whoever reads it says what is wrong
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def keep(folder: Path, name: str, reply: Kept) -> None:
    """In place of the one before. That there is no room for it costs a training at worst."""
    body = np.ascontiguousarray(reply.flat).data.cast("B")
    head = {
        "name": name,
        "sha256": hashlib.sha256(body).hexdigest(),
        "dtype": reply.flat.dtype.str,
        "examples": reply.examples,
        "loss": reply.loss,
        "seconds": reply.seconds,
    }
    with contextlib.suppress(OSError):
        (folder / REPLY).unlink(missing_ok=True)  # else there would be two for a moment
        _put(folder / REPLY, json.dumps(head).encode() + b"\n", body)


def find(folder: Path, name: str) -> Kept | None:
    """The reply that was kept under `name`, if it is the latest, and whole."""
    try:
        with (folder / REPLY).open("rb") as file:
            head = json.loads(file.readline())
            if head["name"] != name:
                return None
            body = file.read()
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        flat = np.frombuffer(bytearray(body), np.dtype(head["dtype"]))
        return Kept(flat, int(head["examples"]), float(head["loss"]), float(head["seconds"]))
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _put(file: Path, *parts: bytes | memoryview) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("wb") as out:
            for part in parts:
                out.write(part)
        beside.replace(file)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
