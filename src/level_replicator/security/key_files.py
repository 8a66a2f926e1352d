"""Key files: a private key and its self-signed certificate, as PEM texts in a dict or a JSON file.

The dict has the keys `private`, `public` and `cert`, like the output of generators for other languages (Node's
`selfsigned`). There is no certificate authority: a certificate is only the form in which TLS transports a public key,
and peers are identified by its fingerprint. Needs the extra `tls`.
"""

import datetime
import json
import logging
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.core.limits import DEFAULT_CERTIFICATE_DAYS, MAX_PEMS_BYTES, MIN_RSA_BITS
from level_replicator.security.small_file import check_path, read_small_file

_log = logging.getLogger("level_replicator.security")

_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey
_KINDS = (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey, rsa.RSAPrivateKey)
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""P-256, P-384, P-521. TLS 1.3 has no other curves, or only with some versions of OpenSSL."""


@dataclass(frozen=True)
class Pems:
    """A validated key pair. `repr` shows neither key nor certificate."""

    private: bytes = field(repr=False)
    """DER, PKCS #8."""
    certificate: bytes = field(repr=False)
    """DER."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.certificate)


def generate_pems(
    *, key: str = "p256", name: str = "level-replicator", days: float = DEFAULT_CERTIFICATE_DAYS
) -> dict[str, str]:
    """Generate a key pair and return its PEM texts: `private`, `public`, `cert`.

    `key` is "p256" (ECDSA) or "ed25519". `name` becomes the common name of the certificate, for people to read. The
    certificate is self-signed and valid from yesterday for `days` days; replicas ignore its dates (SECURITY.md explains
    why). Raises ConfigError for an invalid argument."""
    if key not in ("p256", "ed25519"):
        raise ConfigError(f"key: unknown kind {key!r}; expected 'p256' or 'ed25519'")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise ConfigError("name: expected a text of 1 to 64 characters")
    private: _PrivateKey = (
        ec.generate_private_key(ec.SECP256R1()) if key == "p256" else ed25519.Ed25519PrivateKey.generate()
    )
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    try:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
    except (OverflowError, ValueError, TypeError) as error:
        raise ConfigError(f"days: {days!r} results in a date that does not fit into a certificate") from error
    certificate = builder.sign(private, None if key == "ed25519" else hashes.SHA256())
    text = serialization.Encoding.PEM
    return {
        "private": private.private_bytes(
            text, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        "public": private.public_key().public_bytes(text, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
        "cert": certificate.public_bytes(text).decode(),
    }


def write_pems(path: "str | PathLike[str]", pems: Mapping[str, str]) -> None:
    """Write a key file with mode 0600. Raises ConfigError if the file exists or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} exists, and keys are never overwritten: move the file away, or choose another name"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(dict(pems), file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def load_pems(source: "str | PathLike[str] | Mapping[str, Any]") -> Pems:
    """Load the key pair that `pems` of the configuration names: a dict, or the path of a JSON file.

    Raises ConfigError if it cannot be read or is invalid."""
    if isinstance(source, Mapping):
        return _check(source, "pems")
    return PemsFile(source).load()


class PemsFile:
    """A key file that may be replaced while the node runs."""

    def __init__(self, path: "str | PathLike[str]") -> None:
        """Raises ConfigError for a value that cannot be a path, without showing it."""
        check_path(path, "pems")
        self._path = Path(path)
        self._last: bytes | None = None

    def load(self) -> Pems:
        """Load the key pair. Raises ConfigError if the file cannot be read or is invalid."""
        raw = read_small_file(self._path, MAX_PEMS_BYTES, "pems")
        pems = _check(_parse_json(raw, self._path), str(self._path))
        self._last = raw
        if os.stat(self._path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            _log.warning("%s can be read by other users than its owner: run chmod 600", self._path)
        return pems

    def reload(self) -> Pems | None:
        """Load the key pair if the file has changed since the last successful load, else return None.

        Raises ConfigError if the file cannot be read or is invalid."""
        return None if read_small_file(self._path, MAX_PEMS_BYTES, "pems") == self._last else self.load()


def certificate_fingerprint(source: "str | PathLike[str] | Mapping[str, Any]") -> str:
    """Return the fingerprint of a certificate, which peers need in `trusted` or `servers`.

    `source` is a key file, a dict of PEM texts, or a PEM file with a certificate. The private key may be missing.
    Raises ConfigError if the certificate cannot be read."""
    if isinstance(source, Mapping):
        return fingerprint_of(_der(_certificate(source, "pems")))
    check_path(source, "pems")
    raw = read_small_file(Path(source), MAX_PEMS_BYTES, "pems")
    if b"-----BEGIN CERTIFICATE-----" in raw and not raw.lstrip().startswith(b"{"):
        return fingerprint_of(_der(_parse_certificate(raw, str(source))))
    return fingerprint_of(_der(_certificate(_parse_json(raw, source), str(source))))


def _parse_json(raw: bytes, path: "str | PathLike[str]") -> Mapping[str, Any]:
    try:
        pems = json.loads(raw)
    except (ValueError, RecursionError):
        # the original error is not chained: it could quote the key
        raise ConfigError(f"pems: {path} is not a JSON file; `level-replicator keygen` writes a key file") from None
    if not isinstance(pems, Mapping):
        raise ConfigError(f"pems: {path} does not contain a JSON object with `private` and `cert`")
    return pems


def _text(pems: Mapping[str, Any], name: str, where: str) -> bytes:
    text = pems.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"pems: {where} has no {name!r}; expected a PEM text")
    return text.encode("utf-8", "replace")


def _check(pems: Mapping[str, Any], where: str) -> Pems:
    certificate = _certificate(pems, where)
    private = _private(_text(pems, "private", where), where)
    if private.public_key() != _public(certificate, where):
        raise ConfigError(f"pems: the private key of {where} does not belong to its certificate")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < MIN_RSA_BITS:
        raise ConfigError(
            f"pems: the RSA key of {where} has {private.key_size} bits; expected {MIN_RSA_BITS} or more:"
            " generate a new one with `level-replicator keygen`"
        )
    der = serialization.Encoding.DER
    private_der = private.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pems(private_der, _der(certificate))


def _public(certificate: x509.Certificate, where: str) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise ConfigError(f"pems: the public key in the certificate of {where} cannot be read") from None


def _private(pem: bytes, where: str) -> _PrivateKey:
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError(f"pems: the private key of {where} is encrypted; expected a key without a password") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise ConfigError(f"pems: the private key of {where} is not a valid private key in PEM format") from None
    if not isinstance(private, _KINDS):
        raise ConfigError(
            f"pems: the key of {where} cannot be used with TLS 1.3; expected an ECDSA, Ed25519 or RSA key"
        )
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name not in _CURVES:
        raise ConfigError(
            f"pems: the key of {where} uses the curve {private.curve.name}; expected P-256, P-384 or P-521"
        )
    return private


def _certificate(pems: Mapping[str, Any], where: str) -> x509.Certificate:
    return _parse_certificate(_text(pems, "cert", where), where)


def _parse_certificate(pem: bytes, where: str) -> x509.Certificate:
    try:
        with warnings.catch_warnings():
            # other generators write certificates that are not strictly valid; here only their bytes matter
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificate(pem)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion):
        raise ConfigError(f"pems: the certificate of {where} is not a valid certificate in PEM format") from None


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
