"""Jobs that are unchanged Flower apps, in this process: killed, noticed, and gone on with."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid

from fedspan.domain.reports import Notice
from fedspan.domain.seeds import derive
from fedspan.domain.spec import JobSpec
from fedspan.flower.app_server import seed_all, serve
from fedspan.flower.files import ServerStatus
from tests.flower.machines import dataset

DRIFTING = Path(__file__).parent / "apps" / "drifting"
NOTICE = Notice(expires=datetime(2100, 1, 1, tzinfo=UTC), source="test")
CONFIG = {"learning-rate": 0.5, "strategy": "drifting", "fraction-train": 1.0}


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class Job:
    """The app `main` as the job of a federation, whose clients are those of ``drifting``."""

    def __init__(self, one: Any, folder: Path, rounds: int, **config: Any) -> None:
        self.one = one
        spec = one.spec.model_dump() | {
            "rounds": rounds,
            "model": {"app": "./app", "sha256": "0" * 64},
            "training": {},
        }
        one.spec = JobSpec.model_validate(spec)
        one.manifest = one.manifest.model_copy(update={"spec": one.spec})
        self.config = CONFIG | {"num-server-rounds": rounds} | config
        files = {name: Path(dataset(folder, name).path) for name in one.links}
        self.clients = {name: self._client(file, name) for name, file in files.items()}
        one.grid.answers |= self.clients

    def _client(self, data: Path, name: str) -> Callable[[Message, Context], Message]:
        def answer(message: Message, context: Context) -> Message:
            from drifting.client_app import app

            context.node_config["data-path"] = str(data)
            what = message.metadata.message_type
            number = str(message.content["config"]["server-round"])
            before = random.getstate(), np.random.get_state()
            seed_all(derive(7, "app", what, number, name))  # a process of its own has its own
            try:
                return app(message, context)
            finally:
                random.setstate(before[0])
                np.random.set_state(before[1])

        return answer

    def run(self, main: Callable[[Grid, Context], None] | None = None) -> ServerStatus:
        def app(grid: Grid) -> None:
            from drifting import server_app

            context = Context(1, 0, {}, RecordDict(), dict(self.config))
            (main or server_app.main)(grid, context)

        one = self.one
        one.work.write_nodes({node: name for name, node in one.grid.ids.items()})
        one.work.write_desired(one.manifest)
        serve(app, one.grid, one.work, one.objects, 0.0)
        status = one.work.status()
        assert status is not None
        return status

    def killed(self, message_type: str, nth: int) -> None:
        """Die when `message_type` is sent in the `nth` round; then start again elsewhere, where
        nodes have other ids and connect in another order."""
        grid, sent = self.one.grid, []
        each = {"train": max(2, int(3 * self.config["fraction-train"])), "evaluate": 3}

        def at_push(kind: str) -> None:
            sent.append(kind)
            if kind == message_type and sent.count(kind) == each[kind] * (nth - 1) + 1:
                raise Killed

        grid.at_push = at_push
        with pytest.raises(Killed):
            self.run()
        grid.at_push = lambda kind: None
        self.moved()

    def moved(self) -> None:
        """The next incarnation is elsewhere: healthy participants at nodes with other ids, which
        connect and reply in another order."""
        grid, manifest = self.one.grid, self.one.manifest
        grid._pending.clear()
        grid.answers = {name: self.clients[name] for name in reversed(grid.answers)}
        grid.ids = {name: 2 ** (62 - manifest.epoch) + i for i, name in enumerate(grid.answers)}
        grid.order, grid.asked = ["b", "c", "a"], []
        self.one.work.notice_file.unlink(missing_ok=True)
        update = {"epoch": manifest.epoch + 1, "rest": False}
        self.one.manifest = manifest.model_copy(update=update)

    def noticed(
        self,
        kind: str,
        number: int,
        replies: int,
        main: Callable[[Grid, Context], None] | None = None,
        given_back: bool = False,
    ) -> ServerStatus:
        """Run until the machine is noticed in round `number`, after `replies` of those whom
        `kind` asks, in the order of their names; or `given_back` then, for a while."""
        grid = self.one.grid
        grid.order = sorted(self.clients)

        def until(name: str) -> Callable[[Message, Context], Message | None]:
            def answer(message: Message, context: Context) -> Message | None:
                now = message.metadata.message_type, message.content["config"]["server-round"]
                if now != (kind, number) or grid.order.index(name) < replies:
                    return self.clients[name](message, context)
                if given_back:
                    self.one.want(rest=True)
                else:
                    self.one.work.write_notice(NOTICE)
                return None

            return answer

        grid.answers = {name: until(name) for name in grid.answers}
        return self.run(main)

    def asked(self, kind: str) -> list[str]:
        """Who was asked since the job last moved."""
        return [name for name, what in self.one.grid.asked if what == kind]
