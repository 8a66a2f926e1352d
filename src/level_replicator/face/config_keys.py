"""What of a configuration can work with keys, and what without: it fails closed, before anything is opened."""

from collections.abc import Mapping
from typing import Any, Protocol

from level_replicator.core.errors import ConfigError
from level_replicator.runtime.dialler import is_loopback


class _Settings(Protocol):
    """Of face.config.Config."""

    @property
    def servers(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def trusted(self) -> object: ...
    @property
    def identify(self) -> object: ...
    @property
    def insecure(self) -> bool: ...


def check_without_keys(config: _Settings) -> None:
    """Plain TCP is for loopback, and there nobody can be told from anybody. Raises ConfigError."""
    for name in ("trusted", "identify"):
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: without `pems` no peer can be known, and anybody would be let in: set `pems`")
    for address, metadata in config.servers.items():
        if "fingerprint" in metadata:
            raise ConfigError(f"servers: the fingerprint of {address} cannot be checked without `pems`: set it")
        if metadata.get("read_only") and config.port is not None:
            raise ConfigError(
                f"servers: {address} is to be read_only, but without keys it cannot be known when it dials this node:"
                " set `pems` and its fingerprint, or no port"
            )
        if not config.insecure and _is_remote_ip(address.rpartition(":")[0].strip("[]")):
            raise ConfigError(
                f"servers: plain TCP is for loopback, and {address} is not: set `pems`, or, where nobody else can reach"
                " the network, `insecure`"
            )
    if config.port is not None and not config.insecure and config.host != "localhost" and not is_loopback(config.host):
        raise ConfigError(
            f"host: plain TCP is for loopback, and {config.host} is not: set `pems`, or, where nobody else can reach"
            " the network, `insecure`"
        )


def check_with_keys(config: _Settings) -> None:
    """Somebody must be acceptable. Raises ConfigError."""
    if config.insecure:
        raise ConfigError("insecure: with `pems` every connection has TLS, so there is nothing to allow: leave it out")
    if config.trusted is None and config.identify is None:
        for address, metadata in config.servers.items():
            if "fingerprint" not in metadata:
                raise ConfigError(
                    f"servers: nothing tells whether {address} is who it should be: give its `fingerprint`"
                    " (`level-replicator fingerprint` prints it), or `trusted`, or `identify`"
                )
        if config.port is not None and not config.servers:
            raise ConfigError(
                "pems: nobody would be accepted: give `trusted`, `identify`, or a fingerprint in `servers`"
            )
    for address, metadata in config.servers.items():
        if metadata.get("read_only") and "fingerprint" not in metadata:
            raise ConfigError(
                f"servers: {address} is to be read_only: give its `fingerprint`, so that it is known also when it dials"
                " this node"
            )


def _is_remote_ip(host: str) -> bool:
    return (host.replace(".", "").isdigit() and not is_loopback(host)) or (":" in host and not is_loopback(host))
