"""What a participant makes of a message, with its own data and no memory of the last one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedspan.domain.reports import Link
from fedspan.errors import TrainingFailed
from fedspan.flower import client
from fedspan.flower.files import LINK
from fedspan.flower.wire import (
    ARRAYS,
    CONFIG,
    PROGRAM,
    Task,
    arrays,
    evaluated_of,
    program_of,
    program_record,
    trained_of,
)
from fedspan.learning.initial import initial_tensors
from fedspan.learning.packing import Layout

Make = Callable[..., Any]


@pytest.fixture
def site(federation: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A federation whose participant ``a`` this process is."""
    one = federation()
    monkeypatch.setenv(LINK, str(one.links["a"]))
    return one


def start(one: Any) -> np.ndarray:
    manifest = one.manifest
    tensors = initial_tensors(
        one.spec.model, manifest.features, len(manifest.classes), one.spec.seed
    )
    return Layout.of(tensors).pack(tensors)


def message(one: Any, kind: str, flat: np.ndarray, number: int = 1, **config: float) -> Message:
    manifest = one.manifest
    task = Task(
        job=manifest.job,
        round=number,
        spec=one.spec,
        features=manifest.features,
        classes=manifest.classes,
    )
    record = ConfigRecord({"task": task.model_dump_json(), **config})
    content = RecordDict({ARRAYS: arrays(Array(flat)), CONFIG: record})
    made = Message(content, 1, kind)
    made.metadata.__dict__["_message_id"] = "m"
    return made


def context(participant: str = "a") -> Context:
    return Context(1, 1, {"participant": participant}, RecordDict(), {})


def trained(one: Any, number: int = 1, participant: str = "a", **config: float) -> np.ndarray:
    asked = message(one, MessageType.TRAIN, start(one), number, **config)
    return trained_of(client.train(asked, context(participant)), start(one)).flat


def refusal(one: Any, kind: str = MessageType.TRAIN, flat: np.ndarray | None = None) -> str:
    asked = message(one, kind, start(one) if flat is None else flat)
    reply = (client.train if kind == MessageType.TRAIN else client.evaluate)(asked, context())
    assert reply.has_error()
    return str(reply.error.reason)


def test_a_participant_replies_with_its_model_and_how_it_came_by_it(site: Any) -> None:
    reply = client.train(message(site, MessageType.TRAIN, start(site)), context())
    result = trained_of(reply, start(site))

    assert reply.metadata.reply_to_message_id == "m"
    assert result.examples == 24
    assert result.loss > 0
    assert result.seconds > 0
    assert not np.array_equal(result.flat, start(site))


def test_a_message_answered_twice_is_answered_alike(site: Any) -> None:
    assert trained(site).tobytes() == trained(site).tobytes()


def test_rounds_and_participants_differ_in_their_random_choices(site: Any) -> None:
    models = [trained(site, 1), trained(site, 2), trained(site, 1, "b")]

    assert len({model.tobytes() for model in models}) == 3


def test_the_strategy_says_how_far_a_model_may_drift(site: Any) -> None:
    free, held = trained(site), trained(site, **{"proximal-mu": 5.0})

    assert np.linalg.norm(held - start(site)) < np.linalg.norm(free - start(site))


def test_an_evaluation_counts_the_rows_held_out_from_training(site: Any) -> None:
    asked = message(site, MessageType.EVALUATE, start(site))
    counts = evaluated_of(client.evaluate(asked, context()), 2)

    assert counts.confusion.shape == (2, 2)
    assert counts.confusion.sum() == 30 - 24
    assert counts.loss_sum > 0


def test_the_rows_held_out_do_not_depend_on_the_round(site: Any) -> None:
    rows = [
        evaluated_of(
            client.evaluate(message(site, MessageType.EVALUATE, start(site), number), context()), 2
        )
        for number in (1, 7)
    ]

    assert rows[0].loss_sum == rows[1].loss_sum


@pytest.mark.parametrize("kind", [MessageType.TRAIN, MessageType.EVALUATE])
def test_a_site_refuses_data_it_is_not_linked_for(site: Any, kind: str) -> None:
    site.change(data={"dataset": "patients"})

    assert refusal(site, kind) == (
        "InvalidDataset: this site is linked to job job-1 for dataset 'points', "
        "not to job-1 for 'patients'"
    )


def test_a_site_refuses_another_job(site: Any) -> None:
    site.want(job="job-2")

    assert "not to job-2" in refusal(site)


