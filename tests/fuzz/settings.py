"""What people write: addresses, fingerprints, the file of trusted ones, key files. Only ConfigError may come of it."""

import contextlib
import tempfile
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import fingerprint_of, parse_fingerprint
from level_replicator.net.addresses import parse_address
from level_replicator.security.key_files import PemsFile, certificate_fingerprint, load_pems
from level_replicator.security.trust import TrustedFile
from tests.fuzz.source import Source


def words(data: bytes) -> None:
    """An address, or a fingerprint: what is taken has one form, which is taken again."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ConfigError):
        host, port = parse_address(text)
        assert 0 < port < 1 << 16
        assert parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") == (host, port)
    with contextlib.suppress(ConfigError):
        taken = parse_fingerprint(text)
        assert parse_fingerprint(taken) == taken
        assert len(taken) == len(fingerprint_of(b""))


def files(data: bytes) -> None:
    """A key file, a certificate, a list of fingerprints; and a key pair with some of its bytes changed."""
    _changed_pair(Source(data))
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_in_memory()) as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        with contextlib.suppress(ConfigError):
            assert PemsFile(path).load().fingerprint == certificate_fingerprint(path)
        with contextlib.suppress(ConfigError):
            assert parse_fingerprint(certificate_fingerprint(path))
        trusted = TrustedFile(path)
        reloaded = trusted.reload()
        if reloaded is not None:
            found, mistakes = reloaded
            assert all(parse_fingerprint(each) == each for each in found)
            if mistakes:
                with contextlib.suppress(ConfigError):
                    raise AssertionError(f"a list with mistakes was taken: {trusted.load()}")
            else:
                assert trusted.load() == found
            assert TrustedFile(path).reload() == reloaded


def _changed_pair(source: Source) -> None:
    private, certificate = (bytearray(der) for der in _pair())
    while source.left:
        der = private if source.flag() else certificate
        der[int.from_bytes(source.take(2), "big") % len(der)] = source.byte()
    pems = {"private": _pem("PRIVATE KEY", private), "cert": _pem("CERTIFICATE", certificate)}
    with contextlib.suppress(ConfigError):
        assert load_pems(pems).fingerprint == fingerprint_of(bytes(certificate))


@cache
def _pair() -> tuple[bytes, bytes]:
    """DER of a key and its certificate, always the same ones."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    day = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day.replace(year=2120))
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return private, builder.sign(key, None).public_bytes(Encoding.DER)


def _pem(kind: str, der: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{b64encode(der).decode()}\n-----END {kind}-----\n"


def _in_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
