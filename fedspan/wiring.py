"""Which parts are real: the one place that knows.

Importing it needs nothing; `app` and `app_on_gcp` build when a handler first asks.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import socket
import urllib.request
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from fedspan.absent import NoClouds, NoExecutions, NoKeys, NoObjects, NoStore
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.errors import Unsupported
from fedspan.executions.base import Executions
from fedspan.objects.opening import open_objects
from fedspan.settings import Settings
from fedspan.stores.opening import open_store

_installed: list[App] = []


def app() -> App:
    """The app this process serves: the one installed (embedded default, tests), else AWS's."""
    return _installed[-1] if _installed else _on_aws()


def app_on_gcp() -> App:
    """The app a Cloud Function serves: the one installed (tests), else one that keeps nothing."""
    return _installed[-1] if _installed else _on_gcp()


def install(made: App) -> None:
    """Serve `made` in this process from now on."""
    _installed.append(made)


def uninstall() -> None:
    _installed.pop()


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the clock everybody else takes from App


def new_id() -> str:
    """Sorts by time, reads well, and is not guessed: ``20261120-093015-4f1c9a``."""
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The spec says where a summary goes; whoever answers there does not."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, document: dict[str, Any]) -> None:
    """JSON to a webhook. Raises `OSError` when it cannot be delivered, which a link-local address
    never can: there a cloud answers with the machine's own credentials."""
    host = urlsplit(url).hostname or ""
    for *_, address in socket.getaddrinfo(host, None):
        if ipaddress.ip_address(str(address[0]).partition("%")[0]).is_link_local:
            raise OSError(f"{host} is link-local")
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=10):
        return


@cache
def _on_aws() -> App:
    settings = Settings.from_env(os.environ)
    return App(
        settings=settings,
        store=open_store(settings.store_url),
        objects=open_objects(settings.objects_url),
        providers={},
        clouds=NoClouds(),
        keys=NoKeys(),
        executions=_step_functions(settings),
        tokens=Tokens(_signing_key(settings)),
        now=now,
        new_id=new_id,
        post=post,
    )


@cache
def _on_gcp() -> App:
    """Answers questions that bring all they need; no environment, no SDK, no account."""
    return App(
        settings=Settings(),
        store=NoStore(),
        objects=NoObjects(),
        providers={},
        clouds=NoClouds(),
        keys=NoKeys(),
        executions=NoExecutions(Unsupported("no jobs run here; submit to the control plane")),
        tokens=Tokens(secrets.token_bytes(32)),  # IAM stands at the door; nobody holds one of these
        now=now,
        new_id=new_id,
        post=post,
    )


def _step_functions(settings: Settings) -> Executions:
    import boto3

    from fedspan.executions.stepfunctions import StepFunctions

    return StepFunctions(boto3.client("stepfunctions"), settings.state_machine_arn)


def _signing_key(settings: Settings) -> bytes:
    import boto3

    found = boto3.client("ssm").get_parameter(
        Name=settings.signing_key_parameter, WithDecryption=True
    )
    return str(found["Parameter"]["Value"]).encode()
