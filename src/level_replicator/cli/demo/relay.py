"""The connections between the nodes: a TCP relay whose links can be cut and healed, in a thread of its own.

`free_ports` reserves ports that stay ours while nobody listens on them.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

LOWEST, HIGHEST = 20_000, 32_000
"""Below the ports that systems give to outgoing connections: a killed master's port must be free when it
returns, and a connection to a port of that range where nobody listens can even be made to itself."""


def free_ports(count: int) -> list[int]:
    """So many ports of loopback on which nobody listens now. Raises OSError when there are not enough."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports from {LOWEST} to {HIGHEST}")


HOST = "127.0.0.1"
CHUNK_BYTES = 256 * 1024

_Result = TypeVar("_Result")


class Relay:
    """Forwards connections. A link is a name for any number of ports that are cut and healed together.

    A cut link resets what runs over it and resets every new connection at once, as a host that cannot be
    reached does; its ports stay taken, so that nobody else can sit on them meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._cut: set[str] = set()
        self._running: dict[str, set[asyncio.StreamWriter]] = {}
        self._handlers: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def open(self, link: str, target_port: int, port: int = 0) -> int:
        """Forwards `port` (0: a free one) to `target_port` as part of `link`; returns it. Raises OSError."""
        return self._do(self._open(link, target_port, port))

    def cut(self, link: str) -> None:
        """Breaks the link off until `heal`. Idempotent."""
        self._do(self._cut_now(link))

    def heal(self, link: str) -> None:
        """Lets connections through again. Idempotent."""
        self._do(self._heal_now(link))

    def close(self) -> None:
        """Ends every connection and frees the ports. Idempotent."""
        if self._loop.is_closed():
            return
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self, link: str, target_port: int, port: int) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._handlers.add(task)
            try:
                await self._forward(link, target_port, reader, writer)
            finally:
                self._handlers.discard(task)

        server = await asyncio.start_server(handle, HOST, port)
        self._servers.append(server)
        self._running.setdefault(link, set())
        return int(server.sockets[0].getsockname()[1])

    async def _forward(
        self, link: str, target_port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ends = {writer}
        self._running[link].add(writer)
        try:
            if link in self._cut:
                return
            with contextlib.suppress(OSError):
                onward_reader, onward_writer = await asyncio.open_connection(HOST, target_port)
                ends.add(onward_writer)
                self._running[link].add(onward_writer)
                if link in self._cut:
                    return
                pumps = [
                    asyncio.create_task(_pump(reader, onward_writer)),
                    asyncio.create_task(_pump(onward_reader, writer)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.transport.abort()
                await asyncio.gather(*pumps)
        finally:
            self._running[link] -= ends
            for end in ends:
                end.transport.abort()

    async def _cut_now(self, link: str) -> None:
        self._cut.add(link)
        for writer in self._running[link]:
            writer.transport.abort()

    async def _heal_now(self, link: str) -> None:
        self._cut.discard(link)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for link in self._running:
            await self._cut_now(link)
        while self._handlers:
            await asyncio.wait(self._handlers)
        # Aborted transports close their sockets in the loop's next turn.
        await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
