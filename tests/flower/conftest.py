"""Federations in this process, small and quick."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedspan.domain.sites import Dataset
from fedspan.domain.spec import JobSpec
from fedspan.flower.files import LINK
from fedspan.learning.datasets import describe
from tests.flower.app_jobs import DRIFTING, Job
from tests.support.in_process import Federation, in_a_task, made


@pytest.fixture(autouse=True, scope="module")
def quick(cheap_collections: None) -> None:
    """All tests here make models."""


@pytest.fixture(autouse=True)
def task_identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`LINK` is set by the clients of a federation."""
    monkeypatch.setenv(LINK, "")
    with in_a_task():
        yield


@pytest.fixture
def federation(tmp_path: Path) -> Callable[..., Federation]:
    """A federation of ``a``, ``b`` and ``c`` on small random data; keywords change the spec."""
    numbers = itertools.count(1)

    def make(classes: int = 2, **changes: Any) -> Federation:
        home = tmp_path / str(next(numbers))
        return _federation(home, classes, changes)

    return make


@pytest.fixture
def job(
    federation: Callable[..., Federation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Job]]:
    """A job of the app ``drifting``, whose modules are there as Flower imports them of a bundle
    it has unpacked; keywords change the app's configuration."""

    def make(rounds: int = 4, **config: Any) -> Job:
        return Job(federation(), tmp_path, rounds, **config)

    monkeypatch.syspath_prepend(str(DRIFTING))
    yield make
    for name in [one for one in sys.modules if one.split(".")[0] == "drifting"]:
        del sys.modules[name]


def _federation(home: Path, classes: int, changes: dict[str, Any]) -> Federation:
    names = ("a", "b", "c")
    home.mkdir()
    spec = JobSpec.model_validate(
        {
            "name": "job",
            "rounds": 2,
            "seed": 7,
            "participants": names,
            "model": {"layers": [{"linear": 8}, {"relu": {}}, {"linear": classes}]},
            "data": {"dataset": "points"},
            "training": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 8},
            "limits": {"round": 30, "node_wait": 0.2},
            **changes,
        }
    )
    offered = {name: _points(home, name, index, classes) for index, name in enumerate(names)}
    return made(home, "job-1", spec, offered)


def _points(home: Path, name: str, index: int, classes: int) -> Dataset:
    """What a participant offers: 30 + 10 * `index` rows of separable points."""
    random = np.random.default_rng(index)
    rows = 30 + 10 * index
    y = np.arange(rows) % classes
    x = random.standard_normal((rows, 4)) + 2.0 * y[:, None]
    text = "\n".join(
        [
            "p,q,r,s,target",
            *(
                ",".join(map(str, [*map(float, row), f"k{one}"]))
                for row, one in zip(x, y, strict=True)
            ),
        ]
    )
    data = home / f"{name}.csv"
    data.write_text(text + "\n")
    return describe("points", data, "target")
