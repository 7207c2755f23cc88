"""The job that nothing disturbs: the product's server and clients in one process, without Flower's
processes, machines or control plane. A job that was hurt must end with the very same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fedspan.domain.reports import AggregatorManifest, Desired, Link, Phase
from fedspan.domain.selection import select
from fedspan.domain.spec import JobSpec
from fedspan.flower.files import WorkFolder
from fedspan.local.hospitals import demo_spec, write_hospitals
from fedspan.objects.folder import FolderObjects
from tests.chaos.federation import SEED
from tests.support.garbage import cheap_collections
from tests.support.in_process import Federation, in_a_task


def reference(folder: Path, rounds: int, **changes: Any) -> str:
    """The SHA-256 of the model that such a job keeps, as `Federation.submit` takes it."""
    spec = JobSpec.model_validate({**demo_spec(rounds, SEED), **changes})
    offered = {one.name: one.datasets[0] for one in write_hospitals(folder / "sites")}
    links = {}
    for name in spec.participants:
        link = Link(job="job", epoch=1, address="", certificate="", dataset=offered[name])
        links[name] = folder / f"{name}.json"
        links[name].write_text(link.model_dump_json())
    manifest = AggregatorManifest(
        desired=Desired.RUN,
        job="job",
        epoch=1,
        spec=spec,
        features=offered[name].features,
        classes=offered[name].classes,
        heartbeat_seconds=1,
    )
    objects, work = FolderObjects(folder / "objects"), WorkFolder(folder / "work")
    here = Federation(spec, folder, links, manifest, objects, work)
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
