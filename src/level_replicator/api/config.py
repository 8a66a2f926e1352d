"""The configuration: a frozen dataclass, a plain dict, or a TOML file, checked before anything is opened.

The settings of keys fail closed: a configuration that would accept every peer, or none, is refused.
"""

import dataclasses
import ipaddress
import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol, TypedDict

from msgspec import Meta

from level_replicator.api.field_checks import (
    check_names,
    check_value,
    expected,
    parse_duration,
    parse_size,
    refuse_value,
    types_of,
)
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
from level_replicator.core.records import Change, Item
from level_replicator.net.addresses import MAX_PORT, WILDCARDS, is_local, is_loopback, parse_address
from level_replicator.node.client_registry import ClientAccess
from level_replicator.replication.peers import PeerEvent
from level_replicator.security.identify import Identify


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
    """Raise ConfigError for settings that need keys: without them peers cannot be identified, and only loopback is
    safe."""
    for name in ("trusted", "identify"):
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: without `pems` every peer would be accepted, unidentified: set `pems`")
    for address, metadata in config.servers.items():
        if "fingerprint" in metadata:
            raise ConfigError(f"servers: the fingerprint of {address} cannot be checked without `pems`: set `pems`")
        if metadata.get("read_only") and config.port is not None:
            raise ConfigError(
                f"servers: {address} is read_only, but without keys it cannot be identified when it dials this node:"
                " set `pems` and its fingerprint, or no port"
            )
        if not config.insecure and _is_remote_ip(address.rpartition(":")[0].strip("[]")):
            raise ConfigError(
                f"servers: plain TCP is for loopback, and {address} is not on loopback: set `pems`, or, on a network"
                " that nobody else can reach, `insecure`"
            )
    if config.port is not None and not config.insecure and config.host != "localhost" and not is_loopback(config.host):
        raise ConfigError(
            f"host: plain TCP is for loopback, and {config.host} is not on loopback: set `pems`, or, on a network"
            " that nobody else can reach, `insecure`"
        )


def check_with_keys(config: _Settings) -> None:
    """Raise ConfigError if no peer could be accepted, or a server could not be identified."""
    if config.insecure:
        raise ConfigError("insecure: with `pems` every connection has TLS, so this setting has no use: remove it")
    if config.trusted is None and config.identify is None:
        for address, metadata in config.servers.items():
            if "fingerprint" not in metadata:
                raise ConfigError(
                    f"servers: {address} cannot be identified: set its `fingerprint` (`level-replicator fingerprint`"
                    " prints it), or `trusted`, or `identify`"
                )
        if config.port is not None and not config.servers:
            raise ConfigError(
                "pems: no peer would be accepted: set `trusted`, `identify`, or a fingerprint in `servers`"
            )
    for address, metadata in config.servers.items():
        if metadata.get("read_only") and "fingerprint" not in metadata:
            raise ConfigError(
                f"servers: {address} is read_only: set its `fingerprint`, so that it is identified when it dials this"
                " node too"
            )


def _is_remote_ip(host: str) -> bool:
    return (host.replace(".", "").isdigit() and not is_loopback(host)) or (":" in host and not is_loopback(host))


_LONGEST_S = 100 * 365 * 86_400
_QUANTITIES: Mapping[str, Callable[[str], float]] = {
    "max_clock_drift": parse_duration,
    "heartbeat": parse_duration,
    "log_max_bytes": parse_size,
    "log_max_age": parse_duration,
    "tombstone_ttl": parse_duration,
}
"""Settings that a dict or a TOML file may give as a text with a unit."""
_BOUNDS = ("log_max_bytes", "log_max_age", "tombstone_ttl")

Port = Annotated[int, Meta(ge=0, le=MAX_PORT)]
Size = Annotated[int, Meta(ge=0)]
Drift = Annotated[float, Meta(ge=0.001, le=365 * 86_400)]
Heartbeat = Annotated[float, Meta(ge=MIN_HEARTBEAT_S, le=MAX_HEARTBEAT_S)]
Retention = Annotated[float, Meta(ge=MIN_RETENTION_S, le=_LONGEST_S)]
Access = Annotated[str, Meta(pattern=rf"^({'|'.join(ClientAccess)})\Z")]

_SECONDS = "a number of seconds"
_YES_OR_NO = expected("a bool", "True or False")
_FUNCTION = expected("a function", "something that can be called, or None")
_RETENTION = expected(_SECONDS, f"a number from {MIN_RETENTION_S} to {_LONGEST_S}, or None (in TOML: inf) for no bound")


