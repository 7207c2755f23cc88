"""What a participant's machine remembers of its training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType

from fedspan.domain.reports import Link
from fedspan.flower import client, replies
from fedspan.flower.files import LINK
from fedspan.flower.replies import REPLY, TRAINING, Kept
from fedspan.flower.wire import Trained, trained_of
from fedspan.learning import training
from tests.flower.test_client import context, message, start

Make = Callable[..., Any]

REPLIED = Kept(np.arange(6, dtype=np.float32), 24, 0.1 + 0.2, 1.25)


@pytest.fixture
def site(federation: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    one = federation()
    monkeypatch.setenv(LINK, str(one.links["a"]))
    return one


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The seeds of what was trained."""
    seeds: list[Any] = []
    real = training.train

    def counted(module: Any, split: Any, how: Any, seed: Any, mu: Any) -> Any:
        seeds.append(seed)
        return real(module, split, how, seed, mu)

    monkeypatch.setattr(training, "train", counted)
    return seeds


def reply(one: Any, number: int = 1, **config: float) -> Trained:
    asked = message(one, MessageType.TRAIN, start(one), number, **config)
    return trained_of(client.train(asked, context()), start(one))


def told(one: Trained) -> tuple[bytes, int, float, float]:
    return one.flat.tobytes(), one.examples, one.loss, one.seconds


def folder(one: Any) -> Path:
    return Path(one.links["a"]).parent


def test_what_is_asked_again_is_not_trained_again(site: Any, times: list[Any]) -> None:
    first, second = reply(site), reply(site)

    assert told(first) == told(second)
    assert len(times) == 1


def test_another_round_model_or_spec_is_trained(site: Any, times: list[Any]) -> None:
    reply(site)
    reply(site, 2)
    reply(site, 2, **{"proximal-mu": 5.0})
    client.train(message(site, MessageType.TRAIN, start(site) * 2, 2), context())
    site.change(training={"local_epochs": 2})
    reply(site, 2)

    assert len(times) == 5


def test_data_that_was_written_to_is_trained_on(site: Any, times: list[Any]) -> None:
    reply(site)
    data = Path(Link.model_validate_json(Path(site.links["a"]).read_bytes()).dataset.path)
    os.utime(data, ns=(1, 1))
    reply(site)

    assert len(times) == 2


def test_only_the_latest_is_kept(site: Any, times: list[Any]) -> None:
    for number in (1, 2, 1):
        reply(site, number)

    assert len(times) == 3
    assert [one.name for one in folder(site).glob(f"*{REPLY}*")] == [REPLY]


@pytest.mark.parametrize("amiss", [b"", b"{", b"null\n", b'{"name": 1}\n'])
def test_one_that_makes_no_sense_is_trained_again(
    site: Any, times: list[Any], amiss: bytes
) -> None:
    first = reply(site)
    (folder(site) / REPLY).write_bytes(amiss)
    second = reply(site)

    assert first.flat.tobytes() == second.flat.tobytes()
    assert len(times) == 2


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_one_that_is_not_whole_is_none(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    replies.keep(tmp_path, "n", REPLIED)
    whole = replies.find(tmp_path, "n")
    file = tmp_path / REPLY
    file.write_bytes(spoil(file.read_bytes()))

    assert whole is not None
    assert whole.flat.tobytes() == REPLIED.flat.tobytes()
    assert (whole.examples, whole.loss, whole.seconds) == (24, REPLIED.loss, 1.25)
    assert replies.find(tmp_path, "n") is None


def test_a_folder_that_takes_nothing_costs_the_memory_alone(tmp_path: Path) -> None:
    replies.keep(tmp_path / "none", "n", REPLIED)
    with replies.at_work(tmp_path / "none", "job-1", 3, 60.0):
        assert replies.working(tmp_path / "none") is None

    assert replies.find(tmp_path / "none", "n") is None


def test_who_trains_is_found_until_it_is_done(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), replies.at_work(tmp_path, "job-1", 3, 60.0):
        found = replies.working(tmp_path)
        raise ValueError("broken")

    assert found is not None
    assert (found[0].job, found[0].round, found[0].pid) == ("job-1", 3, os.getpid())
    assert found[1] < 60
    assert replies.working(tmp_path) is None


def test_who_died_or_takes_longer_than_a_round_may_is_not_at_work(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file = tmp_path / TRAINING
    said = '{"job": "job-1", "round": 3, "pid": %d, "limit": 60}'
    file.write_text(said % ended.pid)
    died = replies.working(tmp_path)
    file.write_text(said % os.getpid())
    at_work = replies.working(tmp_path)
    os.utime(file, (1, 1))

    assert died is None
    assert at_work is not None
    assert replies.working(tmp_path) is None
