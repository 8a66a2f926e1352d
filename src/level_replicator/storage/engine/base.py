"""The interface of an ordered key-value store.

An engine is an ordered map from bytes to bytes with atomic batches and snapshots. storage.engine.plyvel is LevelDB;
tests/harness/memory_engine.py runs on a virtual disk that can lose power. Both pass tests/conformance/engines.
Ranges are half open: `start` is included, `stop` is not, None is unbounded; an empty or inverted range yields nothing.
Order is bytewise. Keys are `bytes`; values may be any bytes-like object and come back as `bytes`.
"""

from collections.abc import Iterator
from typing import Any, Protocol

Bytes = bytes | bytearray | memoryview


class Batch(Protocol):
    """Writes that become visible, and survive a crash, together or not at all. For one use."""

    def put(self, key: bytes, value: Bytes, /) -> None: ...

    def delete(self, key: bytes, /) -> None: ...

    def write(self) -> None:
        """Apply the batch. Raises StorageError; it is then unknown whether the batch is on the disk."""


class Reader(Protocol):
    """Reads that an engine and its snapshots have in common."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the (key, value) pairs of [start, stop) as of the call, ascending, or descending with
        `reverse`."""

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        """Iterate like `scan`, over keys only."""


class Snapshot(Reader, Protocol):
    """A frozen view of an engine. `close` is idempotent."""

    def close(self) -> None: ...

    def __enter__(self) -> "Snapshot": ...

    def __exit__(self, *exc: Any) -> None: ...


class Engine(Reader, Protocol):
    """One ordered map on one directory, which one process has open."""

    def put(self, key: bytes, value: Bytes, /, *, sync: bool = False) -> None: ...

    def delete(self, key: bytes, /, *, sync: bool = False) -> None: ...

    def batch(self, *, sync: bool = False) -> Batch:
        """Return an empty batch. With `sync`, its `write` returns when the batch, and all writes before it, are on the
        disk."""

    def snapshot(self) -> Snapshot: ...

    def size(self, start: bytes, stop: bytes) -> int:
        """Return the approximate size of [start, stop) on the disk in bytes. The newest writes may not be counted."""

    def compact(self, start: bytes, stop: bytes) -> None:
        """Free the disk space of deleted keys in [start, stop). It may take minutes; writes continue meanwhile."""

    def identity(self) -> bytes:
        """Return an id that distinguishes this directory from a copy of it. It survives close, open and kill."""

    @property
    def name(self) -> str:
        """Path of the directory, for messages."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Close the engine. Idempotent. Later calls on it, its batches, snapshots and scans raise ClosedError."""