class ServerMetadata(TypedDict, total=False):
    """The settings of one server. `Config` describes them."""

    name: Annotated[str, expected("a name", "a str")]
    fingerprint: Annotated[
        str | Collection[str], expected("a fingerprint", "a fingerprint or a list of fingerprints", secret=True)
    ]
    read_only: Annotated[bool, _YES_OR_NO]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a replica.

    servers          peers to dial: "host:port" → metadata, which may be empty: `name`, shown in `status`;
                     `fingerprint`, a fingerprint or a list of fingerprints: the peer must show a certificate with one
                     of them; `read_only`: the peer receives our changes, and this node takes no changes from it
    host, port       address to listen at; port 0 takes a free port, None: the node does not listen, and only dials
    sync             default of `sync` for local writes; also whether changes of peers are written with sync
    max_clock_drift  seconds that a timestamp of a peer may be ahead of the local clock before the peer is quarantined
    heartbeat        heartbeat interval in seconds. A peer that is silent for four intervals is considered dead
    pems             key pair: a dict with `private` and `cert` as PEM texts, or the path of a JSON file with them,
                     which is read again when it changes. With a key pair every connection is TLS 1.3, and both sides
                     prove their keys
    trusted          fingerprints of peers that are accepted: a list, or the path of a file with one fingerprint in a
                     line, which is read again when it changes
    identify         called with each peer (a `PeerIdentity`) that has proved its key, whether or not its fingerprint
                     is known: it calls `peer.accept()`, `peer.accept(read_only=True)` or `peer.reject(reason)` within
                     10 s. It may be a coroutine function
    pull_only        take the writes of peers, and refuse local writes with ReadOnlyError
    clients          rights of programs that use this database over the port (`connect`): "read-write", "read-only" or
                     "none". With keys they are accepted by the same rules as peers
    socket           path of a Unix socket for programs on this machine, for this user only; None: `open` creates one
                     in its directory, `install` creates none; False: no socket
    metrics          where the node answers `/metrics` (Prometheus), `/healthz`, `/readyz`, `/status.json` and the
                     status page `/`: a port on loopback, or "host:port"; None: nowhere. Anyone who can connect can
                     read them: they contain no secrets
    insecure         allow plain TCP beyond loopback: anyone who can connect to the port can then read and write all
    log_max_bytes    size of the log on the disk in bytes, above which its oldest entries are removed; None or inf: no
                     bound
    log_max_age      seconds after which an entry is removed from the log; None or inf: no bound
    tombstone_ttl    seconds after which the node forgets a deleted key; None or inf: never. A node that was away for
                     longer is recognised and synchronised; its own writes since then are kept
    on_change        called with each `Change` from the start of the replica, on a thread of its own
    on_conflict      called with (key, winner, loser), the last two of type `Change`, when two writes of a key meet of
                     which neither had seen the other
    on_peer          called with a `PeerEvent`, on a thread of its own, when a peer connects, disconnects, is refused
                     or quarantined

    In a dict or a TOML file, sizes and durations may be texts with a unit, such as "64MiB", "1h" or "30d".

    Raises ConfigError for a setting that cannot work.
    """

    servers: Annotated[
        Mapping[str, Mapping[str, Any]],
        expected("a dict of servers", 'addresses and their metadata, such as {"127.0.0.1:8001": {}}'),
    ] = dataclasses.field(default_factory=dict)
    host: Annotated[
        Annotated[str, Meta(min_length=1)], expected("a host", "a host name or an IP address to listen at")
    ] = "127.0.0.1"
    port: Annotated[Port | None, expected("a port", f"an integer from 0 to {MAX_PORT}, or None to only dial out")] = (
        None
    )
    sync: Annotated[bool, _YES_OR_NO] = False
    max_clock_drift: Annotated[Drift, expected(_SECONDS, f"a number from 0.001 to {365 * 86_400}")] = (
        DEFAULT_MAX_CLOCK_DRIFT_S
    )
    heartbeat: Annotated[Heartbeat, expected(_SECONDS, f"a number from {MIN_HEARTBEAT_S} to {MAX_HEARTBEAT_S:g}")] = (
        DEFAULT_HEARTBEAT_S
    )
    pems: Annotated[
        str | PathLike[str] | Mapping[str, Any] | None,
        expected(
            "a key pair", "a dict with `private` and `cert`, the path of a key file, or None for no keys", secret=True
        ),
    ] = dataclasses.field(default=None, repr=False)
    trusted: Annotated[
        str | PathLike[str] | Collection[str] | None,
        expected("a list of fingerprints", "a list, the path of a file, or None", secret=True),
    ] = None
    identify: Annotated[Identify | None, _FUNCTION] = None
    pull_only: Annotated[bool, _YES_OR_NO] = False
    clients: Annotated[Access, expected("an access right", f"one of {', '.join(ClientAccess)}")] = ClientAccess.FULL
    socket: Annotated[
        str | PathLike[str] | bool | None,
        expected("the path of a Unix socket", "a path, False for no socket, or None for the default"),
    ] = None
    metrics: Annotated[
        Port | str | None,
        expected("an address", f'a port from 0 to {MAX_PORT}, "host:port", or None to answer nowhere'),
    ] = None
    insecure: Annotated[bool, _YES_OR_NO] = False
    log_max_bytes: Annotated[
        Size | None, expected("a number of bytes", "an integer from 0, or None (in TOML: inf) for no bound")
    ] = DEFAULT_LOG_MAX_BYTES
    log_max_age: Annotated[Retention | None, _RETENTION] = DEFAULT_LOG_MAX_AGE_S
    tombstone_ttl: Annotated[Retention | None, _RETENTION] = DEFAULT_TOMBSTONE_TTL_S
    on_peer: Annotated[Callable[[PeerEvent], None] | None, _FUNCTION] = None
    on_change: Annotated[Callable[[Item], None] | None, _FUNCTION] = None
    on_conflict: Annotated[Callable[[bytes, Change, Change], None] | None, _FUNCTION] = None

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            if getattr(self, name) == math.inf:  # TOML has no None
                object.__setattr__(self, name, None)
        if isinstance(self.servers, Mapping):
            servers = {address: _check_metadata(address, metadata) for address, metadata in self.servers.items()}
            object.__setattr__(self, "servers", MappingProxyType(servers))
        for name, kind in types_of(Config).items():
            check_value(name, getattr(self, name), kind)
        if isinstance(self.pems, str) and "-----BEGIN" in self.pems:
            # without this check the error for a missing file would show the key as its path
            raise refuse_value("pems", self.pems, types_of(Config)["pems"])
        if self.socket is True:
            raise refuse_value("socket", self.socket, types_of(Config)["socket"])
        if isinstance(self.metrics, str):
            parse_address(self.metrics, "metrics")
        if self.trusted is not None and not isinstance(self.trusted, str | PathLike):
            object.__setattr__(self, "trusted", frozenset(parse_fingerprint(each) for each in self.trusted))
        self._check_servers()
        if self.pems is None:
            check_without_keys(self)
        else:
            check_with_keys(self)

    def _check_servers(self) -> None:
        """Raise ConfigError if one of the servers is this node."""
        for address in self.servers:
            host, port = parse_address(address)
            if self.port and port == self.port and _reaches(host, self.host):
                raise ConfigError(f"servers: {address} is this node itself: remove it")

    @classmethod
    def of(cls, config: "Config | Mapping[str, Any] | None") -> "Config":
        """Return a Config from what `install` takes: a Config, a mapping, or None for the defaults.

        Raises ConfigError."""
        if isinstance(config, Config):
            return config
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise ConfigError(f"config: this is of type {type(config).__name__}: expected a Config, a dict or None")
        check_names(config, types_of(Config), "unknown key")
        return cls(**{name: _without_unit(name, value) for name, value in config.items()})

    @classmethod
    def from_toml(cls, path: "str | PathLike[str]") -> "Config":
        """Return a Config from a TOML file, whose keys are the fields of Config. Relative paths (`pems`, `trusted`,
        `socket`) are relative to the directory of the file.

        Raises ConfigError, also if the file cannot be read."""
        return cls.of(read_toml(path))


def _without_unit(name: str, value: Any) -> Any:
    """Return the bytes of a size and the seconds of a duration that are given as text, and other values as they are.

    Raises ConfigError."""
    parse = _QUANTITIES.get(name)
    if parse is None or not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def read_toml(path: "str | PathLike[str]") -> dict[str, Any]:
    """Return the settings of a TOML file, not checked yet. Raises ConfigError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            read = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # syntax, encoding, too many digits or brackets
        raise ConfigError(f"{path} is not TOML: {error}: correct the file") from error
    for name in ("pems", "trusted", "socket"):
        if isinstance(read.get(name), str):
            read[name] = Path(path).parent / read[name]
    return read


