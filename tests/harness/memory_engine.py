"""An engine on a virtual disk, on which the simulator runs nodes. For one thread and small sets."""

from bisect import bisect_left
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from level_replicator.core.errors import ClosedError, LockedError
from level_replicator.storage.engine.base import Bytes
from tests.harness.virtual_disk import Operations, Version, VirtualDisk


class MemoryEngine:
    """An open virtual disk. Its calls raise ClosedError once it is closed or its disk was killed."""

    def __init__(self, disk: VirtualDisk, name: str = "memory") -> None:
        """Open the disk. Raises LockedError when another engine has it open."""
        if disk.holder is not None:
            raise LockedError(f"{name} is open already: close the other engine first")
        disk.open(self)
        self.disk = disk
        self.name = name

    @property
    def closed(self) -> bool:
        return self.disk.holder is not self

    def identity(self) -> bytes:
        self._check()
        return self.disk.identity

    def close(self) -> None:
        """Close the engine without a sync, as LevelDB does. Idempotent."""
        if self.disk.holder is self:
            self.disk.holder = None

    # -- reading

    def get(self, key: bytes, /) -> bytes | None:
        if self.disk.holder is not self:
            self._check()
        return self.disk.get(key)

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        return _pairs(self, self.disk.version(), start, stop, reverse)

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        self._check()
        return _keys(self, self.disk.version(), start, stop, reverse)

    def snapshot(self) -> "MemorySnapshot":
        self._check()
        return MemorySnapshot(self, self.disk.version())

    # -- writing

    def put(self, key: bytes, value: Bytes, /, *, sync: bool = False) -> None:
        self._check()
        self.disk.write([(_key(key), _value(value))], sync)

    def delete(self, key: bytes, /, *, sync: bool = False) -> None:
        self._check()
        self.disk.write([(_key(key), None)], sync)

    def size(self, start: bytes, stop: bytes) -> int:
        return sum(len(key) + len(value) for key, value in self.scan(start, stop))

    def compact(self, start: bytes, stop: bytes) -> None:
        self._check()

    def batch(self, *, sync: bool = False) -> "MemoryBatch":
        self._check()
        return MemoryBatch(self, sync)

    def _check(self) -> None:
        if self.disk.holder is not self:
            raise ClosedError(f"{self.name} is closed")


class MemoryBatch:
    """Collects writes for one record of the disk."""

    __slots__ = ("_engine", "_operations", "_sync")

    def __init__(self, engine: MemoryEngine, sync: bool) -> None:
        self._engine = engine
        self._sync = sync
        self._operations: Operations = []

    def put(self, key: bytes, value: Bytes, /) -> None:
        self._engine._check()
        self._operations.append((_key(key), _value(value)))

    def delete(self, key: bytes, /) -> None:
        self._engine._check()
        self._operations.append((_key(key), None))

    def write(self) -> None:
        self._engine._check()
        self._engine.disk.write(self._operations, self._sync)


class MemorySnapshot:
    """A snapshot of a virtual disk, which can be read while its engine is open."""

    __slots__ = ("_engine", "_version")

    def __init__(self, engine: MemoryEngine, version: Version) -> None:
        self._engine = engine
        self._version: Version | None = version

    def get(self, key: bytes, /) -> bytes | None:
        return self._open().values.get(key)

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _pairs(self._engine, self._open(), start, stop, reverse)

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        return _keys(self._engine, self._open(), start, stop, reverse)

    def close(self) -> None:
        self._version = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Version:
        self._engine._check()
        if self._version is None:
            raise ClosedError("this snapshot is closed")
        return self._version


# Both keep the version alive, and by that unchanged, until they are exhausted or dropped.


def _pairs(
    engine: MemoryEngine, version: Version, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    disk, keys, values = engine.disk, version.keys, version.values
    for at in _places(keys, start, stop, reverse):
        if disk.holder is not engine:
            engine._check()
        key = keys[at]
        yield key, values[key]


def _keys(
    engine: MemoryEngine, version: Version, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[bytes]:
    disk, keys = engine.disk, version.keys
    for at in _places(keys, start, stop, reverse):
        if disk.holder is not engine:
            engine._check()
        yield keys[at]


def _places(keys: list[bytes], start: bytes | None, stop: bytes | None, reverse: bool) -> range:
    low = 0 if start is None else bisect_left(keys, start)
    high = len(keys) if stop is None else bisect_left(keys, stop)
    return range(high - 1, low - 1, -1) if reverse else range(low, high)


def _key(key: bytes) -> bytes:
    if type(key) is not bytes:
        raise TypeError(f"a key is bytes, not {type(key).__name__}")
    return key


def _value(value: Bytes) -> bytes:
    return value if type(value) is bytes else memoryview(value).tobytes()
