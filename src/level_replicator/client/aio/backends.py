"""The way of a coroutine's request to a database: over a connection to a node, or to a replica of this process."""

import asyncio
import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import RequestHandler
from level_replicator.client.aio.connection import AsyncClientConnection
from level_replicator.client.backends import ignore_progress
from level_replicator.client.connect import Target
from level_replicator.client.connection import ProgressCallback
from level_replicator.client.protocol import release_of
from level_replicator.client.requests import Steps
from level_replicator.client.retry import is_repeatable
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import CLIENT_THREADS
from level_replicator.protocol.client_messages import AnyAnswer, AnyRequest, Read, Release, Unfollow

_T = TypeVar("_T")


class AsyncBackend(Protocol):
    """client.backends.Backend for coroutines."""

    closed: bool

    @property
    def name(self) -> str: ...

    async def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer: ...

    def forget(self, snapshot: int) -> None: ...

    def forget_feed(self, feed: int) -> None: ...

    def close(self) -> None: ...


async def perform(backend: AsyncBackend, steps: Steps[_T], progress: ProgressCallback | None = None) -> _T:
    """Run one method of client.requests: answer each of its requests, and return its result."""
    answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as end:
            result: _T = end.value
            return result
        answer = await backend.call(request, progress)


class AsyncRemoteBackend:
    """A node, over a connection that is dialed again after it was lost; as client.backends.RemoteBackend."""

    def __init__(self, target: Target) -> None:
        self.closed = False
        self._target = target
        self._connection: AsyncClientConnection | None = None
        self._dialing = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._target.name

    async def connect(self) -> AsyncClientConnection:
        """Return the connection, dialed anew if it was lost. Raises ClosedError, ConnectionLostError."""
        connection = self._connection
        if connection is not None and not connection.lost:
            return connection
        async with self._dialing:
            if self.closed:
                raise ClosedError("Database is closed")
            if self._connection is None or self._connection.lost:
                self._connection = await _open_connection(self._target)
            return self._connection

    async def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        connection = await self.connect()
        try:
            return await connection.call(request, progress)
        except ConnectionLostError:
            if self.closed:
                raise ClosedError("Database is closed") from None
            if not is_repeatable(request):
                raise
        return await (await self.connect()).call(request, progress)

    def forget(self, snapshot: int) -> None:
        connection = self._connection
        if connection is not None and not connection.lost:
            connection.forget(snapshot)

    def forget_feed(self, feed: int) -> None:
        """Close a changes feed soon, as `forget` releases a snapshot."""
        connection = self._connection
        if connection is not None and not connection.lost:
            connection.forget_feed(feed)

    def close(self) -> None:
        self.closed = True
        if self._connection is not None:
            self._connection.close()


async def _open_connection(target: Target) -> AsyncClientConnection:
    loop = asyncio.get_running_loop()
    path, (host, port) = target.path, target.address
    if path is not None:
        return await AsyncClientConnection.open(
            target.name,
            lambda make: loop.create_unix_connection(make, str(path)),
            None,
            target.timeout_s,
            local=True,
        )
    return await AsyncClientConnection.open(
        target.name, lambda make: loop.create_connection(make, host, port), target.credentials, target.timeout_s
    )


_pool_lock = threading.Lock()
_pool: list[ThreadPoolExecutor] = []


def _threads() -> ThreadPoolExecutor:
    """Return the threads that all wrapped replicas of this process share."""
    with _pool_lock:
        if not _pool:
            _pool.append(ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix="level-replicator-aio"))
        return _pool[0]


class AsyncLocalBackend:
    """A replica of this process. Its requests are done by a few threads."""

    def __init__(self, replica: Replica, request_handler: RequestHandler) -> None:
        self.closed = False
        self._name = str(replica.name)
        self._request_handler = request_handler

    @property
    def name(self) -> str:
        return self._name

    async def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        loop = asyncio.get_running_loop()
        reporter = _ProgressReporter(loop, progress) if progress is not None else None
        while True:
            news = asyncio.Event()
            wake = partial(_wake, loop, news)
            waits = isinstance(request, Read) and request.wait_ms > 0
            if waits:
                self._request_handler.call_at_news(wake)
            try:
                answer = await self._answer(request, reporter or ignore_progress)
                if reporter is not None:
                    await reporter.finish()
                if answer is not None:
                    return answer
                assert isinstance(request, Read)
                try:
                    async with asyncio.timeout(request.wait_ms / 1000):
                        await news.wait()
                except TimeoutError:
                    request = Read(0, request.feed)
            finally:
                if waits:
                    self._request_handler.dont_call(wake)

    async def _answer(self, request: AnyRequest, progress: ProgressCallback) -> AnyAnswer | None:
        work = _threads().submit(self._request_handler.answer, request, progress)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            work.add_done_callback(partial(self._release_opened, request))
            raise

    def _release_opened(self, request: AnyRequest, work: "Future[AnyAnswer | None]") -> None:
        """Release the snapshot or feed that a request has opened after its caller was cancelled."""
        if work.cancelled() or work.exception() is not None:
            return
        answer = work.result()
        release = None if answer is None else release_of(request, answer)
        if release is not None:
            self._request_handler.answer(release, ignore_progress)

    def forget(self, snapshot: int) -> None:
        with contextlib.suppress(ClosedError):
            self._request_handler.answer(Release(0, snapshot), ignore_progress)

    def forget_feed(self, feed: int) -> None:
        with contextlib.suppress(ClosedError):
            self._request_handler.answer(Unfollow(0, feed), ignore_progress)

    def close(self) -> None:
        self.closed = True
        self._request_handler.close()


class _ProgressReporter:
    """Calls a progress callback on the event loop, for work in another thread. If the callback raises, the work ends
    with its error at the next report."""

    def __init__(self, loop: asyncio.AbstractEventLoop, progress: ProgressCallback) -> None:
        self._loop = loop
        self._progress = progress
        self._error: Exception | None = None

    def __call__(self, done: int) -> None:
        self._check()
        self._loop.call_soon_threadsafe(self._report, done)

    async def finish(self) -> None:
        """Wait for the reports that were made. Raises the error of the callback."""
        await asyncio.sleep(0)
        self._check()

    def _report(self, done: int) -> None:
        if self._error is None:
            try:
                self._progress(done)
            except Exception as error:
                self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop was closed meanwhile
        loop.call_soon_threadsafe(news.set)
