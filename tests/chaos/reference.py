"""The job that nothing disturbs: the product's server and clients in one process, without Flower's
processes, machines or control plane. A job that was hurt must end with the very same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fedspan.domain.reports import Phase
from fedspan.domain.selection import select
from fedspan.domain.spec import JobSpec
from fedspan.local.hospitals import demo_spec, write_hospitals
from tests.chaos.federation import SEED
from tests.support.garbage import cheap_collections
from tests.support.in_process import in_a_task, made


def reference(folder: Path, rounds: int, **changes: Any) -> str:
    """The SHA-256 of the model that such a job keeps, as `Federation.submit` takes it."""
    spec = JobSpec.model_validate({**demo_spec(rounds, SEED), **changes})
    offered = {one.name: one.datasets[0] for one in write_hospitals(folder / "sites")}
    here = made(folder, "job", spec, offered)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as `FAST` has it
    try:
        with in_a_task(), cheap_collections():
            status = here.run()
    finally:
        torch.set_num_threads(threads)
    assert status.phase is Phase.DONE, status.fault
    best = select(status.rounds, spec.selection)
    assert best is not None
    [sha256] = [one.checkpoint.sha256 for one in status.rounds if one.number == best.round]
    return sha256
