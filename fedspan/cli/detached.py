"""A control plane in the background."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from fedspan.cli.api import Api, Wire, error_of
from fedspan.cli.session import Session
from fedspan.errors import NotRunning


def start(here: Session, port: int | None) -> tuple[dict[str, Any], str]:
    """Start ``fedspan up`` in a session of its own; return once it answers.

    Its first and only document on stdout says how it went, so there is nothing to time out.
    """
    here.home.prepare()
    command = [sys.executable, "-m", "fedspan.cli.main", "up", "--json", "--home", str(here.path)]
    command += ["--port", str(port)] if port else []
    with (here.path / "fedspan.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    assert child.stdout is not None
    with child.stdout:
        document = _first_document(child.stdout)
    if document is None or "error" in document:
        child.wait()
        if document is None:
            raise NotRunning(f"the control plane did not start; see {here.path}/fedspan.log")
        raise error_of(500, {**document["error"], "detail": document["error"]["message"]})
    with Wire(here.home) as wire:
        Api(wire).health()
    return document, (
        f"the control plane runs in the background: {document['url']} (process {document['pid']}); "
        "`fedspan down` ends it"
    )


def _first_document(stream: Any) -> dict[str, Any] | None:
    """A JSON document that ends with a line ``}``, or None if the stream ended first."""
    text = b""
    for line in stream:
        text += line
        if line.rstrip() == b"}":
            found: dict[str, Any] = json.loads(text)
            return found
    return None
