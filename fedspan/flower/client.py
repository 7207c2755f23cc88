"""The body of the ClientApp: train or evaluate what a message brings, on the site's own data.

Every random choice derives from the job's seed, the round and the participant's name: a message
that is answered twice is answered alike. The latest model is kept for that, and nothing else.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, Context, Message
from torch import nn

import fedspan
from fedspan.domain.reports import Link
from fedspan.domain.seeds import derive
from fedspan.domain.sites import Dataset
from fedspan.errors import InvalidDataset
from fedspan.flower import replies
from fedspan.flower.files import LINK, scratch
from fedspan.flower.wire import (
    Evaluated,
    Task,
    Trained,
    config_of,
    failure,
    flat_of,
    program_of,
    task_of,
)
from fedspan.learning import datasets, training
from fedspan.learning.modules import build, dump_tensors, load_tensors
from fedspan.learning.packing import Layout


def train(message: Message, context: Context) -> Message:
    """The site's model after its local epochs, and what it was trained on."""
    return _answered(message, context, _trained)


def evaluate(message: Message, context: Context) -> Message:
    """Counts of what the model makes of the rows the site holds out from training."""
    return _answered(message, context, _evaluated)


def _answered(
    message: Message,
    context: Context,
    work: Callable[[Message, Task, str], Trained | Evaluated],
) -> Message:
    """The reply of `work`, or one that says what kind of error it met. The error's full text,
    in which values may be, goes to this machine's own log."""
    try:
        participant = str(context.node_config["participant"])
        return Message(work(message, task_of(message), participant).content(), reply_to=message)
    except Exception as exc:  # else Flower would send the text of those that are not ours
        traceback.print_exc()
        return failure(message, exc)


def _trained(message: Message, task: Task, participant: str) -> Trained:
    offered, folder = _offered(task), Path(os.environ[LINK]).parent
    mu = float(str(config_of(message).get("proximal-mu", 0.0)))
    name = _name(message, task, participant, offered, mu)
    kept = replies.find(folder, name)
    if kept is None:
        with replies.at_work(folder, task.job, task.round, task.spec.limits.round):
            kept = _fresh(message, task, participant, offered, mu)
            replies.keep(folder, name, kept)
    return Trained(Array(kept.flat), kept.flat, kept.examples, kept.loss, kept.seconds)


def _fresh(
    message: Message, task: Task, participant: str, offered: Dataset, mu: float
) -> replies.Kept:
    split = datasets.load(offered, task.spec.data, task.spec.seed, participant)
    seed = derive(task.spec.seed, "train", task.round, participant)
    with _module(message, task) as (module, layout):
        result = training.train(module, split, task.spec.training, seed, mu)
        flat = layout.pack(dump_tensors(module))
    return replies.Kept(flat, result.examples, result.loss, result.seconds)


def _name(message: Message, task: Task, participant: str, offered: Dataset, mu: float) -> str:
    """Of the reply: a hash of all it is made from."""
    said = [task.model_dump(mode="json"), participant, mu, offered.model_dump(mode="json")]
    said += [replies.identity(offered.path), fedspan.__version__, torch.__version__]
    flat, program = flat_of(message), program_of(message)
    return replies.name_of(said, flat.data.cast("B"), program or b"")


def _evaluated(message: Message, task: Task, participant: str) -> Evaluated:
    split = datasets.load(_offered(task), task.spec.data, task.spec.seed, participant)
    with _module(message, task) as (module, _):
        result = training.evaluate(module, split.held_x, split.held_y, len(task.classes))
    return Evaluated(np.array(result.confusion, np.int64), result.loss_sum)


def _offered(task: Task) -> Dataset:
    """The participant's data, if this site was linked to this job for it."""
    link = Link.model_validate_json(Path(os.environ[LINK]).read_bytes())
    offered = link.dataset
    if (link.job, offered.name) != (task.job, task.spec.data.dataset):
        raise InvalidDataset(
            f"this site is linked to job {link.job} for dataset {offered.name!r}, "
            f"not to {task.job} for {task.spec.data.dataset!r}"
        )
    if (offered.features, offered.classes) != (task.features, task.classes):
        raise InvalidDataset(
            f"dataset {offered.name!r} has features {offered.features} and "
            f"{len(offered.classes)} classes, the job wants {task.features} and "
            f"{len(task.classes)}, of the same names"
        )
    return offered


@contextmanager
def _module(message: Message, task: Task) -> Iterator[tuple[nn.Module, Layout]]:
    """The model with the parameters of `message`, and how these are packed."""
    program = program_of(message)
    with scratch() if program else nullcontext() as folder:
        file = folder / "program.pt2" if folder else None
        if file and program:
            file.write_bytes(program)
        module = build(task.spec.model, task.features, len(task.classes), file)
        layout = Layout.of(dump_tensors(module))
        load_tensors(module, layout.unpack(flat_of(message)))
        yield module, layout
