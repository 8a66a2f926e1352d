"""Key pairs and fingerprints for programs, and the security settings of a node. Needs the extra `tls`.

`generate_pems` creates a key pair, and `fingerprint` returns the fingerprint that the peers need in their
configuration. `load_security` reads and checks the key files of a configuration before anything is opened.
"""

from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from level_replicator.api.config import Config
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import DEFAULT_CERTIFICATE_DAYS
from level_replicator.security.identify import IdentifyRunner
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.reloader import CredentialReloader
from level_replicator.security.trust import Pin, Trust, TrustedFile

NO_EXTRA = "keys need pyOpenSSL and cryptography, which are not installed: pip install 'level-replicator[tls]'"


def load_security(config: Config) -> tuple[NodeSecurity | None, CredentialReloader | None]:
    """Return the security of a node, and the reloader of its files if there are any; both None without keys.

    Raises ConfigError."""
    if config.pems is None:
        return None, None
    try:
        from level_replicator.security.key_files import PemsFile, load_pems
        from level_replicator.security.tls import Contexts
    except ImportError as error:
        raise ConfigError(f"pems: {NO_EXTRA}") from error
    pins = {
        address: Pin(frozenset(metadata["fingerprint"]), bool(metadata.get("read_only", False)))
        for address, metadata in config.servers.items()
        if "fingerprint" in metadata
    }
    trusted_file: TrustedFile | None = None
    trusted: Collection[str] = frozenset()
    if isinstance(config.trusted, str | PathLike):
        trusted_file = TrustedFile(Path(config.trusted))
        trusted = trusted_file.load()
    elif config.trusted is not None:
        trusted = config.trusted
    trust = Trust(pins, trusted)
    identify_runner = None if config.identify is None else IdentifyRunner(config.identify)
    if isinstance(config.pems, Mapping):
        security = NodeSecurity(Contexts(load_pems(config.pems)), trust, identify_runner)
        return security, None if trusted_file is None else CredentialReloader(trusted_file, None)
    key_file = PemsFile(Path(config.pems))
    security = NodeSecurity(Contexts(key_file.load()), trust, identify_runner)

    def reload_key() -> Contexts | None:
        pems = key_file.reload()
        return None if pems is None else Contexts(pems)

    return security, CredentialReloader(trusted_file, reload_key)


def generate_pems(
    *, key: str = "p256", name: str = "level-replicator", days: float = DEFAULT_CERTIFICATE_DAYS
) -> dict[str, str]:
    """Create a key pair for `pems` of the configuration: a dict of the PEM texts `private`, `public` and `cert`.

    key   "p256" (ECDSA) or "ed25519"
    name  subject of the certificate; nodes do not check it
    days  validity of the certificate; nodes do not check it

    Raises ConfigError, also without the extra `tls`."""
    try:
        from level_replicator.security import key_files
    except ImportError as error:
        raise ConfigError(NO_EXTRA) from error
    return key_files.generate_pems(key=key, name=name, days=days)


def fingerprint(key_files: "str | PathLike[str] | Mapping[str, Any]") -> str:
    """Return the fingerprint ("sha256:…") of a certificate, for the configuration of peers.

    `key_files` is a dict as in `pems`, the path of a key file (JSON), or of a PEM file with a certificate. Raises
    ConfigError, also without the extra `tls`."""
    try:
        from level_replicator.security.key_files import certificate_fingerprint
    except ImportError as error:
        raise ConfigError(NO_EXTRA) from error
    return certificate_fingerprint(key_files)
