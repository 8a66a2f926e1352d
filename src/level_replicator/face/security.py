"""From the configuration to what a node with keys needs. Everything is read and checked before anything is opened."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from level_replicator.core.errors import ConfigError
from level_replicator.face.config import Config
from level_replicator.face.keys import NO_EXTRA
from level_replicator.runtime.doorway import Security
from level_replicator.runtime.identifying import Identifying
from level_replicator.runtime.key_watch import KeyWatch
from level_replicator.runtime.trust import Pin, Trust, TrustedFile


def load_security(config: Config) -> tuple[Security | None, KeyWatch | None]:
    """None without keys. Raises ConfigError."""
    if config.pems is None:
        return None, None
    try:
        from level_replicator.runtime.pems import PemsFile, load_pems
        from level_replicator.runtime.tls import Contexts
    except ImportError as error:
        raise ConfigError(f"pems: {NO_EXTRA}") from error
    pins = {
        address: Pin(frozenset(metadata["fingerprint"]), bool(metadata.get("read_only", False)))
        for address, metadata in config.servers.items()
        if "fingerprint" in metadata
    }
    trusted_file = TrustedFile(Path(config.trusted)) if isinstance(config.trusted, str | PathLike) else None
    trusted = trusted_file.load() if trusted_file is not None else (config.trusted or frozenset())
    trust = Trust(pins, trusted)  # type: ignore[arg-type]
    identifying = None if config.identify is None else Identifying(config.identify)
    if isinstance(config.pems, Mapping):
        security = Security(Contexts(load_pems(config.pems)), trust, identifying)
        return security, None if trusted_file is None else KeyWatch(trusted_file, None)
    key_file = PemsFile(Path(config.pems))
    security = Security(Contexts(key_file.load()), trust, identifying)

    def reload_key() -> Contexts | None:
        pems = key_file.reload()
        return None if pems is None else Contexts(pems)

    return security, KeyWatch(trusted_file, reload_key)
