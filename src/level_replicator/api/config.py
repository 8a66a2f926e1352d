"""The configuration: a frozen dataclass, a plain dict, or a TOML file. It is checked before anything is opened.

Settings of keys fail closed: a configuration that could let in anybody, or nobody, is refused.
"""

import dataclasses
import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import parse_fingerprint
from level_replicator.core.limits import (
    DEFAULT_HEARTBEAT_S,
    DEFAULT_LOG_MAX_AGE_S,
    DEFAULT_LOG_MAX_BYTES,
    DEFAULT_MAX_CLOCK_DRIFT_S,
    DEFAULT_TOMBSTONE_TTL_S,
    MAX_HEARTBEAT_S,
    MIN_HEARTBEAT_S,
    MIN_RETENTION_S,
)
from level_replicator.node.client_registry import ClientAccess
from level_replicator.node.dialer import is_loopback
from level_replicator.replication.peers import PeerEvent
from level_replicator.security.identify import Identify
from level_replicator.storage.feed.change_feed import Item
from level_replicator.storage.state.conflict_queue import Version


class _Settings(Protocol):
    """The settings of `Config` that the checks below read."""

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


_BOUNDS = ("log_max_bytes", "log_max_age", "tombstone_ttl")
_SERVER_KEYS = ("name", "fingerprint", "read_only")
_MAX_PORT = 65_535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """How a replica meets its peers.

    servers          peers to dial: "host:port" → metadata: `name`, for people; `fingerprint`, of the certificate
                     that it must show, or a list; `read_only`: it gets our changes, and we take none from it
    host, port       where it listens; port 0 takes a free one, None: it only dials
    sync             default of `sync` for writes here, and what remote changes are written with
    max_clock_drift  seconds that a peer's stamp may be ahead of the local clock before the peer is quarantined
    heartbeat        seconds of quiet after which a sign of life is sent; four missed ones end a connection
    pems             key pair: a dict with `private` and `cert` as PEM texts, or the path of a JSON file with them,
                     read again when it changes. With it every connection is TLS 1.3, both sides known by their keys
    trusted          fingerprints that are welcome: a list, or the path of a file with one a line, read again when it
                     changes
    identify         called with each peer (security.peer_identity.PeerIdentity) that has proved its key, known or not:
                     `peer.accept()`, `peer.accept(read_only=True)` or `peer.reject(reason)`, within 10 s. It
                     may be a coroutine
    pull_only        takes what peers write, and refuses local writes with a ReadOnlyError
    clients          what programs may do that use this database over the port (`connect`): "read-write", "read-only",
                     or "none". With keys they are judged as peers are
    socket           path of a Unix socket for programs of this machine, usable by this user only; None: `open` makes
                     one in its directory, `install` none; False: none
    metrics          where `/metrics` (Prometheus), `/healthz`, `/readyz`, `/status.json` and the status page `/` are
                     answered: a port of loopback, or "host:port"; None: nowhere. Nothing there is secret, and nobody
                     is asked for a key
    insecure         allows plain TCP beyond loopback: anybody who reaches the port can then read and write everything
    log_max_bytes    bytes that the log may take on the disk before its oldest entries leave it; None, or inf: no bound
    log_max_age      seconds after which an entry leaves the log; None: no bound
    tombstone_ttl    seconds after which a deleted key is forgotten; None: never. A node that was away for longer is
                     recognised and takes part again; what it wrote meanwhile is kept
    on_change        called with each change (storage.feed.change_feed.Change) from here on, on a thread of its own
    on_conflict      called with (key, winner, loser), both storage.state.conflict_queue.Version, where two writes meet
                     of which neither had seen the other
    on_peer          called with a PeerEvent, on a thread of its own, when a peer comes, goes, is refused or quarantined

    Raises ConfigError, for each thing that cannot work.
    """

    servers: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int | None = None
    sync: bool = False
    max_clock_drift: float = DEFAULT_MAX_CLOCK_DRIFT_S
    heartbeat: float = DEFAULT_HEARTBEAT_S
    pems: str | PathLike[str] | Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    trusted: str | PathLike[str] | Collection[str] | None = None
    identify: Identify | None = None
    pull_only: bool = False
    clients: str = ClientAccess.FULL
    socket: str | PathLike[str] | bool | None = None
    metrics: int | str | None = None
    insecure: bool = False
    log_max_bytes: int | None = DEFAULT_LOG_MAX_BYTES
    log_max_age: float | None = DEFAULT_LOG_MAX_AGE_S
    tombstone_ttl: float | None = DEFAULT_TOMBSTONE_TTL_S
    on_peer: Callable[[PeerEvent], None] | None = None
    on_change: Callable[[Item], None] | None = None
    on_conflict: Callable[[bytes, Version, Version], None] | None = None

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            if getattr(self, name) == math.inf:  # TOML has no None
                object.__setattr__(self, name, None)
        _check_types(self)
        if self.port is not None and not 0 <= self.port <= _MAX_PORT:
            raise ConfigError(f"port: {self.port} is not a port (0 to {_MAX_PORT}, or None to dial only)")
        _check_seconds("max_clock_drift", self.max_clock_drift, 0.001, 365 * 86_400)
        if self.log_max_bytes is not None and self.log_max_bytes < 0:
            raise ConfigError(f"log_max_bytes: {self.log_max_bytes} is no number of bytes")
        for name in ("log_max_age", "tombstone_ttl"):
            if getattr(self, name) is not None:
                _check_seconds(name, getattr(self, name), MIN_RETENTION_S, 100 * 365 * 86_400)
        _check_seconds("heartbeat", self.heartbeat, MIN_HEARTBEAT_S, MAX_HEARTBEAT_S)
        servers = {address: _check_metadata(address, metadata) for address, metadata in self.servers.items()}
        object.__setattr__(self, "servers", MappingProxyType(servers))
        for address in servers:
            host, port = parse_address(address)
            if self.port and port == self.port and (host == self.host or (is_local(host) and is_local(self.host))):
                raise ConfigError(f"servers: {address} is this node itself")
        if self.trusted is not None and not isinstance(self.trusted, str | PathLike):
            object.__setattr__(self, "trusted", frozenset(parse_fingerprint(each) for each in self.trusted))
        if isinstance(self.metrics, int) and not 0 <= self.metrics <= _MAX_PORT:
            raise ConfigError(f"metrics: {self.metrics} is not a port (0 to {_MAX_PORT})")
        if isinstance(self.metrics, str):
            parse_address(self.metrics, "metrics")
        if self.pems is None:
            check_without_keys(self)
        else:
            check_with_keys(self)

    @classmethod
    def of(cls, config: "Config | Mapping[str, Any] | None") -> "Config":
        """A Config from what `install` takes. Raises ConfigError."""
        if isinstance(config, Config):
            return config
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise ConfigError(f"config: a dict or a Config is wanted, not {type(config).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [key for key in config if key not in known]
        if unknown:
            raise ConfigError(f"unknown key {unknown[0]!r}: known are {', '.join(sorted(known))}")
        return cls(**config)

    @classmethod
    def from_toml(cls, path: "str | PathLike[str]") -> "Config":
        """A Config from a TOML file with the fields as keys. Paths (`pems`, `trusted`, `socket`) are from where it is.

        Raises ConfigError, also when it cannot be read."""
        return cls.of(read_toml(path))


def read_toml(path: "str | PathLike[str]") -> dict[str, Any]:
    """The settings of a TOML file as they stand, not checked yet. Raises ConfigError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            read = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name in ("pems", "trusted", "socket"):
        if isinstance(read.get(name), str):
            read[name] = Path(path).parent / read[name]
    return read


def parse_address(address: str, what: str = "servers") -> tuple[str, int]:
    """(host, port) of "host:port", with an IPv6 address in brackets. Raises ConfigError."""
    host, colon, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) != bracketed or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ConfigError(f"{what}: {address!r} is not host:port")
    if not 0 < int(port) <= _MAX_PORT:
        raise ConfigError(f"{what}: {address!r} has no port from 1 to {_MAX_PORT}")
    return host, int(port)


def is_local(host: str) -> bool:
    """Whether the name can only mean this machine."""
    return host in ("localhost", "0.0.0.0", "::") or is_loopback(host)


def _check_types(config: Config) -> None:
    wanted: dict[str, tuple[type, ...]] = {
        "servers": (Mapping,),
        "host": (str,),
        "port": (int, type(None)),
        "sync": (bool,),
        "max_clock_drift": (int, float),
        "heartbeat": (int, float),
        "pems": (str, PathLike, Mapping, type(None)),
        "trusted": (str, PathLike, list, tuple, set, frozenset, type(None)),
        "pull_only": (bool,),
        "clients": (str,),
        "socket": (str, PathLike, bool, type(None)),
        "metrics": (int, str, type(None)),
        "insecure": (bool,),
        "log_max_bytes": (int, type(None)),
        "log_max_age": (int, float, type(None)),
        "tombstone_ttl": (int, float, type(None)),
    }
    for name, types in wanted.items():
        value = getattr(config, name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            shown = type(value).__name__ if name == "pems" else repr(value)  # a key is never shown
            raise ConfigError(f"{name}: {shown} is not of the kind {' or '.join(t.__name__ for t in types)}")
    for name in ("on_peer", "on_change", "on_conflict", "identify"):
        if getattr(config, name) is not None and not callable(getattr(config, name)):
            raise ConfigError(f"{name}: cannot be called")
    if not config.host:
        raise ConfigError("host: empty")
    if config.clients not in list(ClientAccess):
        raise ConfigError(f"clients: {config.clients!r} is none of {', '.join(ClientAccess)}")
    if config.socket is True:
        raise ConfigError("socket: a path is wanted, or False for none")


def _check_seconds(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name}: {value} is not a number of seconds from {least} to {most}")


def _check_metadata(address: str, metadata: object) -> Mapping[str, Any]:
    if not isinstance(metadata, Mapping):
        raise ConfigError(f"servers: the metadata of {address} is a {type(metadata).__name__}, a dict is wanted")
    unknown = [key for key in metadata if key not in _SERVER_KEYS]
    if unknown:
        raise ConfigError(f"servers: {address} has unknown metadata {unknown[0]!r}: known is {', '.join(_SERVER_KEYS)}")
    if not isinstance(metadata.get("name", ""), str):
        raise ConfigError(f"servers: the name of {address} is {metadata['name']!r}, a str is wanted")
    if not isinstance(metadata.get("read_only", False), bool):
        raise ConfigError(f"servers: read_only of {address} is {metadata['read_only']!r}, True or False is wanted")
    checked = dict(metadata)
    if "fingerprint" in metadata:
        pins = metadata["fingerprint"]
        pins = [pins] if isinstance(pins, str) else pins
        if not isinstance(pins, list | tuple | set | frozenset) or not pins:
            raise ConfigError(f"servers: the fingerprint of {address} is none, and no list of them")
        checked["fingerprint"] = tuple(parse_fingerprint(each) for each in pins)
    return MappingProxyType(checked)
