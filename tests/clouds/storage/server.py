"""Cloud Storage on a loopback port: just the calls of its XML API that obstore makes, answered as
Google does, and a metadata server that hands out a machine's token.

It checks who calls (a token, or a JWT signed with a service account's key) and what that account
may do. From a script::

    with StorageServer() as server:
        key = server.key("fedspan@project.iam.gserviceaccount.com")
        server.bucket("models", "fedspan@project.iam.gserviceaccount.com")

and then GOOGLE_BASE_URL=`server.url`, with either GOOGLE_SERVICE_ACCOUNT_KEY=`key` or, as on a
machine, GCE_METADATA_HOST=`server.host` when `server.machine` is the account of it.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.clouds.gcp.accounts import LIFETIME_S, Accounts, private_key
from tests.clouds.gcp.projects import ApiError
from tests.clouds.storage.buckets import MOST_KEYS, PERMISSIONS, Bucket, Object, Refused

SERVICE: Final = "storage.googleapis.com"
TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"
LISTING: Final = {"list-type", "prefix", "continuation-token", "start-after", "max-keys"}
XML: Final = "<?xml version='1.0' encoding='UTF-8'?>"


@dataclass(frozen=True)
class Call:
    """One request, read to its end."""

    verb: str
    bucket: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What the next call of `verb` meets instead of its answer: `status`, or (0) a connection that
    is cut. With `done` only once all is done, and `sent` bytes of the body are still sent."""

    verb: str
    status: int = 0
    done: bool = False
    sent: int = 0


class StorageServer:
    """`accounts` may be those of a whole `GcpServer`. `machine` is the account whose tokens the
    metadata server hands out. `faults` are taken in order; `calls` are the verbs that came."""

    def __init__(self, accounts: Accounts | None = None) -> None:
        self.accounts = accounts or Accounts()
        self.machine = ""
        self.buckets: dict[str, Bucket] = {}
        self.faults: deque[Fault] = deque()
        self.calls: list[str] = []
        handler = type("Handler", (_Handler,), {"storage": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = False  # so that `server_close` waits for them
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.01])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def bucket(self, name: str, *emails: str) -> Bucket:
        """A new bucket, in which the accounts `emails` may do everything."""
        self.buckets[name] = Bucket(name, dict.fromkeys(emails, PERMISSIONS))
        return self.buckets[name]

    def key(self, email: str) -> str:
        """A new key of the account `email`, as Google hands it out: JSON."""
        key_id, project = secrets.token_hex(20), email.partition("@")[2].partition(".")[0]
        self.accounts.add(email, project, key_id, private_key())
        known = {"type": "service_account", "project_id": project, "client_email": email}
        return json.dumps(known | {"private_key_id": key_id, "private_key": private_key()})

    def answer(self, call: Call) -> Answer:
        """Raises `Refused`."""
        caller = self._caller(call.headers.get("Authorization", ""))
        bucket = self.buckets.get(call.bucket)
        if bucket is None:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        match call.verb, bool(call.name):
            case "GET", False:
                return _listed(bucket, caller, call.query)
            case "GET" | "HEAD", True:
                return _got(bucket.read(caller, call.name), call)
            case "PUT", True:
                return self._put(bucket, caller, call)
            case "POST", True:
                return _posted(bucket, caller, call)
            case "DELETE", True:
                if "uploadId" in call.query:
                    bucket.abort(caller, call.name, call.query["uploadId"])
                else:
                    bucket.delete(caller, call.name)
                return Answer(204)
            case _:
                raise Refused(405, "MethodNotAllowed", "The specified method is not allowed.")

    def machine_token(self, flavor: str) -> Answer:
        """What the metadata server says to a machine that asks for its account's token."""
        account = self.accounts.by_email.get(self.machine)
        if account is None or flavor != "Google":
            return Answer(403 if account else 404, b"refused")
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.accounts.tokens[token] = account, self.accounts.now() + LIFETIME_S
        told = {"access_token": token, "expires_in": LIFETIME_S - 1, "token_type": "Bearer"}
        return Answer(200, json.dumps(told).encode(), {"Metadata-Flavor": "Google"})

    def fault(self, verb: str) -> Fault | None:
        self.calls.append(verb)
        meant = bool(self.faults) and self.faults[0].verb == verb
        return self.faults.popleft() if meant else None

    def _caller(self, header: str) -> str:
        try:
            return self.accounts.caller(header, SERVICE).email
        except ApiError as exc:
            raise Refused(401, "AuthenticationRequired", "Authentication required.") from exc

    def _put(self, bucket: Bucket, caller: str, call: Call) -> Answer:
        match = call.headers.get("x-goog-if-generation-match")
        if "uploadId" in call.query:
            number = int(call.query.get("partNumber", "0"))
            etag = bucket.part(caller, call.name, call.query["uploadId"], number, call.body)
            return Answer(200, headers={"ETag": etag})
        origin = call.headers.get("x-goog-copy-source")
        if origin is None:
            return Answer(200, headers=_about(bucket.write(caller, call.name, call.body, match)))
        source, _, name = unquote(origin).removeprefix("/").partition("/")
        if source not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        copied = bucket.copy(caller, self.buckets[source].read(caller, name), call.name, match)
        told = _element("ETag", copied.etag) + _element("LastModified", _moment(copied))
        return Answer(200, _document("CopyObjectResult", told), _about(copied))


