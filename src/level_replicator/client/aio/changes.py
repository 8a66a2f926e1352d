"""The changes feed for coroutines."""

import asyncio
import contextlib
from typing import Self

from level_replicator.client.aio.backends import AsyncBackend
from level_replicator.client.changes import FeedPosition
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.records import Item
from level_replicator.database.arguments import check_timeout
from level_replicator.protocol.client_messages import Items, Number, Read, Unfollow


class AsyncChanges:
    """A changes feed as Replica.changes returns one, for `async for`. For one task at a time.

    It begins when it is first read, or at `start`. After the connection was lost, the feed is opened again at the
    cursor; some changes may then come twice."""

    def __init__(self, backend: AsyncBackend, since: str | None, prefix: bytes, *, live: bool, now: bool) -> None:
        self._feed = 0
        self._backend = backend
        self._position = FeedPosition(since, prefix, now=now)
        self._live = live
        self._now = now
        self._closed = False
        self._reading: asyncio.Task[bool] | None = None

    @property
    def cursor(self) -> str:
        """The cursor that covers all items given so far. It does not move within a part that is read from the index."""
        return self._position.cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._position.waiting:
            if self._closed or not (await self._read_on(MAX_CLIENT_WAITS_MS if self._live else 0) or self._live):
                await self.close()  # the cursor stays
                raise StopAsyncIteration
        return self._position.give()

    async def start(self) -> Self:
        """Open the feed now instead of at the first read: with `now`, it reports all that is written from here on."""
        if not self._feed:
            await self._follow()
        return self

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as Changes.wait has it
        """Wait until there is an item, for at most `timeout` seconds. Returns whether there is one."""
        check_timeout(timeout)
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not self._position.waiting and not self._closed:
            left_s = MAX_CLIENT_WAITS_MS / 1000 if end is None else max(0.0, end - loop.time())
            if self._reading is None:
                await self._read_on(min(int(left_s * 1000), MAX_CLIENT_WAITS_MS))
            else:  # of an earlier call that was cancelled: it may wait for longer
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._read_on(0)
            if not self._position.waiting and end is not None and loop.time() >= end:
                return False
        return self._position.waiting

    async def close(self) -> None:
        """End the iteration, also one that waits in another task. Idempotent."""
        feed = self._feed
        self.end()
        if feed:
            with contextlib.suppress(ClosedError, ConnectionLostError):
                await self._backend.call(Unfollow(0, feed))

    def __del__(self) -> None:
        if self._feed:  # without this, feeds that nobody closed would count until the connection ends
            self._backend.forget_feed(self._feed)

    def end(self) -> None:
        """As `close`, for a feed whose connection ends as well."""
        self._feed = 0
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _follow(self) -> None:
        number = await self._backend.call(self._position.follow)
        assert isinstance(number, Number)
        self._feed = number.number
        if self._now:
            await self._take(0)  # from here on there is a cursor, so that nothing is missed after a lost connection

    async def _read_on(self, wait_ms: int) -> bool:
        """Read once, or wait for the read of an earlier call that was cancelled, so that its items are not lost."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read(wait_ms))
            self._reading.add_done_callback(_retrieve_error)
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                return False
            raise
        finally:
            if reading.done():
                self._reading = None

    async def _read(self, wait_ms: int) -> bool:
        """Read once, waiting at most `wait_ms` for news. Returns whether there is an item now, or may be at once."""
        try:
            if not self._feed:
                await self._follow()
                return True
            return await self._take(wait_ms)
        except (ConnectionLostError, ClosedError):
            if self._backend.closed:
                return False
            if not self._feed:
                raise
            self._feed = 0
            await self._follow()
            return True

    async def _take(self, wait_ms: int) -> bool:
        items = await self._backend.call(Read(0, self._feed, wait_ms))
        assert isinstance(items, Items)
        return self._position.take(items)


def _retrieve_error(reading: "asyncio.Task[bool]") -> None:
    """Mark the error of a read as retrieved: after a cancellation no caller may be left to get it."""
    if not reading.cancelled():
        reading.exception()
