"""Where the requests of coroutines go: to a node, or to a replica of this process."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import Desk
from level_replicator.client.async_connection import AsyncCaller
from level_replicator.client.connect import Target
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import CLIENT_THREADS
from level_replicator.protocol.client_messages import AnyAnswer, Do, Read, Release, Request, Write

Told = Callable[[int], None]


class AsyncBackend(Protocol):
    @property
    def name(self) -> str: ...

    async def call(self, kind: type[Request], *arguments: Any, progress: Told | None = None) -> AnyAnswer: ...

    def forget(self, snapshot: int) -> None: ...

    def close(self) -> None: ...


class RemoteBackend:
    """A node, dialled again when it was lost; as client.backends.Connection."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self._target = target
        self._closed = False
        self._caller: AsyncCaller | None = None
        self._dialling = asyncio.Lock()

    async def caller(self) -> AsyncCaller:
        caller = self._caller
        if caller is not None and not caller.lost:
            return caller
        async with self._dialling:
            if self._closed:
                raise ClosedError("Database is closed")
            if self._caller is None or self._caller.lost:
                self._caller = await self._target.open_async()
            return self._caller

    async def call(self, kind: type[Request], *arguments: Any, progress: Told | None = None) -> AnyAnswer:
        caller = await self.caller()
        try:
            return await caller.call(kind, *arguments, progress=progress)
        except ConnectionLostError:
            if self._closed:
                raise ClosedError("Database is closed") from None
            if kind in (Write, Do, Read):
                raise
        return await (await self.caller()).call(kind, *arguments, progress=progress)

    def forget(self, snapshot: int) -> None:
        if self._caller is not None:
            self._caller.forget(snapshot)

    def close(self) -> None:
        self._closed = True
        if self._caller is not None:
            self._caller.close()


_pool_lock = threading.Lock()
_pool: list[ThreadPoolExecutor] = []


def _threads() -> ThreadPoolExecutor:
    with _pool_lock:
        if not _pool:
            _pool.append(ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix="level-replicator-aio"))
        return _pool[0]


class HereBackend:
    """A replica of this process."""

    def __init__(self, replica: Replica, desk: Desk) -> None:
        self.name = str(replica.name)
        self._desk = desk

    async def call(self, kind: type[Request], *arguments: Any, progress: Told | None = None) -> AnyAnswer:
        loop = asyncio.get_running_loop()
        request = kind(0, *arguments)
        while True:
            ring = asyncio.Event()
            wake = partial(_wake, loop, ring)
            waits = isinstance(request, Read) and request.wait_ms > 0
            if waits:
                self._desk.call_at_news(wake)
            try:
                work = partial(self._desk.answer, request, _told(loop, progress))  # type: ignore[arg-type]
                answer = await loop.run_in_executor(_threads(), work)
                if answer is not None:
                    return answer
                assert isinstance(request, Read)
                try:
                    async with asyncio.timeout(request.wait_ms / 1000):
                        await ring.wait()
                except TimeoutError:
                    request = Read(0, request.feed)
            finally:
                if waits:
                    self._desk.dont_call(wake)

    def forget(self, snapshot: int) -> None:
        self._desk.answer(Release(0, snapshot), lambda _: None)

    def close(self) -> None:
        self._desk.close()


def _wake(loop: asyncio.AbstractEventLoop, ring: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(ring.set)


def _told(loop: asyncio.AbstractEventLoop, progress: Told | None) -> Told:
    if progress is None:
        return lambda _: None

    def tell(done: int) -> None:
        loop.call_soon_threadsafe(progress, done)

    return tell
