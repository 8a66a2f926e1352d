"""Iterators and snapshots for coroutines."""

from typing import Any, Self, Unpack

from level_replicator.client import requests
from level_replicator.client.aio.backends import AsyncBackend, perform
from level_replicator.client.iterators import IteratorBase, Move, RawIteratorBase, SnapshotBase
from level_replicator.client.pager import BEGIN, END, Pager
from level_replicator.database.items import AwaitedItems
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.protocol.client_messages import Page, Scan


class _AsyncBlock:
    """`async with`: closed at the end of the block."""

    __slots__ = ()

    def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


async def _answer(backend: AsyncBackend, pager: Pager, scan: Scan) -> None:
    page = await backend.call(scan)
    assert isinstance(page, Page)
    pager.accept(scan, page)


class AsyncIterator(IteratorBase[AsyncBackend], _AsyncBlock):
    """plyvel's Iterator for `async for`. For one task at a time.

    It shows the database as it was when its first item was asked for."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._step(self._next)

    async def prev(self) -> Any:
        """Move back over an item, and return it. Raises StopAsyncIteration before the first one."""
        return await self._step(self._back)

    async def aclose(self) -> None:
        """As `close`, for contextlib.aclosing."""
        self.close()

    async def _step(self, move: Move) -> Any:
        self._open()
        while isinstance(found := move(), Scan):
            await _answer(self._backend, self._open(), found)
        if found is None:
            raise StopAsyncIteration
        return self._shown(found)


class AsyncRawIterator(RawIteratorBase[AsyncBackend], _AsyncBlock):
    """plyvel's RawIterator. It shows the database as it was at its first move."""

    __slots__ = ()

    async def seek_to_first(self) -> None:
        """Move to the first item."""
        await self._go(self._forward_from(BEGIN))

    async def seek_to_last(self) -> None:
        """Move to the last item."""
        await self._go(self._backward_from(END))

    async def seek(self, target: bytes) -> None:
        """Move to the first item whose key is not less than `target`."""
        await self._go(self._forward_from(self._before_target(target)))

    async def next(self) -> None:
        """Move to the next item. Raises plyvel.IteratorInvalidError if there is no current one."""
        await self._go(self._forward_from(self._after_item()))

    async def prev(self) -> None:
        """Move to the previous item. Raises plyvel.IteratorInvalidError if there is no current one."""
        await self._go(self._backward_from(self._before_item()))

    async def _go(self, move: Move) -> None:
        while isinstance(found := move(), Scan):
            await _answer(self._backend, self._open(), found)
        self._be_on(found)


class AsyncSnapshot(SnapshotBase[AsyncBackend], _AsyncBlock, AwaitedItems):
    """plyvel's Snapshot: the database as it was."""

    __slots__ = ()

    async def get(
        self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> Any:
        """Return the value that the key had, `default` if it was missing."""
        steps = requests.get(
            key,
            default,
            verify_checksums=verify_checksums,
            fill_cache=fill_cache,
            prefix=self._prefix,
            snapshot=self._open(),
        )
        return await perform(self._backend, steps)

    def __aiter__(self) -> AsyncIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> AsyncIterator:
        """Return an iterator over the snapshot. The options are those of Replica.iterator."""
        return AsyncIterator(self._backend, self._prefix, self._open(), options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> AsyncRawIterator:
        """Return a raw iterator over the snapshot."""
        return AsyncRawIterator(self._backend, self._open(), options)
