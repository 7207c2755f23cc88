"""What a home holds, read and tidied without a control plane.

The same REST routes answer, in this process, over the home's own store. Nothing here runs jobs,
and no lock is held: SQLite keeps several processes apart.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from chalice.config import Config
from chalice.local import LocalGateway

from fedspan import wiring
from fedspan.absent import NoExecutions
from fedspan.access import Caller, CallerRole, Tokens
from fedspan.errors import NotRunning
from fedspan.local import functions
from fedspan.local.home import Home
from fedspan.local.parts import opened, settings_of

LIFETIME: Final = timedelta(minutes=10)


@contextlib.contextmanager
def offline(home: Home) -> Iterator[Offline]:
    """The REST API over `home`, while the block runs.

    Raises:
        InvalidRequest, StoreError: the home or its store cannot be opened.
    """
    home.prepare()
    tokens = Tokens(secrets.token_bytes(32))
    instead = NotRunning(f"no control plane runs on {home.path}; start one: fedspan up")
    with opened(
        home, settings_of(home), tokens, lambda: NoExecutions(instead), starts_machines=False
    ) as app:
        wiring.install(app)
        try:
            yield Offline(tokens.issue(Caller(role=CallerRole.ADMIN), wiring.now(), LIFETIME))
        finally:
            wiring.uninstall()


class Offline:
    """Answers a request as the gateway would."""

    def __init__(self, token: str) -> None:
        self._gateway = LocalGateway(functions.chalice_app(), Config())
        self._headers = {"authorization": f"Bearer {token}"}

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        answer = self._gateway.handle_request(
            method=method, path=path, headers={**self._headers, **headers}, body=body
        )
        return int(answer["statusCode"]), str(answer["body"]).encode()
