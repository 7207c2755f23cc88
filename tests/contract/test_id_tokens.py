"""ID tokens, from servers on loopback that speak as Google's do: google-auth itself asks them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
import pytest

AUDIENCE = "https://machines-abc.run.app"
ACCOUNT = "caller@fedspan.iam.gserviceaccount.com"
DEFAULT = "/computeMetadata/v1/instance/service-accounts/default"
KEY = "only here, so that there is a signature, which nobody checks"
EXPIRES = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def id_token(audience: str, number: int) -> str:
    claims = {"aud": audience, "email": ACCOUNT, "exp": EXPIRES.timestamp() + 3600 * (number - 1)}
    return jwt.encode({**claims, "number": number}, KEY, "HS256")


@dataclass
class Google:
    """The metadata server, the token exchange and IAM's credentials service, in one."""

    url: str = ""
    given: int = 0
    refuse: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked.append((path, headers, body))
        parts = urlsplit(path)
        for beginning, status in self.refuse.items():
            if parts.path.startswith(beginning):
                return status, b'{"error": "invalid_grant", "error_description": "no"}'
        if parts.path == "/":
            return 200, b"computeMetadata/"
        if parts.path == f"{DEFAULT}/":
            return 200, json.dumps({"email": ACCOUNT, "scopes": [], "aliases": []}).encode()
        if parts.path == f"{DEFAULT}/identity":
            return 200, self._token(parse_qs(parts.query)["audience"][0]).encode()
        if parts.path == "/sts":
            return 200, json.dumps(
                {
                    "access_token": "federated-access",
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                    "token_type": "Bearer",
                    "expires_in": 3600,
                }
            ).encode()
        if parts.path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateIdToken":
            assert headers["authorization"] == "Bearer federated-access"
            asked = json.loads(body)
            assert asked["includeEmail"] is True
            return 200, json.dumps({"token": self._token(asked["audience"])}).encode()
        return 404, b"{}"

    def _token(self, audience: str) -> str:
        self.given += 1
        return id_token(audience, self.given)


@pytest.fixture
def google() -> Iterator[Google]:
    made = Google()

    class Handler(BaseHTTPRequestHandler):
        def one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = made.answer(self.path, headers, body)
            self.send_response(status)
            self.send_header("Metadata-Flavor", "Google")
            text = "text" if "identity" in self.path else "json"
            self.send_header("Content-Type", f"application/{text}")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = one

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


ASKING = """
import json, sys
from datetime import datetime
from fedspan.errors import FedspanError
from fedspan.providers.id_tokens import IdTokens
time, said = None, []
tokens = IdTokens(sys.argv[1], lambda: time)
try:
    for one in sys.argv[2:]:
        time = datetime.fromisoformat(one)
        said.append(tokens())
except FedspanError as exc:
    said = [type(exc).__name__, str(exc)]
print(json.dumps([said, repr(tokens)]))
"""

Ask = Callable[..., list[str]]


@pytest.fixture
def ask(python: Callable[..., Any]) -> Ask:
    """The tokens that a process of its own gets at these times: google-auth looks at the
    environment when it is imported."""

    def asked(*times: datetime, **env: str) -> list[str]:
        usual = {"GCE_METADATA_DETECT_RETRIES": "1", "GCE_METADATA_TIMEOUT": "1"}
        at = [one.isoformat() for one in times]
        process = python(ASKING, AUDIENCE, *at, **{**usual, **env})
        out = process.communicate(timeout=120)[0]
        assert process.returncode == 0, out
        said, shown = json.loads(out.splitlines()[-1])
        assert not any(one in shown for one in said)
        return list(said)

    return asked


def metadata(google: Google) -> dict[str, str]:
    host = google.url.removeprefix("http://")
    return {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}


def federation(google: Google, folder: Path, **changes: Any) -> dict[str, str]:
    """The environment of a Lambda with the configuration that Google's console gives for AWS."""
    account = f"{google.url}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    config = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/"
        "providers/aws",
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": f"{google.url}/sts",
        "service_account_impersonation_url": account,
        "credential_source": {
            "environment_id": "aws1",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com"
            "?Action=GetCallerIdentity&Version=2011-06-15",
        },
        **changes,
    }
    file = folder / "federation.json"
    file.write_text(json.dumps(config))
    return {
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_SESSION_TOKEN": "a-session",
        "AWS_REGION": "eu-west-1",
        "NO_GCE_CHECK": "true",
    }


NOON = EXPIRES - timedelta(hours=1)


