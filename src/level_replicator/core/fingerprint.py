"""The fingerprint of a certificate, by which peers identify each other."""

import hashlib
import string

from level_replicator.core.errors import ConfigError

_PREFIX = "sha256:"
_DIGITS = 64


def fingerprint_of(certificate: bytes) -> str:
    """Return "sha256:" and 64 hexadecimal digits: the SHA-256 of a certificate in DER, as TLS tools compute it."""
    return _PREFIX + hashlib.sha256(certificate).hexdigest()


def parse_fingerprint(text: object) -> str:
    """Return a fingerprint in the form of `fingerprint_of`.

    Accepts capitals, colons between the bytes and a missing prefix, since openssl and Node print fingerprints that
    way. Raises ConfigError for anything else."""
    if not isinstance(text, str):
        raise ConfigError(f"fingerprint: expected a str, not {type(text).__name__}")
    digits = text.strip().lower().removeprefix(_PREFIX).replace(":", "")
    if len(digits) != _DIGITS or not set(digits) <= set(string.hexdigits):
        raise ConfigError(
            f"fingerprint: expected 'sha256:' and {_DIGITS} hexadecimal digits (the value is not shown, it may be a"
            " key); `level-replicator fingerprint FILE` prints the fingerprint of a key file"
        )
    return _PREFIX + digits