def test_a_site_refuses_a_job_for_other_classes(site: Any) -> None:
    flat = start(site)
    site.want(classes=("k0", "k1", "k2"))

    assert refusal(site, flat=flat).startswith("InvalidDataset: dataset 'points' has features (4,)")


def test_a_file_that_changed_since_it_was_linked_is_told(site: Any) -> None:
    link = Link.model_validate_json(site.links["a"].read_bytes())
    with Path(link.dataset.path).open("a") as file:
        file.write("1,2,3,4,k9\n")

    assert refusal(site) == (
        "InvalidDataset: dataset 'points': example 31 is of a class it was not described with"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p,q,r,s,target\n", "p,Kim-Min-su,r,s,target\nKim-Min-su,1,1,1,k0\n"),
        ("p,q,r,s,target\n", "p,q,r,s,target\n1,1,1,1,Kim-Min-su\n"),
        ("p,q,r,s,target\n", "p,q,r,s,Kim-Min-su\n"),
        ("p,q,r,s,target\n", "p,Kim-Min-su,Kim-Min-su,s,target\n"),
        ("p,q,r,s,target\n", 'p,q,r,s,target\n"Kim-Min-su,1,1,1,k0\n'),
    ],
)
@pytest.mark.parametrize("kind", [MessageType.TRAIN, MessageType.EVALUATE])
def test_no_value_leaves_the_machine_but_its_log_has_it(
    site: Any, capsys: pytest.CaptureFixture[str], kind: str, old: str, new: str
) -> None:
    data = site.home / "a.csv"
    data.write_text(data.read_text().replace(old, new))
    asked = message(site, kind, start(site))
    reply = (client.train if kind == MessageType.TRAIN else client.evaluate)(asked, context())
    sent = [one.deflate() for one in get_all_nested_objects(reply).values()]

    assert "InvalidDataset: dataset 'points': " in str(reply.error.reason)
    assert not [one for one in sent if b"Kim" in one]
    assert "Kim" not in str(reply.error) and "a.csv" not in str(reply.error)
    assert "InvalidDataset" in capsys.readouterr().err


def test_the_log_of_the_site_has_the_cell(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = site.home / "a.csv"
    data.write_text(data.read_text() + "1,Kim-Min-su,1,1,k0\n")

    assert refusal(site) == "InvalidDataset: dataset 'points': row 32, column 2 is no number"
    assert "column 'q': 'Kim-Min-su' is no number" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError, OSError, RuntimeError])
def test_of_an_error_nobody_foresaw_the_name_alone_leaves_the_machine(
    site: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fall(*_: object) -> None:
        raise error("Kim-Min-su")

    monkeypatch.setattr(client.datasets, "load", fall)

    assert refusal(site) == error.__name__


def test_what_torch_says_of_a_batch_stays_here(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object, **__: object) -> None:
        raise IndexError("Target 4711 is out of bounds")

    monkeypatch.setattr("fedspan.learning.training.cross_entropy", fall)

    assert refusal(site).endswith("torch refused it (IndexError)")


def test_a_file_that_is_gone_is_told(site: Any) -> None:
    (site.home / "a.csv").unlink()

    assert refusal(site).startswith("InvalidDataset: ")


def test_parameters_of_another_model_are_told(site: Any) -> None:
    assert refusal(site, flat=np.zeros(3, np.float32)).startswith("Corrupt: packed model")


def test_parameters_without_a_finite_loss_are_told(site: Any) -> None:
    nan = np.full_like(start(site), np.nan)

    for kind in (MessageType.TRAIN, MessageType.EVALUATE):
        assert refusal(site, kind, nan).startswith("TrainingFailed: ")
        assert "the loss is nan" in refusal(site, kind, nan)


def test_the_aggregator_reads_a_refusal_as_it_was_written(site: Any) -> None:
    (site.home / "a.csv").unlink()
    reply = client.train(message(site, MessageType.TRAIN, start(site)), context())

    with pytest.raises(TrainingFailed, match=r"^InvalidDataset: dataset 'points': there is no"):
        trained_of(reply, start(site))


def test_a_program_travels_beside_the_parameters(site: Any) -> None:
    program = bytes(range(256)) * 40
    asked = message(site, MessageType.TRAIN, start(site))
    without = program_of(asked)
    asked.content[PROGRAM] = program_record(program)

    assert without is None
    assert hashlib.sha256(program_of(asked) or b"").digest() == hashlib.sha256(program).digest()
