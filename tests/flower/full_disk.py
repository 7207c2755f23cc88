"""A federation of which one machine's disk, a small file system of its own, fills up in the middle
of its job. Run in a mount namespace: ``python -m tests.flower.full_disk FOLDER MACHINE``; prints a
JSON object of what became of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedspan.domain.reports import Phase
from tests.flower.machines import NAMES, World, kill, named

SITES = NAMES[:2]


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No room is left there meanwhile, whatever others remove."""
    over, full = threading.Event(), threading.Event()

    def fill() -> None:
        with (folder / "filler").open("wb", buffering=0) as file:
            while not over.wait(0.002):
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    full.set()

    filler = threading.Thread(target=fill)
    filler.start()
    assert full.wait(60)
    try:
        yield
    finally:
        over.set()
        filler.join()
        (folder / "filler").unlink()


def main(folder: Path, machine: str) -> None:
    work = folder / machine
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", work], check=True)
    lost = machine == "aggregator"
    if lost:
        (work / "tmp").mkdir()
    extra = {"TMPDIR": str(work / "tmp")} if lost else {}
    with World(folder, sites=SITES, rounds=400 if lost else 6, extra=extra) as world:
        world.api.until(lambda: len(world.api.rounds) >= 1)
        with filled(work):
            if not lost:
                kill(named(world.agents[machine], "flower-supernode"))
            world.api.until(lambda: ended(world))
        said = world.api.aggregator
        codes = world.stop()
    assert said is not None
    told = {
        "phase": said.phase,
        "fault": said.fault and said.fault.code,
        "message": said.fault and said.fault.message,
        "rounds": {one.number: one.checkpoint.key for one in world.api.rounds.values()},
        "codes": codes,
    }
    print(json.dumps(told))


def ended(world: World) -> bool:
    said = world.api.aggregator
    return said is not None and said.phase in (Phase.FAILED, Phase.DONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
