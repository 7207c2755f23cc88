"""Secrets at rest: each under a data key of its own, which a master key wraps.

Who reads the store learns nothing, and who writes it cannot make one credential pass for another:
the name, the cloud and the master key are authenticated with the data key and with the secret.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedspan.domain.credentials import Cloud, Sealed
from fedspan.errors import Corrupt
from fedspan.keys.base import MasterKey
from fedspan.keys.context import canonical

DATA_KEY_BITS: Final = 256
NONCE_BYTES: Final = 12
VERSION: Final = 1
"""AES-256-GCM of the secret and, for `FileKey`, of the data key."""


def seal(secret: bytes, key: MasterKey, name: str, provider: Cloud) -> Sealed:
    """`secret` under a new data key. Raises what `MasterKey.wrap` does."""
    context = _context(name, provider, key.name)
    data_key, nonce = AESGCM.generate_key(DATA_KEY_BITS), secrets.token_bytes(NONCE_BYTES)
    return Sealed(
        name=name,
        provider=provider,
        key=context["key"],
        wrapped=_text(key.wrap(data_key, context)),
        nonce=_text(nonce),
        ciphertext=_text(AESGCM(data_key).encrypt(nonce, secret, canonical(context))),
        version=VERSION,
    )


def open_sealed(sealed: Sealed, key: MasterKey) -> bytes:
    """The secret.

    Raises:
        Corrupt: it was changed, is another credential's, or was sealed under another master key.
        What `MasterKey.unwrap` raises.
    """
    if sealed.version != VERSION:
        raise Corrupt(f"credential {sealed.name}: sealed by a newer Fedspan; update this one")
    if sealed.key != key.name:
        raise Corrupt(
            f"credential {sealed.name}: sealed under master key {sealed.key}, not {key.name}; "
            f"put that key back, or `fedspan credential rotate` gives {sealed.name} a new secret"
        )
    context = _context(sealed.name, sealed.provider, sealed.key)
    try:
        nonce, ciphertext, wrapped = map(_bytes, (sealed.nonce, sealed.ciphertext, sealed.wrapped))
        return AESGCM(key.unwrap(wrapped, context)).decrypt(nonce, ciphertext, canonical(context))
    except (InvalidTag, ValueError):
        raise Corrupt(
            f"credential {sealed.name}: its stored secret was changed; `fedspan credential "
            "rotate` gives it a new one"
        ) from None


def _context(name: str, provider: Cloud, key: str) -> dict[str, str]:
    return {"fedspan": "credential", "name": name, "provider": provider.value, "key": key}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    """Raises `ValueError` unless it is what `_text` writes: base64 leaves some bits unread."""
    value = base64.b64decode(text, validate=True)
    if _text(value) != text:
        raise ValueError("no canonical base64")
    return value
