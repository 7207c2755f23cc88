"""From the environment to the sources of prices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fedspan.errors import InvalidRequest
from fedspan.prices.base import PriceSource
from fedspan.prices.web import Web

if TYPE_CHECKING:
    from fedspan.prices.aws import SpotClient

PROVIDERS: Final = ("aws", "gcp", "azure")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@contextlib.contextmanager
def open_prices(environment: Mapping[str, str]) -> Iterator[dict[str, PriceSource]]:
    """The sources by provider, while the block runs. ``FEDSPAN_PRICES_AWS``, ``..._GCP`` and
    ``..._AZURE`` name other places of the same interfaces, such as a mirror.

    Raises:
        InvalidRequest: one of them is no https URL.
    """
    from fedspan.prices import aws, azure, gcp

    at = {name: _place(environment, name) for name in PROVIDERS}
    web = Web()
    try:
        yield {
            "aws": aws.AwsPrices(web, _spot(), at["aws"] or aws.ENDPOINT),
            "gcp": gcp.GcpCatalog(
                web, environment.get(gcp.KEY_VARIABLE), at["gcp"] or gcp.ENDPOINT
            ),
            "azure": azure.AzureRetail(web, at["azure"] or azure.ENDPOINT),
        }
    finally:
        web.close()


def _place(environment: Mapping[str, str], provider: str) -> str | None:
    variable = f"FEDSPAN_PRICES_{provider.upper()}"
    said = environment.get(variable)
    if not said:
        return None
    if not _is_place(said):
        raise InvalidRequest(f"{variable}: want https://host/path, without a password or query")
    return said.rstrip("/")


def _is_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # says whether it is one
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return bool(safe and parts.hostname and "@" not in parts.netloc and not parts.query)


def _spot() -> SpotClient:
    """Makes EC2 clients with the credentials boto3 finds, once somebody asks for one."""

    @cache
    def session() -> Any:
        try:
            import boto3
        except ImportError:  # the extra of another cloud is installed
            return None
        found = boto3.Session()
        return None if found.get_credentials() is None else found

    def client(region: str) -> Any:
        if session() is None:
            return None
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": 5}
        config = Config(connect_timeout=10, read_timeout=60, retries=retries)
        return session().client("ec2", region_name=region, config=config)

    return client
