"""The Unix socket of a node: its file, and who can connect."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.net.unix_socket import UnixSocketServer, listen_unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lrep.sock"


def _listen(path: Path) -> UnixSocketServer:
    """Listen once, and close the sockets without `UnixSocketServer.close`, as a killed process does."""

    async def main() -> UnixSocketServer:
        server = await listen_unix(path, asyncio.Protocol)
        for each in server.sockets:
            assert each.getsockname() == str(path)
        server._server.close()
        return server

    return asyncio.run(main())


def test_only_the_owner_can_connect(path: Path) -> None:
    _listen(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_client_connects_and_close_removes_the_file(path: Path) -> None:
    async def main() -> None:
        connected = asyncio.Event()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                connected.set()
                transport.close()

        server = await listen_unix(path, Accepted)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            await asyncio.wait_for(connected.wait(), 60)
        server.close()

    asyncio.run(main())
    assert not path.exists()


def test_the_file_of_a_killed_process_is_replaced(path: Path) -> None:
    _listen(path)
    assert path.is_socket()
    _listen(path)


def test_close_leaves_the_file_of_the_next_process(path: Path) -> None:
    first = _listen(path)
    keep = path.with_suffix(".old")
    path.rename(keep)  # keeps the inode number in use
    _listen(path)
    first.close()
    assert path.is_socket()


def test_another_file_is_not_removed(path: Path) -> None:
    path.write_text("not a socket")
    with pytest.raises(ConfigError, match="socket: cannot listen on"):
        _listen(path)
    assert path.read_text() == "not a socket"


def test_a_path_that_is_too_long_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set `socket` in the configuration to a shorter path"):
        _listen(tmp_path / ("x" * 120))
