"""The wire of one link: a TCP relay that can be cut, healed, slowed, cut after so many bytes, and that counts."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
_T = TypeVar("_T")


class Relay:
    """Forwards `address` to `target_port`, which may be set anew when the target was started again.

    `to_target` and `to_dialler` count bytes that were passed on; while `capture` is set, what passes is kept as well,
    one pair of byte strings a connection."""

    def __init__(self, target_port: int = 0) -> None:
        self.target_port = target_port
        self.to_target = 0
        self.to_dialler = 0
        self.capture = False
        self.captured: list[tuple[bytearray, bytearray]] = []
        self.delay_s = 0.0
        self.chunk_bytes = CHUNK_BYTES
        self.cuts = 0
        self._budget: int | None = None  # bytes to the dialler until the link is cut
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._server = self._do(self._listen())

    @property
    def address(self) -> str:
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Resets what runs and every new connection, until `heal`."""
        self._do(self._cut())

    def cut_after(self, bytes_to_dialler: int) -> None:
        """Cuts by itself, in the middle of a frame if it falls so, once this many more have been passed on."""
        self._budget = bytes_to_dialler

    def heal(self) -> None:
        self._budget = None
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def close(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
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
                if self.is_cut:  # meanwhile
                    return
                kept = (bytearray(), bytearray())
                self.captured.append(kept)
                pumps = [
                    asyncio.create_task(self._pump(reader, onward, kept[0], to_target=True)),
                    asyncio.create_task(self._pump(onward_reader, writer, kept[1], to_target=False)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.transport.abort()
                await asyncio.gather(*pumps)
        finally:
            for end in ends:
                end.transport.abort()
                self._writers.discard(end)
            self._handlers.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray, *, to_target: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self.chunk_bytes):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                ends_here = False
                if not to_target and self._budget is not None:
                    data = data[: self._budget]
                    self._budget -= len(data)
                    ends_here = self._budget == 0
                writer.write(data)
                if to_target:
                    self.to_target += len(data)
                else:
                    self.to_dialler += len(data)
                if self.capture:
                    kept += data
                await writer.drain()
                if ends_here:
                    # closed in order, not reset: what was passed on has to arrive
                    self._is_cut = True
                    self._budget = None
                    self.cuts += 1
                    writer.close()
                    await writer.wait_closed()
                    return

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
        await asyncio.sleep(0)  # aborted transports close their sockets in the next turn
