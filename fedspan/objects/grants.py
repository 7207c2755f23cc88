"""Access to a few of the objects, for an hour: what a machine gets instead of a credential.

A machine holds no credential of a cloud, so it may run in any: the control plane, which may do
all with the objects, hands each aggregator a part of that. On S3 it is a session of a role (the
setting `objects_role`) under a policy of its own; on Cloud Storage a token of the control plane's
own account, cut down by a credential access boundary. Neither can be taken back: it ends by
itself, within the hour.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from fedspan.domain.grants import Grant
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    FedspanError,
    ProviderError,
    Throttled,
)
from fedspan.settings import Settings

CONNECT_S: Final = 2.0
READ_S: Final = 5.0
"""Short: a machine waits 15 s for the answer to its report, and the next report asks again."""

WHEREABOUTS: Final = (
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "GOOGLE_BASE_URL",
)
"""How the control plane finds the bucket: a machine in another cloud would not know."""

GOOGLE_TOKEN: Final = "GOOGLE_OAUTH_ACCESS_TOKEN"
GOOGLE_STS: Final = "https://sts.googleapis.com"
GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"

AWS_CODES: Final[Mapping[str, type[FedspanError]]] = {
    "AccessDenied": Denied,
    "ExpiredToken": CredentialRejected,
    "ExpiredTokenException": CredentialRejected,
    "InvalidClientTokenId": CredentialRejected,
    "SignatureDoesNotMatch": CredentialRejected,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
}


class Grants(Protocol):
    """Gives access to objects."""

    def grant(self, read: Sequence[str], write: Sequence[str], seconds: int) -> Grant | None:
        """Access to the objects whose keys start with one of `read`, to get and list them, and of
        `write`, to put and delete them too; for `seconds`, if the cloud does not say less. None:
        a machine needs nothing from us.

        Raises:
            Denied, CredentialRejected, Throttled, CloudUnavailable, ProviderError
        """


class NoGrants:
    """Objects are in a folder, or machines have access of their own."""

    def grant(self, read: Sequence[str], write: Sequence[str], seconds: int) -> Grant | None:
        return None


def open_grants(settings: Settings) -> Grants:
    """For the objects at `settings.objects_url`. S3 without `objects_role` gives none."""
    parts = urlsplit(settings.objects_url)
    folder = unquote(parts.path).strip("/")
    bucket, within = parts.netloc, f"{folder}/" if folder else ""
    there = {name: os.environ[name] for name in WHEREABOUTS if os.environ.get(name)}
    if parts.scheme == "gs":
        return GcsGrants(bucket, within, there, settings.gcp_endpoint or GOOGLE_STS)
    if parts.scheme == "s3" and settings.objects_role:
        return S3Grants(settings.objects_role, bucket, within, there, settings.aws_endpoint)
    return NoGrants()


@dataclass(frozen=True)
class S3Grants:
    """Sessions of `role` for the objects of `bucket` under `within`. `there` tells the machine
    where the bucket is. The control plane's own role assumes this one, so an hour is the most."""

    role: str
    bucket: str
    within: str
    there: Mapping[str, str]
    endpoint: str = ""

    def grant(self, read: Sequence[str], write: Sequence[str], seconds: int) -> Grant | None:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1}
        )
        with _aws_translated(f"assume {self.role}"):
            # A session of its own: boto3's default one is not for threads.
            client = boto3.session.Session().client(
                "sts", endpoint_url=self.endpoint or None, config=config
            )
            try:
                answer = client.assume_role(
                    RoleArn=self.role,
                    RoleSessionName=_session_name(*write, *read),
                    DurationSeconds=seconds,
                    Policy=json.dumps(self.policy(read, write), separators=(",", ":")),
                )
            finally:
                client.close()
        given = answer["Credentials"]
        variables = {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
            **self.there,
        }
        return Grant(expires=given["Expiration"], variables=_secret(variables))

    def policy(self, read: Sequence[str], write: Sequence[str]) -> dict[str, Any]:
        """What the session may do at most; beyond the role's own policy it may do nothing."""
        bucket = f"arn:{self.role.split(':')[1]}:s3:::{self.bucket}"
        reads, writes = ([f"{_literal(self.within + p)}*" for p in some] for some in (read, write))

        def objects(patterns: Sequence[str]) -> list[str]:
            return [f"{bucket}/{one}" for one in patterns]

        get = {"Action": ["s3:GetObject"], "Resource": objects(reads + writes)}
        put = {
            "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": objects(writes),
        }
        see = {
            "Action": ["s3:ListBucket"],
            "Resource": [bucket],
            "Condition": {"StringLike": {"s3:prefix": reads + writes}},
        }
        statements = [{"Effect": "Allow", **one} for one in (get, put, see) if one["Resource"]]
        return {"Version": "2012-10-17", "Statement": statements}


