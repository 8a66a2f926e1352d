"""The Unix socket of a node. Its file permissions decide which users can connect."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import ACCEPTS_PER_TURN, LISTEN_BACKLOG

_MODE = 0o600
MAX_PATH_BYTES = 100
"""Longest path of a socket. The kernel allows 104 or 108 bytes, depending on the system."""


class UnixSocketServer:
    """A listening Unix socket. `close` removes its file, unless another node has replaced the file."""

    def __init__(self, server: asyncio.Server, path: Path) -> None:
        self._server = server
        self._path = path
        self._file = _identity(path)

    @property
    def sockets(self) -> Sequence[Any]:
        return self._server.sockets

    def close(self) -> None:
        self._server.close()
        if self._file == _identity(self._path):
            with suppress(OSError):
                self._path.unlink()


async def listen_unix(path: Path, make: Callable[[], asyncio.Protocol]) -> UnixSocketServer:
    """Listen on a Unix socket that only the owner of the file can connect to. `make` returns a protocol per connection.

    A socket file that an earlier process left behind is replaced. The caller holds the lock of the database, so that no
    other node can be listening there. Raises ConfigError if the socket cannot be created."""
    try:
        listening = _bind(path)
        try:
            # asyncio has one parameter for two limits: connections that wait in the kernel, and accepted at once
            server = await asyncio.get_running_loop().create_unix_server(make, sock=listening, backlog=ACCEPTS_PER_TURN)
            listening.listen(LISTEN_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        hint = " (set `socket` in the configuration to a shorter path)" if "too long" in str(error) else ""
        raise ConfigError(f"socket: cannot listen on {path}: {error.strerror or error}{hint}") from error
    return UnixSocketServer(server, path)


def _bind(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(str(path))
        path.chmod(_MODE)  # before it listens, so that nobody else can connect
    except BaseException:
        listening.close()
        raise
    return listening


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
