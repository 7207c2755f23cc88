"""Whose code a participant runs, whatever bundle it is sent."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedspan.domain.reports import AppLink, Link
from fedspan.domain.sites import Dataset
from fedspan.flower import client, internals
from fedspan.flower.app_bundle import build_app
from fedspan.flower.app_client import only_linked, only_ours
from fedspan.flower.files import LINK

DRIFTING = Path(__file__).parent / "apps" / "drifting"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """These functions change a process for good; this one lives on."""
    for part in (internals.CLIENT_INSTALL, internals.CLIENT_LOADER):
        monkeypatch.setattr(part.replace(":", "."), internals.look_up(part))
    monkeypatch.setattr(ClientApp, "__call__", ClientApp.__call__)
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    yield
    for name in [one for one in sys.modules if one.split(".")[0] == "drifting"]:
        del sys.modules[name]


def linked(folder: Path, monkeypatch: pytest.MonkeyPatch, app: AppLink | None) -> None:
    dataset = Dataset(name="toy", features=(8,), classes=("0", "1"), examples=3)
    link = Link(job="job-1", epoch=1, address="h:1", certificate="", dataset=dataset, app=app)
    (folder / "link.json").write_text(link.model_dump_json())
    monkeypatch.setenv(LINK, str(folder / "link.json"))


def loaded(content: bytes, hash_: str) -> ClientApp:
    """As Flower's own process does it: the bundle unpacked, then its ClientApp loaded."""
    internals.call(internals.CLIENT_INSTALL)(content, skip_prompt=True)
    load = internals.call(internals.CLIENT_LOADER)(
        default_app_ref="", app_path=None, multi_app=True
    )
    found = load("clinic/drifting", "1.0.0", hash_)
    assert isinstance(found, ClientApp)
    return found


def test_where_apps_are_not_allowed_ours_runs_and_nothing_is_unpacked(tmp_path: Path) -> None:
    bundle = build_app(DRIFTING)
    only_ours()
    found = loaded(bundle.content, bundle.sha256)

    assert {*found._registered_funcs.values()} == {client.train, client.evaluate}
    assert not (tmp_path / "flwr").exists()
    assert "drifting" not in sys.modules


def test_a_link_without_an_app_runs_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked(tmp_path, monkeypatch, None)
    only_linked()

    assert client.train in loaded(b"whatever", "0" * 64)._registered_funcs.values()


def test_the_app_of_the_link_runs_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build_app(DRIFTING)
    linked(tmp_path, monkeypatch, AppLink(sha256=bundle.sha256))
    only_linked()

    assert loaded(bundle.content, bundle.sha256)
    assert "drifting.client_app" in sys.modules
    with pytest.raises(PermissionError, match="is not the app of job job-1"):
        loaded(bundle.content + b"!", bundle.sha256)


def test_what_an_app_draws_follows_from_the_round_and_the_participant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        context.state["seen"] = ConfigRecord({"rounds": 1})
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(1))]
        return Message(RecordDict({"drawn": ConfigRecord({"drawn": drawn})}), reply_to=message)

    linked(tmp_path, monkeypatch, AppLink(sha256="0" * 64, seed=7))
    only_linked()

    def drawn(number: int) -> Any:
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        message = Message(content, 1, "train")
        message.metadata.__dict__["_message_id"] = "m"
        context = Context(1, 1, {}, RecordDict(), {})
        return app(message, context).content["drawn"]["drawn"]

    assert drawn(1) == drawn(1) != drawn(2)
    assert "AppNotExact" in capsys.readouterr().out
