"""Write batches for coroutines."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from level_replicator.database.batch import Batch, Entrance, Operation

Write = Callable[[list[Operation]], Awaitable[None]]


class AsyncBatch(Batch):
    """database.batch.WriteBatch with a `write` to await, for an `async with` block."""

    __slots__ = ("_write",)

    def __init__(self, gate: Entrance, write: Write, prefix: bytes, transaction: bool) -> None:
        super().__init__(gate, prefix, transaction)
        self._write = write

    async def write(self) -> None:
        """Raises what the database's `put` raises; the batch keeps its operations."""
        self._check_open()
        await self._write(self._operations.copy())

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._transaction and kind is not None):
            await self.write()
        self.clear()
