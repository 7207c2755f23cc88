"""Which parts are real: the one place that knows.

Importing it needs nothing; `app` and `app_on_gcp` build when a handler first asks.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from fedspan import __version__
from fedspan.absent import NoExecutions, NoKeys, NoObjects, NoStore
from fedspan.access import Tokens
from fedspan.app import App
from fedspan.domain.credentials import Cloud
from fedspan.domain.machines import Role
from fedspan.errors import Unsupported
from fedspan.executions.base import Executions
from fedspan.keys.base import MasterKey
from fedspan.keys.opening import open_key
from fedspan.late import late
from fedspan.objects.base import Objects
from fedspan.objects.grants import open_grants
from fedspan.objects.opening import open_objects
from fedspan.providers.addresses import METADATA_NAMES, metadata
from fedspan.providers.base import Clouds, Provider, Surroundings
from fedspan.settings import Settings
from fedspan.stores.base import Store
from fedspan.stores.opening import open_store

_installed: list[App] = []


def app() -> App:
    """The app this process serves: the one installed (embedded default, tests), else AWS's."""
    return _installed[-1] if _installed else _on_aws()


def app_on_gcp() -> App:
    """The app a Cloud Function serves: the one installed (tests), else what its environment
    names."""
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


def clouds(settings: Settings, objects: Callable[[], Objects]) -> Clouds:
    """From credentials to clouds."""
    from fedspan.providers.opening import OpenClouds

    return OpenClouds(lambda cloud: surroundings(settings, objects, cloud))


def surroundings(settings: Settings, objects: Callable[[], Objects], cloud: Cloud) -> Surroundings:
    """What adapters of `cloud` are given. Prices are those of the book among `objects`, opened
    when one is asked for."""
    from fedspan.services.books import held  # NumPy loads where places are scored

    ends = {Cloud.AWS: settings.aws_endpoint, Cloud.GCP: settings.gcp_endpoint}
    return Surroundings(
        owner=settings.owner,
        images={
            Role.AGGREGATOR: _tagged(settings.aggregator_image),
            Role.CLIENT: _tagged(settings.client_image),
        },
        book=lambda: held(objects()).book,
        now=now,
        ssh_key=settings.ssh_key,
        endpoint=ends.get(cloud) or None,
        allow_loopback=settings.allow_loopback,
    )


def master_key(settings: Settings) -> MasterKey:
    """The key that all secrets are sealed under, at its cloud's endpoint. Raises what `open_key`
    does."""
    if not settings.master_key:
        return NoKeys()
    return open_key(
        settings.master_key,
        aws_endpoint=settings.aws_endpoint,
        gcp_endpoint=settings.gcp_endpoint,
    )


def _tagged(image: str) -> str:
    """Without a tag of its own, the image of this version."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:{__version__}"


def providers(
    store: Store, keys: MasterKey, made: Clouds, static: Mapping[str, Provider]
) -> Mapping[str, Provider]:
    """Those of the registered credentials, and the `static` ones."""
    from fedspan.services.registered import Registered

    return Registered(store, keys, made, static)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The spec says where a summary goes; whoever answers there does not."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, document: dict[str, Any]) -> None:
    """JSON to a webhook. Raises `OSError` when it cannot be delivered, which it never can be to
    where a cloud answers with the machine's own credentials: link-local and metadata addresses."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host in METADATA_NAMES:
        raise OSError(f"{host} is a cloud's metadata service")
    for *_, found in socket.getaddrinfo(host, None):
        if why := metadata(str(found[0])):
            raise OSError(f"{host} is {why}")
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=10):
        return


@cache
def _on_aws() -> App:
    settings = Settings.from_env(os.environ)
    store, objects = open_store(settings.store_url), open_objects(settings.objects_url)
    keys = master_key(settings)
    made = clouds(settings, lambda: objects)
    return App(
        settings=settings,
        store=store,
        objects=objects,
        grants=open_grants(settings),
        providers=providers(store, keys, made, _remote(settings)),
        clouds=made,
        keys=keys,
        executions=_step_functions(settings),
        tokens=Tokens(_signing_key(settings)),
        now=now,
        new_id=new_id,
        post=post,
    )


def _remote(settings: Settings) -> Mapping[str, Provider]:
    """Google's machines by way of a Cloud Function, where one is named."""
    if not settings.remote_url:
        return {}
    from fedspan.providers.id_tokens import IdTokens
    from fedspan.providers.remote import RemoteProvider

    url = settings.remote_url.rstrip("/")
    token = IdTokens(url, now)
    return {"gcp": RemoteProvider("gcp", url, token, allow_loopback=settings.allow_loopback)}


@cache
def _on_gcp() -> App:
    """What the environment names. Without any of it (no variable, no SDK, no account) it answers
    questions that bring all they need; and a function opens only what it asks."""
    settings = Settings.from_env(os.environ, store_url="")
    kept = late(lambda: open_store(settings.store_url)) if settings.store_url else NoStore()
    objects = (
        late(lambda: open_objects(settings.objects_url)) if settings.objects_url else NoObjects()
    )
    keys = late(lambda: master_key(settings))
    reached = late(lambda: clouds(settings, lambda: objects))
    own = {"gcp": late(lambda: _ambient(settings, objects))}
    return App(
        settings=settings,
        store=kept,
        objects=objects,
        grants=open_grants(settings),
        providers=providers(kept, keys, reached, own) if settings.store_url else own,
        clouds=reached,
        keys=keys,
        executions=NoExecutions(Unsupported("no jobs run here; submit to the control plane")),
        tokens=Tokens(secrets.token_bytes(32)),  # IAM stands at the door; nobody holds one of these
        now=now,
        new_id=new_id,
        post=post,
    )


def _ambient(settings: Settings, objects: Objects) -> Provider:
    """The machines of the project that the function runs in, by its own service account."""
    from fedspan.providers.gcp.machines import GcpProvider

    return GcpProvider.ambient("gcp", surroundings(settings, lambda: objects, Cloud.GCP))


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
