"""Writes collected first and written together."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from level_replicator.database.arguments import Bytes, copy_value, refuse_argument

_Operation = tuple[bytes, Bytes | None]
Write = Callable[[list[_Operation]], None]
_HEADER_BYTES = 12


class Entrance(Protocol):
    """To the database that a batch is for; database.gate.Gate is one."""

    @property
    def shut(self) -> bool: ...

    def refuse(self) -> NoReturn: ...

    def call(self, function: Callable[..., Any], *args: Any) -> Any: ...


class WriteBatch:
    """plyvel's WriteBatch: nothing is written before `write`, or the end of a `with` block, and then all,
    in order, together or not at all. It stays filled after `write`, and can be written again.

    A `with` block that ends in an exception writes too, unless `transaction`. Values are copied at the call.
    Every method raises ClosedError once the database is closed."""

    __slots__ = ("_gate", "_operations", "_prefix", "_transaction", "_write")

    def __init__(self, gate: Entrance, write: Write, prefix: bytes, transaction: bool) -> None:
        self._gate = gate
        self._write = write
        self._prefix = prefix
        self._transaction = transaction
        self._operations: list[_Operation] = []

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
        """Forgets what was collected."""
        if self._gate.shut:
            self._gate.refuse()
        self._operations.clear()

    def append(self, source: "WriteBatch") -> None:
        """Adds a copy of what another batch has collected, under the prefix that it had there."""
        if type(source) is not WriteBatch:
            refuse_argument("source", "WriteBatch", source)
        if self._gate.shut:
            self._gate.refuse()
        self._operations += source._operations

    def approximate_size(self) -> int:
        """Bytes that LevelDB would need for this batch."""
        if self._gate.shut:
            self._gate.refuse()
        return _HEADER_BYTES + sum(map(_count_bytes, self._operations))

    def write(self) -> None:
        """Raises what the database's `put` raises; the batch keeps what it has."""
        self._gate.call(self._write, self._operations.copy())

    def __enter__(self) -> Self:
        if self._gate.shut:
            self._gate.refuse()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._transaction and kind is not None):
            self.write()
        self.clear()


def _count_bytes(operation: _Operation) -> int:
    key, value = operation
    tag_and_key = 1 + _count_varint_bytes(len(key)) + len(key)
    return tag_and_key if value is None else tag_and_key + _count_varint_bytes(len(value)) + len(value)


def _count_varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
