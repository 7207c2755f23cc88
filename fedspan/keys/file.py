"""A master key in a file: that of the embedded default, kept beside what it protects."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedspan.errors import Corrupt, Denied, InvalidRequest
from fedspan.keys.context import canonical

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class FileKey:
    """32 random bytes, made on first use, which only their owner may read."""

    path: Path

    @property
    def name(self) -> str:
        """Which bytes they are, not where: a home may be moved."""
        return "file:" + hashlib.sha256(b"fedspan master key " + self._key()).hexdigest()[:16]

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
        """Raises `Denied` while others may read it, `Corrupt` when it is no key."""
        try:
            if not self.path.exists():
                self._make()
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                key = file.read(KEY_BYTES + 1)
        except PermissionError as exc:
            raise Denied(f"{self.path}: {exc.strerror}") from exc
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise InvalidRequest(f"master key {self.path}: {exc.strerror}") from exc
        if mode & 0o077:
            raise Denied(
                f"others may read the master key {self.path} (mode {mode:04o}); "
                f"`chmod 600 {self.path}`"
            )
        if len(key) != KEY_BYTES:
            raise Corrupt(
                f"{self.path} is no master key of {KEY_BYTES} bytes; put back the one that was "
                "there: without it the credentials must be registered again"
            )
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
