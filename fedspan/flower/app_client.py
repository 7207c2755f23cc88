"""Whose code a ClientApp's process runs: Fedspan's own, or that of the one app that is meant.

A SuperNode is sent a bundle of code with its messages, by whoever runs the aggregator. Where apps
are not allowed nothing of that bundle is read: ours, which is installed here, runs in its place.
Where they are, the bundle must be the one that the job's link names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedspan.domain.reports import AppLink, Link
from fedspan.domain.seeds import derive
from fedspan.flower import internals
from fedspan.flower.app_server import seed_all
from fedspan.flower.files import LINK


def our_app() -> ClientApp:
    """As the bundle of `fedspan.flower.fab` has it."""
    from fedspan.flower import client

    app = ClientApp()
    app.train()(client.train)
    app.evaluate()(client.evaluate)
    return app


def only_ours() -> None:
    """From here on this process runs our ClientApp, whatever it is sent."""

    def loader(**options: Any) -> Callable[..., ClientApp]:
        return lambda *identity: our_app()

    internals.put(internals.CLIENT_INSTALL, lambda *bundle, **options: None)
    internals.put(internals.CLIENT_LOADER, loader)


def only_linked() -> None:
    """From here on this process runs the app of this site's link, and its random choices are
    seeded for each message."""
    link = Link.model_validate_json(Path(os.environ[LINK]).read_bytes())
    app = link.app
    if app is None:
        only_ours()
        return
    install = internals.call(internals.CLIENT_INSTALL)

    def checked(content: bytes, *places: Any, **options: Any) -> Any:
        if hashlib.sha256(content).hexdigest() != app.sha256:
            raise PermissionError(f"the bundle that came is not the app of job {link.job}")
        return install(content, *places, **options)

    internals.put(internals.CLIENT_INSTALL, checked)
    _seed_each(app)


def _seed_each(app: AppLink) -> None:
    stock = ClientApp.__call__

    def call(self: ClientApp, message: Message, context: Context) -> Message:
        what, number = message.metadata.message_type, _round_of(message)
        seed_all(derive(app.seed, "app", what, number, app.partition))
        reply = stock(self, message, context)
        if context.state:
            print("AppNotExact: it keeps state at the client, which a new aggregator begins anew")
        return reply

    ClientApp.__call__ = call  # type: ignore[method-assign]  # there is no other way in


def _round_of(message: Message) -> str:
    """Flower's strategies tell the round in the configuration they send."""
    configs = message.content.config_records.values() if message.has_content() else ()
    return next((str(one["server-round"]) for one in configs if "server-round" in one), "")