def _posted(bucket: Bucket, caller: str, call: Call) -> Answer:
    told = _element("Bucket", bucket.name) + _element("Key", call.name)
    if "uploads" in call.query:
        told += _element("UploadId", bucket.begin(caller, call.name))
        return Answer(200, _document("InitiateMultipartUploadResult", told))
    wanted = [
        (int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
        for part in ElementTree.fromstring(call.body).iter()
        if part.tag.rpartition("}")[2] == "Part"
    ]
    made = bucket.complete(caller, call.name, call.query.get("uploadId", ""), wanted)
    told = _element("Location", call.name) + told + _element("ETag", made.etag)
    headers = {"x-goog-generation": str(made.generation)}
    return Answer(200, _document("CompleteMultipartUploadResult", told), headers)


def _listed(bucket: Bucket, caller: str, query: Mapping[str, str]) -> Answer:
    if query.get("list-type") != "2" or query.keys() - LISTING:
        raise Refused(400, "InvalidArgument", f"This server knows only {sorted(LISTING)}.")
    after = query.get("continuation-token") or query.get("start-after", "")
    limit = int(query.get("max-keys", MOST_KEYS))
    page, more = bucket.list(caller, query.get("prefix", ""), after, limit)
    told = _element("Name", bucket.name) + _element("Prefix", query.get("prefix", ""))
    told += _element("KeyCount", len(page)) + _element("IsTruncated", str(more).lower())
    if more:
        told += _element("NextContinuationToken", page[-1][0])
    for name, one in page:
        inner = _element("Key", name) + _element("Generation", one.generation)
        inner += _element("LastModified", _moment(one)) + _element("ETag", one.etag)
        told += f"<Contents>{inner}{_element('Size', len(one.body))}</Contents>"
    return Answer(200, _document("ListBucketResult", told))


def _got(found: Object, call: Call) -> Answer:
    wanted, size = call.headers.get("Range"), len(found.body)
    headers = {**_about(found), "Content-Type": "application/octet-stream"}
    if wanted is None:
        return Answer(200, found.body, headers)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(206, found.body[start:end], headers)


def _about(one: Object) -> dict[str, str]:
    modified = format_datetime(one.updated, usegmt=True)
    generation = str(one.generation)
    return {"ETag": one.etag, "x-goog-generation": generation, "Last-Modified": modified}


def _moment(one: Object) -> str:
    return one.updated.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _element(name: str, value: object) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _document(name: str, inner: str) -> bytes:
    return f"{XML}<{name} xmlns='http://doc.s3.amazonaws.com/2006-03-01'>{inner}</{name}>".encode()


def _refusal(exc: Refused) -> Answer:
    told = _element("Code", exc.code) + _element("Message", exc)
    told += _element("Details", exc.details) if exc.details else ""
    return Answer(exc.status, f"{XML}<Error>{told}</Error>".encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one go
    storage: StorageServer

    def do_GET(self) -> None:
        self.close_connection = True  # so that nothing is left open when the server stops
        if self.path.partition("?")[0] == TOKEN_PATH:
            self._say(self.storage.machine_token(self.headers.get("Metadata-Flavor", "")))
            return
        fault = self.storage.fault(self.command)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            return
        answer = None
        if fault is None or fault.done:
            try:
                answer = self.storage.answer(self._call(body))
            except Refused as exc:
                answer = _refusal(exc)
        if fault and fault.status:
            self._say(_refusal(Refused(fault.status, "AsAsked", "A fault, as asked.")))
        elif answer and (fault is None or fault.sent):
            self._say(answer, fault.sent if fault else None)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _call(self, body: bytes) -> Call:
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers: Any = self.headers  # of any case
        return Call(self.command, unquote(bucket), unquote(name), query, headers, body)

    def _say(self, answer: Answer, cut_at: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:cut_at])

    def log_message(self, *_: object) -> None:
        """Quiet."""
