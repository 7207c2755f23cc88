"""moto's server on a loopback port, in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MACHINES: Final = 20
"""How many a region of moto's EC2 may have had before what is over is forgotten."""


@contextmanager
def moto_server() -> Iterator[str]:
    """AWS at the URL it yields. One request at a time: moto does not lock its tables."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        request_handler=MotoRequestHandler,
    )
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forget_machines() -> None:
    """Between tests: moto keeps what has ended and walks all of it at each list. With 200 machines
    behind it a list of groups takes a second, where a new region takes 0.1."""
    from moto.ec2.models import ec2_backends

    for account in ec2_backends.values():
        for region in account.values():
            if len(region.reservations) > MACHINES:
                region.reset()