def _literal(text: str) -> str:
    """As a policy takes it for itself."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)


def _session_name(*prefixes: str) -> str:
    """CloudTrail shows it: whose access this is."""
    return re.sub(r"[^\w+=,.@-]+", "-", f"fedspan-{prefixes[0].strip('/')}", flags=re.ASCII)[:64]


def _secret(variables: Mapping[str, str]) -> dict[str, SecretStr]:
    return {name: SecretStr(value) for name, value in variables.items()}


@contextmanager
def _aws_translated(action: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as BotoConnectionError

    try:
        yield
    except ClientError as exc:
        known = AWS_CODES.get(exc.response["Error"]["Code"])
        failed = exc.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        kind = known or (CloudUnavailable if failed else ProviderError)
        raise kind(f"sts {action}: {exc}") from exc
    except (HTTPClientError, BotoConnectionError) as exc:
        raise CloudUnavailable(f"sts {action}: {exc}") from exc
    except NoCredentialsError as exc:
        raise CredentialRejected(f"sts {action}: {exc}") from exc
    except BotoCoreError as exc:
        raise ProviderError(f"sts {action}: {exc}") from exc


@dataclass(frozen=True)
class GcsGrants:
    """Tokens of the account that this process has (application default credentials), cut down to
    objects of `bucket` under `within`. The bucket needs uniform bucket-level access. A token ends
    when the one it was made of does: of Google's own machines that may be soon, for they are given
    one token again and again until it has five minutes left."""

    bucket: str
    within: str
    there: Mapping[str, str]
    endpoint: str = GOOGLE_STS

    def grant(self, read: Sequence[str], write: Sequence[str], seconds: int) -> Grant | None:
        try:
            import google.auth
            import google.auth.transport.requests
            import requests
            from google.oauth2 import sts
        except ImportError as exc:
            raise ProviderError("granting parts of a gs:// bucket needs the extra `gcp`") from exc

        with _google_translated(f"downscope to {self.bucket}"), requests.Session() as session:
            made = google.auth.transport.requests.Request(session=session)
            request: Any = partial(made, timeout=READ_S)
            found: Any = google.auth.default(scopes=[GOOGLE_SCOPE], request=request)
            own, _ = found
            own.refresh(request)
            answer = sts.Client(f"{self.endpoint}/v1/token").exchange_token(  # type: ignore[no-untyped-call]
                request,
                grant_type=EXCHANGE,
                subject_token=own.token,
                subject_token_type=ACCESS_TOKEN,
                requested_token_type=ACCESS_TOKEN,
                additional_options=self.boundary(read, write),
            )
            token = str(answer["access_token"])
        expires = own.expiry.replace(tzinfo=UTC)  # google-auth's times are UTC, and do not say so
        return Grant(expires=expires, variables=_secret({GOOGLE_TOKEN: token, **self.there}))

    def boundary(self, read: Sequence[str], write: Sequence[str]) -> dict[str, Any]:
        """What the token may do at most; beyond the account's own roles it may do nothing."""
        roles = {"roles/storage.objectViewer": read, "roles/storage.objectUser": write}
        rules = [self._rule(role, prefixes) for role, prefixes in roles.items() if prefixes]
        return {"accessBoundary": {"accessBoundaryRules": rules}}

    def _rule(self, role: str, prefixes: Sequence[str]) -> dict[str, Any]:
        bucket = f"projects/_/buckets/{self.bucket}"
        tests: list[str] = []
        for prefix in prefixes:
            key = self.within + prefix
            # A string of JSON is one of CEL, the language of conditions.
            tests.append(f"resource.name.startsWith({json.dumps(f'{bucket}/objects/{key}')})")
            listed = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')"
            tests.append(f"{listed}.startsWith({json.dumps(key)})")
        return {
            "availablePermissions": [f"inRole:{role}"],
            "availableResource": f"//storage.googleapis.com/{bucket}",
            "availabilityCondition": {"expression": " || ".join(tests)},
        }


@contextmanager
def _google_translated(action: str) -> Iterator[None]:
    """Google's words are left out: they may repeat what was sent, a token among it."""
    from google.auth import exceptions

    try:
        yield
    except exceptions.DefaultCredentialsError as exc:
        raise CredentialRejected(f"google {action}: there is no Google identity here") from exc
    except exceptions.TransportError as exc:
        raise CloudUnavailable(f"google {action}: no answer") from exc
    except exceptions.OAuthError as exc:
        raise ProviderError(f"google {action}: the token exchange was refused") from exc
    except exceptions.GoogleAuthError as exc:
        kind = CloudUnavailable if exc.retryable else CredentialRejected
        raise kind(f"google {action}: {type(exc).__name__}") from exc
    except (KeyError, ValueError) as exc:
        raise ProviderError(f"google {action}: the answer holds no token") from exc
