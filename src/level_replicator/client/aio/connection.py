"""A client's connection to a node, for asyncio: many requests at a time, no threads."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from level_replicator.client.connection import ProgressCallback
from level_replicator.client.credentials import Credentials
from level_replicator.client.protocol import (
    Answered,
    ClientProtocol,
    Event,
    Lost,
    Opened,
    Progressed,
    Refused,
    unreachable,
)
from level_replicator.core.errors import ConnectionLostError, ReplicationError
from level_replicator.protocol.client_messages import AnyAnswer, AnyRequest

Connect = Callable[
    [Callable[[], "AsyncClientConnection"]], Awaitable[tuple[asyncio.BaseTransport, "AsyncClientConnection"]]
]


class AsyncClientConnection(asyncio.Protocol):
    """The I/O for a ClientProtocol: a transport of one event loop. Made by `open`."""

    def __init__(self, address: str, credentials: Credentials | None, *, local: bool) -> None:
        self._protocol = ClientProtocol(address, credentials, local=local)
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._open: dict[int, tuple[asyncio.Future[AnyAnswer], ProgressCallback | None]] = {}
        self._transport: asyncio.Transport | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    @classmethod
    async def open(
        cls,
        address: str,
        connect: Connect,
        credentials: Credentials | None,
        timeout_s: float,
        *,
        local: bool = False,
    ) -> "AsyncClientConnection":
        """Connect. `local`: over a Unix socket. Raises as client.connection.ClientConnection."""
        try:
            async with asyncio.timeout(timeout_s):
                _, made = await connect(lambda: cls(address, credentials, local=local))
                try:
                    await made._opened
                except BaseException:
                    made.close()
                    raise
        except TimeoutError as error:
            raise ConnectionLostError(f"the connection to {address} is lost: it did not answer in time") from error
        except OSError as error:
            if isinstance(error, ReplicationError):
                raise
            raise unreachable(address, error) from error
        return made

    @property
    def lost(self) -> bool:
        return self._protocol.lost

    async def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        """Send a request and wait for its answer. Raises as client.connection.ClientConnection.call.

        After a cancellation the node may still do the request."""
        await self._may_write.wait()
        number = self._protocol.request(request)
        answer: asyncio.Future[AnyAnswer] = self._loop.create_future()
        self._open[number] = answer, progress
        try:
            self._flush()
            return await answer
        finally:
            del self._open[number]
            self._protocol.abandon(number)  # it is still open only after a cancellation, or an error of `progress`

    def forget(self, snapshot: int) -> None:
        """Release a snapshot. Never raises or waits: finalizers call it, in any thread."""
        self._protocol.forget(snapshot)
        self._flush_soon()

    def forget_feed(self, feed: int) -> None:
        """Close a changes feed, as `forget` releases a snapshot."""
        self._protocol.forget_feed(feed)
        self._flush_soon()

    def _flush_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(self._flush)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._end(self._protocol.connection_lost("it was closed"))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._protocol.receive(data):
            self._handle(event)
        self._flush()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._protocol.node_gone())

    # -- I/O

    def _handle(self, event: Event) -> None:
        match event:
            case Opened():
                _resolve(self._opened, None)
            case Answered(number=number, answer=answer):
                if number in self._open:
                    _resolve(self._open[number][0], answer)
            case Refused(number=number, error=error):
                if number in self._open:
                    _fail(self._open[number][0], error)
            case Progressed(number=number, done=done):
                self._report(number, done)
            case Lost(error=error):
                self._end(error)

    def _report(self, number: int, done: int) -> None:
        """Call the progress callback. A callback that raises ends its call, and nothing else."""
        answer, progress = self._open.get(number, (None, None))
        if answer is None or answer.done() or progress is None:
            return
        try:
            progress(done)
        except Exception as error:
            _fail(answer, error)

    def _flush(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            data = self._protocol.data_to_send()
            if data:
                transport.write(data)

    def _end(self, error: Exception) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._may_write.set()
        _fail(self._opened, error)
        for answer, _ in self._open.values():
            _fail(answer, error)


def _resolve(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as retrieved: a caller that was cancelled never reads it
