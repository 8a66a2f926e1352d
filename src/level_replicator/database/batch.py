"""Write batches: operations that are collected first and written together."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from level_replicator.database.arguments import Bytes, copy_value, refuse_argument
from level_replicator.database.items import WritableItems

Operation = tuple[bytes, Bytes | None]
Write = Callable[[list[Operation]], None]
_HEADER_BYTES = 12


class Entrance(Protocol):
    """The state of the database that a batch belongs to; database.gate.Gate is one."""

    @property
    def shut(self) -> bool:
        """Whether the database is closed."""

    def refuse(self) -> NoReturn:
        """Raise the error for callers of a closed database."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function. Raises as `refuse` when the database is closed."""


class Batch(WritableItems):
    """The operations of a plyvel WriteBatch, collected in memory. Values are copied when they are added.

    Shared by the synchronous and the asyncio batch, which add `write` and the `with` block. Every method raises
    ClosedError once the database is closed."""

    __slots__ = ("_gate", "_operations", "_prefix", "_transaction")

    def __init__(self, gate: Entrance, prefix: bytes, transaction: bool) -> None:
        self._gate = gate
        self._prefix = prefix
        self._transaction = transaction
        self._operations: list[Operation] = []

    def put(self, key: bytes, value: Bytes) -> None:
        """Raises TypeError for a key that is not bytes or a value that is not bytes-like."""
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        if type(value) is not bytes:
            value = copy_value(value)
        if self._gate.shut:
            self._gate.refuse()
        self._operations.append((self._prefix + key, value))

    def delete(self, key: bytes) -> None:
        """Raises TypeError for a key that is not bytes."""
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        if self._gate.shut:
            self._gate.refuse()
        self._operations.append((self._prefix + key, None))

    def clear(self) -> None:
        """Remove all operations."""
        self._check_open()
        self._operations.clear()

    def append(self, source: Self) -> None:
        """Add a copy of the operations of another batch. Their keys keep the prefix that they had there."""
        if type(source) is not type(self):
            refuse_argument("source", type(self).__name__, source)
        self._check_open()
        self._operations += source._operations

    def approximate_size(self) -> int:
        """Return the number of bytes that LevelDB would need for this batch."""
        self._check_open()
        return _HEADER_BYTES + sum(map(_count_bytes, self._operations))

    def _check_open(self) -> None:
        if self._gate.shut:
            self._gate.refuse()


class WriteBatch(Batch):
    """plyvel's WriteBatch: nothing is written before `write`, or the end of a `with` block; then all operations, in
    order, together or not at all. The batch keeps them after `write`, and can be written again.

    A `with` block that ends in an exception writes too, unless `transaction`."""

    __slots__ = ("_write",)

    def __init__(self, gate: Entrance, write: Write, prefix: bytes, transaction: bool) -> None:
        super().__init__(gate, prefix, transaction)
        self._write = write

    def write(self) -> None:
        """Raises what the database's `put` raises; the batch keeps its operations."""
        self._gate.call(self._write, self._operations.copy())

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._transaction and kind is not None):
            self.write()
        self.clear()


def _count_bytes(operation: Operation) -> int:
    key, value = operation
    tag_and_key = 1 + _count_varint_bytes(len(key)) + len(key)
    return tag_and_key if value is None else tag_and_key + _count_varint_bytes(len(value)) + len(value)


def _count_varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