def _reaches(host: str, own: str) -> bool:
    """Return whether a connection to `host` certainly arrives where this node listens on `own`."""
    if own in WILDCARDS:
        return is_local(host)
    return not _addresses(host).isdisjoint(_addresses(own))


def _addresses(host: str) -> set[str]:
    """Return the addresses that a host of the configuration certainly has; a name is not resolved."""
    if host == "localhost" or host in WILDCARDS:  # a connection to a wildcard arrives at this machine's loopback
        return {"127.0.0.1", "::1"}
    try:
        return {str(ipaddress.ip_address(host))}
    except ValueError:
        return {host.lower()}


def _check_metadata(address: str, metadata: object) -> Mapping[str, Any]:
    """Return the metadata of a server with its fingerprints as a tuple. Raises ConfigError."""
    parse_address(address)
    if not isinstance(metadata, Mapping):
        raise ConfigError(
            f"servers: the metadata of {address} is of type {type(metadata).__name__}: expected a dict, which may be"
            " empty"
        )
    kinds = types_of(ServerMetadata)
    check_names(metadata, kinds, f"servers: {address} has unknown metadata")
    for name, value in metadata.items():
        check_value(f"servers: {name} of {address}", value, kinds[name])
    checked = dict(metadata)
    if "fingerprint" in metadata:
        pins = metadata["fingerprint"]
        pins = [pins] if isinstance(pins, str) else pins
        if not pins:
            raise ConfigError(f"servers: fingerprint of {address} is an empty list: no peer could match it; remove it")
        checked["fingerprint"] = tuple(parse_fingerprint(each) for each in pins)
    return MappingProxyType(checked)
