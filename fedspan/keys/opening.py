"""From a setting to the master key it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from fedspan.errors import InvalidRequest, ProviderError
from fedspan.extras import needed
from fedspan.keys.base import MasterKey

AWS_KEY: Final = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:(?:key|alias)/[\w/-]+")
AWS_ALIAS: Final = re.compile(r"alias/[\w/-]+")
GOOGLE_KEY: Final = re.compile(
    r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[\w-]+"
)
SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"


def open_key(setting: str, *, aws_endpoint: str = "", gcp_endpoint: str = "") -> MasterKey:
    """The key that `setting` names: an AWS KMS key's ARN or alias, a Cloud KMS key's full name, or
    a file (an absolute path or file:// URL), which `MasterKey.prepare` makes.

    Raises:
        InvalidRequest: none of these. ProviderError: nothing here may call Google.
        Unsupported: its SDK is not installed.
    """
    if AWS_KEY.fullmatch(setting) or AWS_ALIAS.fullmatch(setting):
        return _kms(setting, aws_endpoint)
    if GOOGLE_KEY.fullmatch(setting):
        return _cloud_kms(setting, gcp_endpoint)
    parts = urlsplit(setting)
    path = unquote(parts.path) if parts.scheme == "file" and not parts.netloc else setting
    if not path.startswith("/"):
        raise InvalidRequest(
            f"master key: {setting!r} is no AWS KMS key (its ARN, or alias/NAME), no Cloud KMS "
            "key (projects/P/locations/L/keyRings/R/cryptoKeys/K) and no absolute path of a file"
        )
    from fedspan.keys.file import FileKey

    return FileKey(Path(path))


def _kms(key_id: str, endpoint: str) -> MasterKey:
    with needed("AWS KMS", "aws"):
        import boto3
        from botocore.config import Config

        from fedspan.keys.kms import KmsKey
    told = AWS_KEY.fullmatch(key_id)
    config = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
    client = boto3.client(
        "kms", region_name=told[1] if told else None, endpoint_url=endpoint or None, config=config
    )
    return KmsKey(client, key_id)


def _cloud_kms(name: str, endpoint: str) -> MasterKey:
    with needed("Cloud KMS", "gcp"):
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession

        from fedspan.keys.cloudkms import ENDPOINT, CloudKmsKey
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as exc:
        raise ProviderError(f"master key {name}: {exc}") from exc
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # not all annotated
    return CloudKmsKey(session, name, endpoint or ENDPOINT)
