"""Finding a node that another process runs, and using its database."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from level_replicator.api.config import parse_address
from level_replicator.api.keys import NO_EXTRA
from level_replicator.client.async_connection import AsyncClientConnection
from level_replicator.client.backends import Connection
from level_replicator.client.connection import ClientConnection, Credentials
from level_replicator.client.database import RemoteDatabase
from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import parse_fingerprint
from level_replicator.core.limits import CLIENT_TIMEOUT_S
from level_replicator.net.unix_socket import HAS_UNIX_SOCKETS
from level_replicator.node.dialer import is_loopback

SOCKET_NAME = "lrep.sock"
"""Of the Unix socket that `open` makes in its directory."""


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
    """The database of a running node, as a plyvel.DB and with most of what a replica has.

    `where`: the directory that the node has open, its Unix socket, or its "host:port". To a node with keys: `pems`, our
    key pair, and `fingerprint`, of the certificate (or certificates) that the node may show; it lets us in as it does
    peers. `timeout`: seconds for connecting. Plain TCP beyond loopback wants `insecure`.

    Raises ConnectionLostError when there is no such node, ReplicationError when it does not take us, ConfigError."""
    target = target_of(where, pems=pems, fingerprint=fingerprint, timeout_s=timeout, insecure=insecure)
    return Client(Connection(target.name, target.open))


@dataclass(frozen=True)
class Target:
    """A node, and how it is reached: over a Unix socket, or at an address."""

    name: str
    path: Path | None
    address: tuple[str, int]
    credentials: Credentials | None
    timeout_s: float

    def open(self) -> ClientConnection:
        """Raises as `connect`."""
        if self.path is not None:
            return call_local(self.path, self.timeout_s)
        return ClientConnection(self.name, self._dial, self.credentials, self.timeout_s)

    async def open_async(self) -> AsyncClientConnection:
        """The same for coroutines."""
        loop = asyncio.get_running_loop()
        path, (host, port) = self.path, self.address
        if path is not None:
            return await AsyncClientConnection.open(
                self.name, lambda make: loop.create_unix_connection(make, str(path)), None, self.timeout_s
            )
        return await AsyncClientConnection.open(
            self.name, lambda make: loop.create_connection(make, host, port), self.credentials, self.timeout_s
        )

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
    """See `connect`. Raises ConfigError."""
    path = path_of(where)
    if path is not None and not HAS_UNIX_SOCKETS:
        raise ConfigError(f"{path}: this system has no Unix sockets: connect to the node's host:port instead")
    if path is not None:
        return Target(str(path), path, ("", 0), None, timeout_s)
    address = str(where)
    host, port = parse_address(address)
    credentials = _credentials(pems, fingerprint)
    if credentials is None and not insecure and host != "localhost" and not is_loopback(host):
        raise ConfigError(
            f"{address}: plain TCP is for loopback: give `pems` and `fingerprint`, or, where nobody else can reach the"
            " network, `insecure`"
        )
    return Target(address, None, (host, port), credentials, timeout_s)


def path_of(where: "str | PathLike[str]") -> Path | None:
    """The Unix socket that is meant; None for host:port. Raises ConfigError."""
    if not isinstance(where, str | PathLike):
        raise ConfigError(f"a directory, a Unix socket or host:port is wanted, not {type(where).__name__}")
    text = os.fsdecode(fspath(where))
    if isinstance(where, str) and "/" not in text and not os.path.exists(text) and ":" in text:
        return None
    path = Path(text)
    return path / SOCKET_NAME if path.is_dir() else path


def call_local(path: Path, timeout_s: float) -> ClientConnection:
    """Connects to a Unix socket. Raises ConnectionLostError."""
    return ClientConnection(str(path), _dialler(path), None, timeout_s)


def _dialler(path: Path) -> Callable[[float], socket.socket]:
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


def _credentials(
    pems: "str | PathLike[str] | Mapping[str, Any] | None", fingerprint: "str | list[str] | None"
) -> Credentials | None:
    if pems is None:
        if fingerprint is not None:
            raise ConfigError("fingerprint: it cannot be checked without `pems`, a key pair of our own")
        return None
    if fingerprint is None:
        raise ConfigError("pems: nothing tells whether the node is who it should be: give its `fingerprint`")
    try:
        from level_replicator.security.key_files import PemsFile, load_pems
        from level_replicator.security.tls import Contexts
    except ImportError as error:
        raise ConfigError(f"pems: {NO_EXTRA}") from error
    loaded = load_pems(pems) if isinstance(pems, Mapping) else PemsFile(Path(pems)).load()
    pins = [fingerprint] if isinstance(fingerprint, str) else fingerprint
    return Credentials(Contexts(loaded), [parse_fingerprint(each) for each in pins])
