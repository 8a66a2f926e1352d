"""A TCP relay that can be cut, healed and delayed, and that counts the bytes that it forwards."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
_Result = TypeVar("_Result")


class Relay:
    """Forwards connections from `address` to `target_port`, which may be changed when the target has moved.

    A cut relay resets its connections, and each new one immediately. It keeps its port, so that no other process gets
    it.

    to_target    number of bytes forwarded to the target
    to_dialler   number of bytes forwarded to the dialling side
    cuts         number of cuts
    delay_s      delay of each chunk, in seconds
    chunk_bytes  largest number of bytes that are read at once
    capture      True if the forwarded bytes are kept in `captured`: for each connection (to the target, to the dialler)
    """

    def __init__(self, target_port: int = 0) -> None:
        self.target_port = target_port
        self.to_target = 0
        self.to_dialler = 0
        self.cuts = 0
        self.delay_s = 0.0
        self.chunk_bytes = CHUNK_BYTES
        self.capture = False
        self.captured: list[tuple[bytearray, bytearray]] = []
        self._budget: int | None = None  # bytes to the dialler until the relay cuts itself
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._server = self._do(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def cut(self) -> None:
        """Reset all connections, and every new one, until `heal`."""
        self._do(self._cut())

    def cut_after(self, bytes_to_dialler: int) -> None:
        """Cut after this number of further bytes to the dialling side, even in the middle of a frame."""
        self._budget = bytes_to_dialler

    def heal(self) -> None:
        """Forward new connections again."""
        self._budget = None
        self._is_cut = False

    def close(self) -> None:
        """Close all connections and free the port. Idempotent."""
        if self._loop.is_closed():
            return
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._handle, HOST, 0)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        ends = [writer]
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                if self._is_cut:
                    return
                onward_reader, onward = await asyncio.open_connection(HOST, self.target_port)
                ends.append(onward)
                self._writers.add(onward)
                if self.is_cut:  # since the connection to the target was begun
                    return
                kept = (bytearray(), bytearray())
                self.captured.append(kept)
                to_target = asyncio.create_task(self._pump(reader, onward, kept[0], to_target=True))
                to_dialler = asyncio.create_task(self._pump(onward_reader, writer, kept[1], to_target=False))
                await asyncio.wait([to_target, to_dialler], return_when=asyncio.FIRST_COMPLETED)
                if to_dialler.done() and to_dialler.result():
                    onward.transport.abort()
                    await _until_end(reader, to_target)
                for end in ends:
                    end.transport.abort()
                await asyncio.gather(to_target, to_dialler)
        finally:
            for end in ends:
                end.transport.abort()
                self._writers.discard(end)
            self._handlers.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray, *, to_target: bool
    ) -> bool:
        """Forward bytes until the connection ends. Return True if the budget of bytes to the dialler ended it."""
        with contextlib.suppress(OSError):
            while data := await reader.read(self.chunk_bytes):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                ends_here = False
                if not to_target and self._budget is not None:
                    data = data[: self._budget]
                    self._budget -= len(data)
                    ends_here = self._budget == 0
                # counted first: a receiver of the bytes may look at the counts at once
                if to_target:
                    self.to_target += len(data)
                else:
                    self.to_dialler += len(data)
                if self.capture:
                    kept += data
                writer.write(data)
                await writer.drain()
                if ends_here:
                    self._is_cut = True
                    self._budget = None
                    self.cuts += 1
                    writer.write_eof()
                    return True
        return False

    async def _cut(self) -> None:
        self._is_cut = True
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        while self._handlers:
            await asyncio.wait(list(self._handlers))
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn


async def _until_end(reader: asyncio.StreamReader, pump: asyncio.Task[bool]) -> None:
    """Read and discard until the dialling side has closed its end.

    All bytes that were forwarded to it must arrive. A socket that is closed while it has unread bytes is reset, and
    a reset discards what the other side has not read yet."""
    await pump  # it ends, since it cannot write any more
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK_BYTES):
            pass
