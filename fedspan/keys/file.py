"""A master key in a file: that of the embedded default, kept beside what it protects."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedspan.errors import Corrupt, InvalidRequest
from fedspan.keys.context import canonical
from fedspan.keys.private import private_bytes

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
INSTEAD: Final = (
    "put back the one that was there. If it is lost, so are the credentials: `fedspan credential "
    "delete NAME --force` each, remove what is in the key's place, and register them again"
)


@dataclass(frozen=True, slots=True)
class FileKey:
    """32 random bytes, made by `prepare` alone, which only their owner may read."""

    path: Path

    @property
    def name(self) -> str:
        """Which bytes they are, not where: a home may be moved."""
        return "file:" + hashlib.sha256(b"fedspan master key " + self._key()).hexdigest()[:16]

    def prepare(self) -> None:
        """Raises `InvalidRequest` where no file can be."""
        if self.path.exists():
            return
        try:
            self._make()
        except OSError as exc:
            raise InvalidRequest(f"master key {self.path}: {exc.strerror}") from exc

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._key()).encrypt(nonce, data_key, canonical(context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        nonce, rest = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(self._key()).decrypt(nonce, rest, canonical(context))
        except (InvalidTag, ValueError):  # the latter where it is too short
            raise Corrupt(f"{self.path}: not wrapped by this key, or for something else") from None

    def _key(self) -> bytes:
        """Raises `Denied` while others may read it, `Corrupt` when it is missing or no key."""
        try:
            key = private_bytes(self.path, "the master key", KEY_BYTES + 1)
        except FileNotFoundError:
            raise Corrupt(f"master key {self.path} is missing; {INSTEAD}") from None
        except OSError as exc:
            raise InvalidRequest(f"master key {self.path}: {exc.strerror}") from exc
        if len(key) != KEY_BYTES:
            raise Corrupt(f"{self.path} is no master key of {KEY_BYTES} bytes; {INSTEAD}")
        return key

    def _make(self) -> None:
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(beside, self.path)  # whole or not at all, and the first one stays
        finally:
            beside.unlink()
