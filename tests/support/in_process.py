"""A federation in this process: real server, real clients, and a grid between them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

from fedspan.domain.reports import AggregatorManifest, Desired, Link
from fedspan.domain.sites import Dataset
from fedspan.domain.spec import JobSpec
from fedspan.flower import client
from fedspan.flower.checkpoints import latest
from fedspan.flower.files import LINK, ServerStatus, WorkFolder
from fedspan.flower.server import serve
from fedspan.objects.folder import FolderObjects
from tests.support.grids import PushPullGrid

Answer = Callable[[Message, Context], Message | None]
"""What a node makes of a message; None: it never replies."""


def over_the_wire(message: Message) -> Message:
    """`message` as it comes out of Flower's own serialisation at the other end."""
    identity = message.object_id
    parts = {key: one.deflate() for key, one in get_all_nested_objects(message).items()}
    arrived = inflate_object_from_contents(identity, parts)
    assert isinstance(arrived, Message)
    arrived.metadata.__dict__["_message_id"] = identity
    return arrived


class MemoryGrid(PushPullGrid):
    """Nodes in this process. A message is worked on when its reply is first asked for; with
    `order`, replies come in that order of participants. `asked` notes who was sent what."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.ids = {name: 2**62 + index for index, name in enumerate(answers)}
        self.connected = set(answers)
        self.order: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.at_push: Callable[[str], None] = lambda message_type: None
        self._pending: dict[str, tuple[str, Message]] = {}

    def get_node_ids(self) -> Iterable[int]:
        return [self.ids[name] for name in self.answers if name in self.connected]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = {identity: name for name, identity in self.ids.items()}
        identities = []
        for message in messages:
            self.at_push(message.metadata.message_type)
            arrived = over_the_wire(message)
            vars(message.metadata)["_message_id"] = arrived.metadata.message_id  # as Flower does
            name = names[message.metadata.dst_node_id]
            self.asked.append((name, message.metadata.message_type))
            identities.append(arrived.metadata.message_id)
            self._pending[arrived.metadata.message_id] = name, arrived
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = []
        for identity in [one for one in message_ids if one in self._pending]:
            name, message = self._pending[identity]
            waiting = {one for one, _ in self._pending.values()}
            if name != next((one for one in self.order if one in waiting), name):
                continue
            if message.metadata.dst_node_id in self.ids.values():
                reply = self._answer(name, message)
            else:  # as the SuperLink says of a node that is registered no more
                gone = Error(ErrorCode.NODE_UNAVAILABLE, "node unavailable")
                reply = Message(gone, reply_to=message)
            if reply is not None:
                del self._pending[identity]
                replies.append(over_the_wire(reply))
        return replies

    def _answer(self, name: str, message: Message) -> Message | None:
        context = Context(1, self.ids[name], {"participant": name}, RecordDict(), {})
        try:
            return self.answers[name](message, context)
        except Exception as exc:  # as flwr's run_clientapp tells of it
            reason = str(type(exc)) + ":<'" + str(exc) + "'>"
            return Message(Error(code=2, reason=reason), reply_to=message)


@dataclass
class Federation:
    """A job with its participants; `run` takes it to its end and returns the status."""

    spec: JobSpec
    home: Path
    links: dict[str, Path]
    manifest: AggregatorManifest
    objects: FolderObjects
    work: WorkFolder
    grid: MemoryGrid = field(init=False)
    _training: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.grid = MemoryGrid({name: self.real(name) for name in self.links})

    def real(self, name: str) -> Answer:
        """The product's own client functions, at participant `name`. One at a time: elsewhere
        each has a process, and with it the environment and torch's random numbers, to itself."""

        def answer(message: Message, context: Context) -> Message:
            work = client.train if message.metadata.message_type == "train" else client.evaluate
            with self._training:
                os.environ[LINK] = str(self.links[name])
                return work(message, context)

        return answer

    def want(self, **changes: Any) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        self.work.write_desired(self.manifest)

    def change(self, **changes: Any) -> None:
        """Another spec, as a person would have written it."""
        self.spec = JobSpec.model_validate(self.spec.model_dump() | changes)
        self.want(spec=self.spec)

    def run(self, grace: float = 0.0) -> ServerStatus:
        self.work.write_nodes({node: name for name, node in self.grid.ids.items()})
        self.work.write_desired(self.manifest)
        serve(self.grid, self.work, self.objects, grace)
        status = self.work.status()
        assert status is not None
        return status

    def sha256(self) -> str:
        found = latest(self.objects, self.manifest.job)
        assert found is not None
        return found[0].round.checkpoint.sha256


def made(home: Path, job: str, spec: JobSpec, offered: Mapping[str, Dataset]) -> Federation:
    """The federation of a job in folders of `home`, each participant with the data it offers."""
    links = {}
    for name in spec.participants:
        link = Link(job=job, epoch=1, address="127.0.0.1:1", certificate="", dataset=offered[name])
        links[name] = home / f"{name}.json"
        links[name].write_text(link.model_dump_json())
    some = offered[spec.participants[0]]
    manifest = AggregatorManifest(
        desired=Desired.RUN,
        job=job,
        epoch=1,
        spec=spec,
        features=some.features,
        classes=some.classes,
        heartbeat_seconds=1,
    )
    objects, work = FolderObjects(home / "objects"), WorkFolder(home / "work")
    return Federation(spec, home, links, manifest, objects, work)


@contextmanager
def in_a_task() -> Iterator[None]:
    """Flower makes messages only inside a task."""
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before
