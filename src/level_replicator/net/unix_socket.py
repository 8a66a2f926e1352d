"""The Unix socket beside a database: whoever may open the file may use the database, and nobody else."""

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
"""Of a socket's path: the kernel has room for 104 or 108."""


class LocalServer:
    """Listens until `close`, which takes the file away, if it is still its own."""

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


async def listen_local(path: Path, make: Callable[[], asyncio.Protocol]) -> LocalServer:
    """For the owner of the file only. A file that another node left behind is replaced: who opens the database has its
    lock, so nobody else can be listening. Raises ConfigError."""
    try:
        listening = _bind(path)
        try:
            # asyncio has one number for both: how many wait in the kernel, and how many are taken at once
            server = await asyncio.get_running_loop().create_unix_server(make, sock=listening, backlog=ACCEPTS_PER_TURN)
            listening.listen(LISTEN_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        hint = " (say a shorter path as `socket` in the configuration)" if "too long" in str(error) else ""
        raise ConfigError(f"socket: cannot listen on {path}: {error.strerror or error}{hint}") from error
    return LocalServer(server, path)


def _bind(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(str(path))
        path.chmod(_MODE)  # nobody can connect before it listens
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
