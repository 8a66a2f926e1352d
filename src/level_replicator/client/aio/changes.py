"""The changes feed for coroutines."""

import asyncio
from typing import Self

from level_replicator.client.aio.backends import AsyncBackend
from level_replicator.client.changes import FeedPosition
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.records import Item
from level_replicator.protocol.client_messages import Follow, Items, Number, Read, Unfollow


class AsyncChanges:
    """As Replica.changes: `async for`, with a `cursor`."""

    def __init__(self, backend: AsyncBackend, since: str | None, prefix: bytes, *, live: bool, now: bool) -> None:
        self._backend = backend
        self._place = FeedPosition(since, prefix, now=now)
        self._live = live
        self._now = now
        self._feed = 0
        self._closed = False
        self._reading: asyncio.Task[bool] | None = None

    @property
    def cursor(self) -> str:
        """Covers what was given so far."""
        return self._place.cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._place.waiting:
            if self._closed or not await self._read_on():
                await self.close()
                raise StopAsyncIteration
        return self._place.give()

    async def start(self) -> Self:
        """Makes sure that it begins here: what is written from now on comes. Else it begins with the first item."""
        if not self._feed:
            await self._follow()
        return self

    async def close(self) -> None:
        """Idempotent."""
        feed, self._feed, self._closed = self._feed, 0, True
        if self._reading is not None:
            self._reading.cancel()
        if feed:
            try:
                await self._backend.call(Unfollow, feed)
            except (ClosedError, ConnectionLostError):
                return

    async def _follow(self) -> None:
        number = await self._backend.call(Follow, *self._place.beginning)
        assert isinstance(number, Number)
        self._feed = number.number
        if self._now:
            await self._take(0)  # so that there is a cursor to go on with, whatever happens

    async def _read_on(self) -> bool:
        """A caller that is cancelled leaves the reading to the next one: what it brings is not to be lost."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            if self._closed:
                return False
            raise
        finally:
            if reading.done():
                self._reading = None

    async def _read(self) -> bool:
        """Whether there may be something; False at the end."""
        try:
            if not self._feed:
                await self._follow()
            return await self._take(MAX_CLIENT_WAITS_MS if self._live else 0) or self._live
        except (ConnectionLostError, ClosedError):
            if not self._feed:
                raise
            self._feed = 0  # once more, over a connection that is alive
            await self._follow()
            return True

    async def _take(self, wait_ms: int) -> bool:
        items = await self._backend.call(Read, self._feed, wait_ms)
        assert isinstance(items, Items)
        return self._place.take(items)
