"""Cloud KMS on a loopback port, for the two calls we make. It really encrypts, and says no as
Google does."""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CALL = re.compile(r"/v1/(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/:]+):(\w+)")
AAD = "additionalAuthenticatedData"


class Refused(Exception):
    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"error": {"code": code, "message": message, "status": status}}


@dataclass
class CloudKms:
    """`tokens` are let in; None lets all in. `fail_next` is the next answer (status and body), and
    `flips` turns a bit of the next result over, as a bad line would."""

    tokens: set[str] | None = field(default_factory=lambda: {"good"})
    keys: dict[str, bytes] = field(default_factory=dict)
    fail_next: tuple[int, str] | None = None
    flips: bool = False
    unverified: bool = False
    url: str = ""

    def create_key(self, name: str) -> str:
        self.keys[name] = secrets.token_bytes(32)
        return name

    def answer(self, path: str, authorization: str, body: dict[str, str]) -> dict[str, Any]:
        call = CALL.fullmatch(path)
        if call is None:
            raise Refused(404, "NOT_FOUND", "Not Found")
        if self.tokens is not None and authorization.removeprefix("Bearer ") not in self.tokens:
            raise Refused(403, "PERMISSION_DENIED", f"Permission denied on resource '{call[1]}'.")
        if call[1] not in self.keys:
            raise Refused(404, "NOT_FOUND", f"CryptoKey {call[1]} not found.")
        aad = _sent(body, AAD)
        if call[2] == "encrypt":
            return self._encrypted(call[1], _sent(body, "plaintext"), aad)
        return self._decrypted(call[1], _sent(body, "ciphertext"), aad)

    def _encrypted(self, name: str, plaintext: bytes, aad: bytes) -> dict[str, Any]:
        nonce = secrets.token_bytes(12)
        made = nonce + AESGCM(self.keys[name]).encrypt(nonce, plaintext, aad)
        return {
            "name": f"{name}/cryptoKeyVersions/1",
            **self._result("ciphertext", made),
            "verifiedPlaintextCrc32c": not self.unverified,
            f"verified{AAD[0].upper()}{AAD[1:]}Crc32c": True,
            "protectionLevel": "SOFTWARE",
        }

    def _decrypted(self, name: str, ciphertext: bytes, aad: bytes) -> dict[str, Any]:
        try:
            made = AESGCM(self.keys[name]).decrypt(ciphertext[:12], ciphertext[12:], aad)
        except (InvalidTag, ValueError):
            said = "Decryption failed: verify that 'name' refers to the correct CryptoKey."
            raise Refused(400, "INVALID_ARGUMENT", said) from None
        return {**self._result("plaintext", made), "usedPrimary": True}

    def _result(self, name: str, value: bytes) -> dict[str, str]:
        told = bytes([value[0] ^ 1]) + value[1:] if self.flips else value
        return {name: base64.b64encode(told).decode(), f"{name}Crc32c": str(bitwise_crc32c(value))}


def _sent(body: dict[str, str], name: str) -> bytes:
    value = base64.b64decode(body[name], validate=True)
    if int(body[f"{name}Crc32c"]) != bitwise_crc32c(value):
        raise Refused(400, "INVALID_ARGUMENT", f"The checksum in field {name}_crc32c did not match")
    return value


def bitwise_crc32c(data: bytes) -> int:
    """By its definition, so that a mistake in a table is seen."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@contextmanager
def serving() -> Iterator[CloudKms]:
    kms = CloudKms()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if kms.fail_next is not None:
                (code, text), kms.fail_next = kms.fail_next, None
                return self._send(code, text)
            try:
                made = kms.answer(self.path, self.headers.get("Authorization", ""), json.loads(raw))
            except Refused as exc:
                return self._send(exc.code, json.dumps(exc.body))
            return self._send(200, json.dumps(made))

        def _send(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    kms.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kms
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
