"""Connecting to a node that another process runs."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from level_replicator.client.backends import RemoteBackend
from level_replicator.client.connection import ClientConnection
from level_replicator.client.credentials import Credentials, load_credentials
from level_replicator.client.database import RemoteDatabase
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import CLIENT_TIMEOUT_S
from level_replicator.net.addresses import is_loopback, parse_address
from level_replicator.net.unix_socket import HAS_UNIX_SOCKETS

SOCKET_NAME = "lrep.sock"
"""The name of the Unix socket that `open` makes in the directory of the database."""


class Client(RemoteDatabase):
    """The database of a node that another process runs. Made by `connect`."""


def connect(
    where: "str | PathLike[str]",
    *,
    pems: "str | PathLike[str] | Mapping[str, Any] | None" = None,
    fingerprint: "str | list[str] | None" = None,
    timeout: float = CLIENT_TIMEOUT_S,
    insecure: bool = False,
) -> Client:
    """Connect to a running node, and return its database: a plyvel.DB with most of the methods of a Replica.

    `where` is the directory that the node has open, the path of its Unix socket, or its "host:port". A node with keys
    also needs `pems`, the key pair of this client, and `fingerprint`, one or several that the node's certificate may
    have; the node accepts or rejects the client's key as it does with peers. `timeout` in seconds is for connecting.
    Plain TCP to another machine needs `insecure`.

    Raises ConnectionLostError when no node can be reached, ReplicationError when the node does not accept this client,
    ConfigError for wrong arguments."""
    target = target_of(where, pems=pems, fingerprint=fingerprint, timeout_s=timeout, insecure=insecure)
    return Client(RemoteBackend(target.name, target.open))


@dataclass(frozen=True)
class Target:
    """A node, and the way to it: the `path` of a Unix socket, or else `address`, a host and a port.

    `name` is that of the node in messages; `timeout_s` is for connecting."""

    name: str
    path: Path | None
    address: tuple[str, int]
    credentials: Credentials | None
    timeout_s: float

    def open(self) -> ClientConnection:
        """Connect. Raises as `connect`."""
        if self.path is not None:
            return open_unix_socket(self.path, self.timeout_s)
        return ClientConnection(self.name, self._dial, self.credentials, self.timeout_s)

    def _dial(self, timeout_s: float) -> socket.socket:
        made = socket.create_connection(self.address, timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def target_of(
    where: "str | PathLike[str]",
    *,
    pems: "str | PathLike[str] | Mapping[str, Any] | None",
    fingerprint: "str | list[str] | None",
    timeout_s: float,
    insecure: bool,
) -> Target:
    """Check the arguments of `connect`. Raises ConfigError."""
    path = path_of(where)
    if path is not None and not HAS_UNIX_SOCKETS:
        raise ConfigError(f"{path}: this system has no Unix sockets: connect to the node's host:port instead")
    if path is not None:
        return Target(str(path), path, ("", 0), None, timeout_s)
    address = str(where)
    host, port = parse_address(address, "where")
    credentials = load_credentials(pems, fingerprint)
    if credentials is None and not insecure and host != "localhost" and not is_loopback(host):
        raise ConfigError(
            f"{address}: plain TCP is for loopback addresses: give `pems` and `fingerprint`, or `insecure` in a network"
            " that only trusted machines reach"
        )
    return Target(address, None, (host, port), credentials, timeout_s)


def path_of(where: "str | PathLike[str]") -> Path | None:
    """Return the path of the Unix socket, None for "host:port". Raises ConfigError for another type."""
    if not isinstance(where, str | PathLike):
        raise ConfigError(f'where: expected a directory, a Unix socket or "host:port", got {type(where).__name__}')
    text = os.fsdecode(fspath(where))
    if isinstance(where, str) and "/" not in text and not os.path.exists(text) and ":" in text:
        return None
    path = Path(text)
    return path / SOCKET_NAME if path.is_dir() else path


def open_unix_socket(path: Path, timeout_s: float) -> ClientConnection:
    """Connect to a Unix socket. Raises as `connect`."""
    return ClientConnection(str(path), _dialer(path), None, timeout_s, local=True)


def _dialer(path: Path) -> Callable[[float], socket.socket]:
    def dial(timeout_s: float) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(timeout_s)
            made.connect(str(path))
        except BaseException:
            made.close()
            raise
        return made

    return dial
