"""The fingerprint of a certificate: the one way in which peers know each other."""

import hashlib
import string

from level_replicator.core.errors import ConfigError

_PREFIX = "sha256:"
_DIGITS = 64


def fingerprint_of(certificate: bytes) -> str:
    """ "sha256:" and 64 hexadecimal digits: of the certificate's DER bytes, as every TLS tool computes it."""
    return _PREFIX + hashlib.sha256(certificate).hexdigest()


def parse_fingerprint(text: object) -> str:
    """As `fingerprint_of` writes it. Capitals, colons between the bytes and a missing prefix are taken, since
    openssl and Node print fingerprints so. Raises ConfigError."""
    if not isinstance(text, str):
        raise ConfigError(f"fingerprint: a str is wanted, not {type(text).__name__}")
    digits = text.strip().lower().removeprefix(_PREFIX).replace(":", "")
    if len(digits) != _DIGITS or not set(digits) <= set(string.hexdigits):
        raise ConfigError(
            f"fingerprint: this is not sha256: and {_DIGITS} hexadecimal digits (not shown: it may be a key);"
            " `level-replicator fingerprint FILE` prints the one of a key file"
        )
    return _PREFIX + digits
