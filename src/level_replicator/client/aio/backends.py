"""Where the requests of coroutines go: to a node, or to a replica of this process."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import RequestHandler
from level_replicator.client.async_connection import AsyncClientConnection
from level_replicator.client.connect import Target
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import CLIENT_THREADS
from level_replicator.protocol.client_messages import AnyAnswer, Do, Read, Release, Request, Write

ProgressCallback = Callable[[int], None]


class AsyncBackend(Protocol):
    @property
    def name(self) -> str: ...

    async def call(
        self, kind: type[Request], *arguments: Any, progress: ProgressCallback | None = None
    ) -> AnyAnswer: ...

    def forget(self, snapshot: int) -> None: ...

    def close(self) -> None: ...


class RemoteBackend:
    """A node, dialled again when it was lost; as client.backends.Connection."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self._target = target
        self._closed = False
        self._connection: AsyncClientConnection | None = None
        self._dialling = asyncio.Lock()

    async def connection(self) -> AsyncClientConnection:
        connection = self._connection
        if connection is not None and not connection.lost:
            return connection
        async with self._dialling:
            if self._closed:
                raise ClosedError("Database is closed")
            if self._connection is None or self._connection.lost:
                self._connection = await self._target.open_async()
            return self._connection

    async def call(self, kind: type[Request], *arguments: Any, progress: ProgressCallback | None = None) -> AnyAnswer:
        connection = await self.connection()
        try:
            return await connection.call(kind, *arguments, progress=progress)
        except ConnectionLostError:
            if self._closed:
                raise ClosedError("Database is closed") from None
            if kind in (Write, Do, Read):
                raise
        return await (await self.connection()).call(kind, *arguments, progress=progress)

    def forget(self, snapshot: int) -> None:
        if self._connection is not None:
            self._connection.forget(snapshot)

    def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()


_pool_lock = threading.Lock()
_pool: list[ThreadPoolExecutor] = []


def _threads() -> ThreadPoolExecutor:
    with _pool_lock:
        if not _pool:
            _pool.append(ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix="level-replicator-aio"))
        return _pool[0]


class HereBackend:
    """A replica of this process."""

    def __init__(self, replica: Replica, request_handler: RequestHandler) -> None:
        self.name = str(replica.name)
        self._request_handler = request_handler

    async def call(self, kind: type[Request], *arguments: Any, progress: ProgressCallback | None = None) -> AnyAnswer:
        loop = asyncio.get_running_loop()
        request = kind(0, *arguments)
        while True:
            ring = asyncio.Event()
            wake = partial(_wake, loop, ring)
            waits = isinstance(request, Read) and request.wait_ms > 0
            if waits:
                self._request_handler.call_at_news(wake)
            try:
                work = partial(self._request_handler.answer, request, _told(loop, progress))  # type: ignore[arg-type]
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
                    self._request_handler.dont_call(wake)

    def forget(self, snapshot: int) -> None:
        self._request_handler.answer(Release(0, snapshot), lambda _: None)

    def close(self) -> None:
        self._request_handler.close()


def _wake(loop: asyncio.AbstractEventLoop, ring: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(ring.set)


def _told(loop: asyncio.AbstractEventLoop, progress: ProgressCallback | None) -> ProgressCallback:
    if progress is None:
        return lambda _: None

    def tell(done: int) -> None:
        loop.call_soon_threadsafe(progress, done)

    return tell
