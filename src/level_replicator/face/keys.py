"""Keys for programs: making a pair, and the fingerprint that peers must be told. Needs the extra `tls`."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import DEFAULT_CERTIFICATE_DAYS

NO_EXTRA = "keys need pyOpenSSL and cryptography, which are not installed: pip install 'level-replicator[tls]'"


def generate_pems(
    *, key: str = "p256", name: str = "level-replicator", days: float = DEFAULT_CERTIFICATE_DAYS
) -> dict[str, str]:
    """A new key pair for `pems` of the config: PEM texts `private`, `public` and `cert`.

    `key`: "p256" (ECDSA) or "ed25519". `name` stands in the certificate, for people; `days`: until when it says
    that it is valid, which replicas do not look at. Raises ConfigError, also without the extra `tls`."""
    try:
        from level_replicator.runtime import pems
    except ImportError as error:
        raise ConfigError(NO_EXTRA) from error
    return pems.generate_pems(key=key, name=name, days=days)


def fingerprint(pems: "str | PathLike[str] | Mapping[str, Any]") -> str:
    """ "sha256:…" of the certificate in `pems`: a dict, a JSON file, or a PEM file with a certificate. What the
    peers of its owner must be told. Raises ConfigError, also without the extra `tls`."""
    try:
        from level_replicator.runtime.pems import certificate_fingerprint
    except ImportError as error:
        raise ConfigError(NO_EXTRA) from error
    return certificate_fingerprint(pems)
