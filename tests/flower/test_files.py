"""The files between the supervisor and the ServerApp."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedspan.domain.reports import Desired, Fault, Phase
from fedspan.errors import TrainingFailed
from fedspan.flower.files import Desire, ServerStatus, WorkFolder


def test_nothing_is_there_before_it_is_written(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "later")

    assert (work.desired(), work.nodes(), work.status()) == (None, {}, None)


def test_what_was_written_comes_back(tmp_path: Path, federation: Callable[..., Any]) -> None:
    work, manifest = WorkFolder(tmp_path / "work"), federation().manifest
    status = ServerStatus(phase=Phase.FAILED, fault=Fault(code="JobCancelled", message="stop"))
    work.write_desired(manifest)
    work.write_nodes({2**63 + 1: "a"})
    work.write_status(status)

    assert work.desired() == manifest
    assert work.nodes() == {2**63 + 1: "a"}
    assert work.status() == status
    assert json.loads((tmp_path / "work" / "nodes.json").read_text()) == {str(2**63 + 1): "a"}
    assert {one.name for one in work.path.iterdir()} == {
        "desired.json",
        "nodes.json",
        "status.json",
    }


def test_a_changed_manifest_is_noticed(tmp_path: Path, federation: Callable[..., Any]) -> None:
    work, manifest = WorkFolder(tmp_path), federation().manifest
    work.write_desired(manifest)
    desire = Desire(work)
    before = desire()
    work.write_desired(manifest.model_copy(update={"desired": Desired.STOP}))

    assert (before.desired, desire().desired) == (Desired.RUN, Desired.STOP)


def test_a_manifest_that_vanishes_still_holds(
    tmp_path: Path, federation: Callable[..., Any]
) -> None:
    work = WorkFolder(tmp_path)
    work.write_desired(federation().manifest)
    desire = Desire(work)
    before = desire()
    (tmp_path / "desired.json").unlink()

    assert desire() == before


def test_a_manifest_that_never_came_fails(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="wrote no manifest"):
        Desire(WorkFolder(tmp_path))()
