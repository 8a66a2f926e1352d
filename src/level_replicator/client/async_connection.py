"""A client's connection to a node, for coroutines: many requests at a time, no threads."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, TypeVar

from level_replicator.client.connection import Credentials, NotCalled, error_of
from level_replicator.core.errors import ConnectionLostError, LimitError, RemoteProtocolError, ReplicationError
from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    AnyAnswer,
    Attach,
    Attached,
    Failed,
    Number,
    Page,
    Progress,
    Release,
    Request,
    Unfollow,
    decode_answer,
    encode,
)
from level_replicator.protocol.framing import FrameReader

_T = TypeVar("_T")
Connect = Callable[
    [Callable[[], "AsyncClientConnection"]], Awaitable[tuple[asyncio.BaseTransport, "AsyncClientConnection"]]
]


class AsyncClientConnection(asyncio.Protocol):
    """Made by `open`. Of one event loop."""

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        self.address = address
        self.origin = 0
        self.read_only = False
        self.lost = False
        self._channel = None if credentials is None else credentials.channel()
        self._credentials = credentials
        self._numbers = count(1)
        self._open: dict[int, tuple[asyncio.Future[AnyAnswer], NotCalled | None]] = {}
        self._frames = FrameReader()
        self._frames.limit = MAX_FRAME_BYTES
        self._transport: asyncio.Transport | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._why = "the node went away"

    @classmethod
    async def open(
        cls, address: str, connect: Connect, credentials: Credentials | None, timeout_s: float
    ) -> "AsyncClientConnection":
        """Raises as client.connection.ClientConnection."""
        try:
            async with asyncio.timeout(timeout_s):
                _, made = await connect(lambda: cls(address, credentials))
                try:
                    await made._attach()
                except BaseException:
                    made.close()
                    raise
        except TimeoutError as error:
            raise ConnectionLostError(f"the connection to {address} is lost: it did not answer in time") from error
        except OSError as error:
            if isinstance(error, ReplicationError):
                raise
            raise ConnectionLostError(
                f"{address} cannot be reached: {error.strerror or error}. Does the node run?"
            ) from error
        return made

    async def call(self, kind: type[Request], *arguments: Any, progress: NotCalled | None = None) -> AnyAnswer:
        """The answer. Raises what the node raised, ConnectionLostError when the connection ends before it.

        A task that is cancelled leaves the request with the node, which may do it."""
        number = next(self._numbers)
        frame = encode(kind(number, *arguments))
        if len(frame) > MAX_FRAME_BYTES:
            raise LimitError(f"a request of {len(frame)} bytes, {MAX_FRAME_BYTES} are allowed: write it in parts")
        await self._may_write.wait()
        return await self._ask(number, frame, progress)

    def forget(self, snapshot: int) -> None:
        """Gives a snapshot back; nobody waits for it."""
        if not self.lost:
            self._write(encode(Release(next(self._numbers), snapshot)))

    def close(self) -> None:
        """Idempotent."""
        if self._transport is not None:
            self._transport.abort()
        self._end("it was closed")

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._channel is None:
            self._attached.set_result(None)
        else:
            self._channel.begin()
            self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            if self._channel is not None:
                was = self._channel.established
                self._channel.receive(data)
                self._flush()
                if not self._channel.established:
                    return
                if not was:
                    assert self._credentials is not None
                    self._credentials.check(self._channel)
                    self._attached.set_result(None)
                data = b"".join(iter(self._channel.read, b""))
            for body in self._frames.feed(data):
                self._answered(decode_answer(body))
        except ReplicationError as error:
            if not self._attached.done():
                self._attached.set_exception(error)
            self._why = str(error)
            self.close()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._why)

    # -- in

    async def _attach(self) -> None:
        await self._attached
        answer = await self._ask(0, PREAMBLE + encode(Attach(0)), None)
        if not isinstance(answer, Attached):
            raise RemoteProtocolError(f"{self.address} does not answer as a node does")
        if answer.version != VERSION:
            raise RemoteProtocolError(f"{self.address} speaks version {answer.version} with clients, not {VERSION}")
        self.origin, self.read_only = answer.origin, answer.read_only

    async def _ask(self, number: int, frame: bytes, progress: NotCalled | None) -> AnyAnswer:
        if self.lost:
            raise ConnectionLostError(f"the connection to {self.address} is lost")
        answer: asyncio.Future[AnyAnswer] = asyncio.get_running_loop().create_future()
        self._open[number] = answer, progress
        try:
            self._write(frame)
            return await answer
        finally:
            self._open.pop(number, None)

    def _answered(self, answer: AnyAnswer) -> None:
        if isinstance(answer, Failed) and answer.id == 0:
            if 0 in self._open and not self._open[0][0].done():
                self._open[0][0].set_exception(error_of(answer))
            self._why = answer.text
            self.close()
            return
        future, progress = self._open.get(answer.id, (None, None))
        if future is None or future.done():
            self._give_back(answer)  # nobody waits for it any more
            return
        if isinstance(answer, Progress):
            if progress is not None:
                progress(answer.done)
        elif isinstance(answer, Failed):
            future.set_exception(error_of(answer))
        else:
            future.set_result(answer)

    def _give_back(self, answer: AnyAnswer) -> None:
        """A snapshot or feed that was opened for somebody who did not wait for it."""
        number = answer.number if isinstance(answer, Number) else answer.snapshot if isinstance(answer, Page) else 0
        if number:
            self.forget(number)
            self._write(encode(Unfollow(next(self._numbers), number)))

    # -- out

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        if self._channel is None:
            self._transport.write(frame)
        else:
            self._channel.write(frame)
            self._flush()

    def _flush(self) -> None:
        assert self._transport is not None
        assert self._channel is not None
        data = self._channel.take()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, why: str) -> None:
        if self.lost:
            return
        self.lost = True
        self._may_write.set()
        error = ConnectionLostError(f"the connection to {self.address} is lost: {why}")
        waiting = [future for future, _ in self._open.values()]
        if self._transport is not None:
            waiting.append(self._attached)  # type: ignore[arg-type]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                with contextlib.suppress(BaseException):
                    future.exception()  # whoever waits still gets it; who does not is no warning
