"""One service of the control plane, in OpenStack's environment: service.py NAME STATE SOCKET.

SOCKET is the number of an inherited socket, bound but not yet listening: whoever connects before
the service is ready is refused, and no other program can take the port.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path


def main(name: str, state: Path, number: int) -> None:
    import waitress

    def leave(*_: object) -> None:  # at once: Nova's threads would not
        if name == "nova" and "nova.virt.processes" in sys.modules:
            sys.modules["nova.virt.processes"].kill_all(state / "instances")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    sys.argv = [name]  # the applications parse them
    app = _application(name, state)
    waitress.serve(app, sockets=[socket.socket(fileno=number)], threads=8, _quiet=True)


def _application(name: str, state: Path):
    import policies

    policies.read_once()
    if name == "nova":
        from nova_app import nova

        return nova(state)
    import apps
    import sqlite

    sqlite.queue_writers()
    return getattr(apps, name)(state)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
