"""The small interface behind which a LevelDB sits.

An engine is an ordered map from bytes to bytes with atomic batches and snapshots. `plyvel` (this folder) is the
real one, `memory` one on a virtual disk that can lose power; `tests/conformance/engines` is what both must pass.

Ranges are half open: `start` is included, `stop` is not, None is unbounded; an empty or
inverted range yields nothing. Order is bytewise. Keys are `bytes`; values may be any bytes-like
object and come back as `bytes`.
"""

from collections.abc import Iterator
from typing import Any, Protocol

Bytes = bytes | bytearray | memoryview


class Batch(Protocol):
    """Writes that become visible, and survive a crash, together or not at all. For one use."""

    def put(self, key: bytes, value: Bytes, /) -> None: ...

    def delete(self, key: bytes, /) -> None: ...

    def write(self) -> None:
        """Applies the batch. Raises StorageError; it is then unknown whether the batch is there."""


class Reader(Protocol):
    """What an engine and a snapshot of it can both be asked."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) pairs of [start, stop), ascending, or descending with `reverse`, as of the call."""

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        """Like `scan`, keys only."""


class Snapshot(Reader, Protocol):
    """A frozen view. Idempotent `close`; usable as a context manager."""

    def close(self) -> None: ...

    def __enter__(self) -> "Snapshot": ...

    def __exit__(self, *exc: Any) -> None: ...


class Engine(Reader, Protocol):
    """One ordered map on one directory, held by one process."""

    def put(self, key: bytes, value: Bytes, /, *, sync: bool = False) -> None: ...

    def delete(self, key: bytes, /, *, sync: bool = False) -> None: ...

    def batch(self, *, sync: bool = False) -> Batch:
        """An empty batch. With `sync`, `write` returns once the batch, and everything written before it, is on disk."""

    def snapshot(self) -> Snapshot: ...

    def size(self, start: bytes, stop: bytes) -> int:
        """About how many bytes [start, stop) takes on the disk. What was written last may not be counted."""

    def compact(self, start: bytes, stop: bytes) -> None:
        """Gives the space of what was deleted in [start, stop) back to the disk. Takes its time; writes go on."""

    def identity(self) -> bytes:
        """What tells this directory from a copy of it: stable over close, open and kill."""

    @property
    def name(self) -> str:
        """The directory, for messages."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Idempotent. Every later call on the engine, its batches, snapshots and scans raises ClosedError."""
