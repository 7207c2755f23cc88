"""The metadata server of a machine or function in Google Cloud: who it is, and its tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.clouds.gcp.accounts import LIFETIME_S
from tests.clouds.gcp.projects import Project
from tests.clouds.gcp.server import GcpServer

FLAVOR = "Metadata-Flavor"
ACCOUNT = "instance/service-accounts/default"


@contextmanager
def metadata(server: GcpServer, project: Project, account: str = "function") -> Iterator[str]:
    """``host:port`` of one in `project`, for ``GCE_METADATA_HOST`` and ``GCE_METADATA_IP``, which
    google-auth reads once, when it is imported."""
    email = server.key(project, account).client_email
    known = server.accounts.by_email[email]

    def token() -> dict[str, Any]:
        text = f"ya29.of-{account}-{project.id}"
        server.accounts.tokens[text] = known, server.accounts.now() + LIFETIME_S
        return {"access_token": text, "expires_in": LIFETIME_S, "token_type": "Bearer"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/computeMetadata/v1/").rstrip("/")
            said = {
                "": lambda: "computeMetadata/",
                "project/project-id": lambda: project.id,
                f"{ACCOUNT}/token": lambda: json.dumps(token()),
                ACCOUNT: lambda: json.dumps({"email": email, "scopes": [], "aliases": []}),
                f"{ACCOUNT}/email": lambda: email,
            }.get(path)
            asked = self.headers.get(FLAVOR) == "Google"
            self.send_response(403 if not asked else 404 if said is None else 200)
            self.send_header(FLAVOR, "Google")
            kind = "application/json" if path.startswith(ACCOUNT) else "text/plain"
            self.send_header("Content-Type", kind)
            self.end_headers()
            if asked and said is not None:
                self.wfile.write(said().encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()
