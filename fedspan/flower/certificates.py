"""Keys and certificates of one incarnation: made where they are used, never sent elsewhere.

An aggregator makes a CA, signs one server certificate with it and forgets the CA's key, so that
nothing else can ever be signed in its name. A participant makes the key pair its SuperNode
proves itself with. All are on P-256: Flower takes every NIST curve, signs the time of each
request and verifies it, and P-384 costs twenty times as much for that.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK: Final = "127.0.0.1"
VALID: Final = timedelta(days=90)
CLOCKS_DIFFER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Files: the CA participants trust, and what the server shows and holds."""

    ca: Path
    certificate: Path
    key: Path


def server_certificate(folder: Path, address: str, now: datetime) -> ServerCertificate:
    """A new CA and a certificate for `address` (a name or an IP) and loopback, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key, key = _new_key(), _new_key()
    ca_name = _named("Fedspan aggregator CA")
    ca = (
        _unsigned(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _unsigned(_named("Fedspan aggregator"), ca_name, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(address)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
        )
        .sign(ca_key, hashes.SHA256())
    )
    made = ServerCertificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.ca.write_bytes(ca.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    write_private(made.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A SuperNode's key pair: the private one's file, the public one's PEM."""

    private: Path
    public: str


def node_key(path: Path) -> NodeKey:
    """A new key pair, its private key at `path`. One serves one start of a SuperNode: a
    SuperLink refuses a key for a minute after its bearer was killed."""
    key = _new_key()
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return NodeKey(path, public.decode())


def write_private(path: Path, data: bytes) -> None:
    """Write a file nobody else could ever read, not even while it was being made.

    One of ours that is there is written over, not replaced: a full disk has the room for that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _private(path):
        path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.truncate()


def _private(path: Path) -> bool:
    """Whether a file is there that nobody else can have open."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    alone = (found.st_uid, found.st_nlink) == (os.geteuid(), 1)
    return alone and found.st_mode == stat.S_IFREG | 0o600


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    start = now.astimezone(UTC) - CLOCKS_DIFFER
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALID)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(address: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address(LOOPBACK)),
    ]
    try:
        given: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        given = x509.DNSName(address)
    return names if given in names else [*names, given]
