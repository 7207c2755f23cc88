"""Sealed secrets: what went in comes out, and whatever was changed does not open."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspan.domain.credentials import Cloud, Sealed
from fedspan.errors import Corrupt
from fedspan.keys.envelope import open_sealed, seal
from fedspan.keys.file import FileKey

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
SECRETS = st.binary(max_size=300)
CLOUDS = st.sampled_from(Cloud)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> FileKey:
    return made(tmp_path_factory.mktemp("keys"))


def made(folder: Path) -> FileKey:
    key = FileKey(folder / "master.key")
    key.prepare()
    return key


@given(secret=SECRETS, name=NAMES, provider=CLOUDS)
def test_what_is_sealed_is_opened(key: FileKey, secret: bytes, name: str, provider: Cloud) -> None:
    assert open_sealed(seal(secret, key, name, provider), key) == secret


@given(secret=SECRETS, name=NAMES, provider=CLOUDS)
def test_each_sealing_has_its_own_data_key_and_nonce(
    key: FileKey, secret: bytes, name: str, provider: Cloud
) -> None:
    one, other = (seal(secret, key, name, provider) for _ in range(2))

    assert one.wrapped != other.wrapped
    assert one.nonce != other.nonce
    assert one.ciphertext != other.ciphertext


@given(
    secret=SECRETS,
    field=st.sampled_from(("wrapped", "nonce", "ciphertext")),
    at=st.integers(min_value=0),
)
def test_any_bit_that_is_flipped_is_noticed(
    key: FileKey, secret: bytes, field: str, at: int
) -> None:
    sealed = seal(secret, key, "site", Cloud.OPENSTACK)
    raw = bytearray(base64.b64decode(getattr(sealed, field)))
    raw[at // 8 % len(raw)] ^= 1 << at % 8
    text = base64.b64encode(raw).decode()
    with pytest.raises(Corrupt):
        open_sealed(sealed.model_copy(update={field: text}), key)


@given(
    field=st.sampled_from(("wrapped", "nonce", "ciphertext")),
    at=st.integers(min_value=0),
    character=st.characters(),
)
def test_any_character_that_is_changed_is_noticed(
    key: FileKey, field: str, at: int, character: str
) -> None:
    sealed = seal(b"secret", key, "site", Cloud.OPENSTACK)
    text = getattr(sealed, field)
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        with pytest.raises(Corrupt):
            open_sealed(sealed.model_copy(update={field: changed}), key)


@given(
    first=st.tuples(SECRETS, NAMES, CLOUDS),
    second=st.tuples(SECRETS, NAMES, CLOUDS),
    fields=st.sets(
        st.sampled_from(sorted(set(Sealed.model_fields) - {"key", "version"})), min_size=1
    ),
)
def test_fields_of_another_credential_open_nothing(
    key: FileKey,
    first: tuple[bytes, str, Cloud],
    second: tuple[bytes, str, Cloud],
    fields: set[str],
) -> None:
    one = seal(first[0], key, first[1], first[2])
    other = seal(second[0], key, second[1], second[2])
    mixed = one.model_copy(update={field: getattr(other, field) for field in fields})
    if mixed not in (one, other):
        with pytest.raises(Corrupt):
            open_sealed(mixed, key)


def test_another_master_key_is_named(
    key: FileKey, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = made(tmp_path_factory.mktemp("other"))
    sealed = seal(b"secret", key, "site", Cloud.OPENSTACK)

    advice = f"under master key {key.name}, not {other.name}.*`fedspan credential rotate`"
    with pytest.raises(Corrupt, match=advice):
        open_sealed(sealed, other)
    with pytest.raises(Corrupt):
        open_sealed(sealed.model_copy(update={"key": other.name}), other)


def test_a_newer_way_of_sealing_is_told(key: FileKey) -> None:
    sealed = seal(b"secret", key, "site", Cloud.OPENSTACK)
    with pytest.raises(Corrupt, match="newer Fedspan"):
        open_sealed(sealed.model_copy(update={"version": 2}), key)