def test_the_metadata_server_gives_a_token_for_the_audience(google: Google, ask: Ask) -> None:
    [token] = ask(NOON, **metadata(google))

    assert token == id_token(AUDIENCE, 1)
    path, headers, _ = google.asked[-1]
    assert parse_qs(urlsplit(path).query)["audience"] == [AUDIENCE]
    assert headers["metadata-flavor"] == "Google"


def test_a_token_is_kept_until_shortly_before_it_ends(google: Google, ask: Ask) -> None:
    times = [NOON, EXPIRES - timedelta(minutes=6), EXPIRES - timedelta(minutes=5), EXPIRES]
    tokens = ask(*times, **metadata(google))

    first, second = id_token(AUDIENCE, 1), id_token(AUDIENCE, 2)
    assert tokens == [first, first, second, second]


def test_a_lambda_gets_a_token_of_the_account_it_may_stand_for(
    google: Google, ask: Ask, tmp_path: Path
) -> None:
    [token] = ask(NOON, **federation(google, tmp_path))

    assert token == id_token(AUDIENCE, 1)
    [exchange, _] = google.asked
    subject = json.loads(unquote(parse_qs(exchange[2].decode())["subject_token"][0]))
    assert subject["url"].startswith("https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity")
    assert "hush" not in str(google.asked)


def test_tokens_of_a_federation_are_kept_too(google: Google, ask: Ask, tmp_path: Path) -> None:
    tokens = ask(NOON, NOON, EXPIRES, **federation(google, tmp_path))

    assert tokens == [id_token(AUDIENCE, one) for one in (1, 1, 2)]
    assert len(google.asked) == 4


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/sts", 400, "CredentialRejected"),
        ("/sts", 401, "CredentialRejected"),
        ("/sts", 503, "CloudUnavailable"),
        ("/v1/", 401, "CredentialRejected"),
        ("/v1/", 403, "Denied"),
        ("/v1/", 404, "Denied"),
        ("/v1/", 429, "CloudUnavailable"),
        ("/v1/", 500, "CloudUnavailable"),
        ("/v1/", 302, "ProviderError"),
        ("/v1/", 200, "ProviderError"),
    ],
)
def test_who_may_not_stand_for_the_account_hears_why(
    google: Google, ask: Ask, tmp_path: Path, path: str, status: int, kind: str
) -> None:
    google.refuse = {path: status}

    [name, said] = ask(NOON, **federation(google, tmp_path))
    assert name == kind
    assert "hush" not in said and "federated-access" not in said


def test_a_machine_without_an_account_has_no_token(google: Google, ask: Ask) -> None:
    google.refuse = {f"{DEFAULT}/": 404}

    assert ask(NOON, **metadata(google))[0] == "CredentialRejected"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_metadata_server_in_trouble_is_unavailable(google: Google, ask: Ask, status: int) -> None:
    google.refuse = {f"{DEFAULT}/identity": status}

    assert ask(NOON, **metadata(google))[0] == "CloudUnavailable"


def test_what_is_no_token_is_not_taken_for_one(google: Google, ask: Ask) -> None:
    google.refuse = {f"{DEFAULT}/identity": 200}

    [name, said] = ask(NOON, **metadata(google))
    assert name == "ProviderError", said


def test_nobody_gives_a_token_where_there_is_no_identity(ask: Ask) -> None:
    [name, said] = ask(NOON, NO_GCE_CHECK="true", GCE_METADATA_IP="127.0.0.1:1")

    assert name == "CredentialRejected"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '"external_account"'])
def test_a_file_that_is_no_credential_is_named(ask: Ask, tmp_path: Path, content: str) -> None:
    file = tmp_path / "adc.json"
    file.write_text(content)
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GCE_METADATA_IP": "127.0.0.1:1"}

    [name, said] = ask(NOON, **env)
    assert name == "CredentialRejected"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said


def test_a_file_that_is_not_there_is_named(ask: Ask, tmp_path: Path) -> None:
    [name, said] = ask(NOON, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))

    assert (name, "cannot be read" in said) == ("CredentialRejected", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"service_account_impersonation_url": ""},
        {"service_account_impersonation_url": "https://iam.example/else"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
    ],
)
def test_a_federation_without_an_account_gives_no_id_tokens(
    google: Google, ask: Ask, tmp_path: Path, changes: dict[str, str]
) -> None:
    [name, said] = ask(NOON, **federation(google, tmp_path, **changes))

    assert (name, "lets no AWS role" in said) == ("CredentialRejected", True)
    assert google.asked == []


def test_half_a_federation_is_refused(google: Google, ask: Ask, tmp_path: Path) -> None:
    [name, said] = ask(NOON, **federation(google, tmp_path, credential_source={}))

    assert (name, "no whole configuration" in said) == ("CredentialRejected", True)
