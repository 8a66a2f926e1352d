"""A disk in memory that can be killed, lose power, be copied and fail: for the simulator.

It behaves as a LevelDB on a disk. Each batch is one record, which is kept whole or not at all. A record that
is *written* outlives its process; one that is *synced* outlives a power loss too.
"""

import weakref
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import Literal

from level_replicator.core.errors import ClosedError, StorageError

Operations = list[tuple[bytes, bytes | None]]
"""Puts, and deletes (None), in order."""

WriteHook = Callable[[Literal["before", "after"], Operations], None]

_numbers = count(1)


class Version:
    """A state of the disk for readers. It does not change while a reader holds it."""

    __slots__ = ("__weakref__", "keys", "values")

    def __init__(self, values: dict[bytes, bytes], keys: list[bytes]) -> None:
        self.values = values
        self.keys = keys


class VirtualDisk:
    """The directory of one LevelDB, for one thread.

    `on_write`, if set, is called before and after each write with its operations; it may kill the disk, or
    raise. `holder` is the engine that has the disk open.
    """

    def __init__(self, contents: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.on_write: WriteHook | None = None
        self.holder: object | None = None
        self.identity = b"disk%12d" % next(_numbers)
        self._synced = dict(contents)
        self._unsynced: list[Operations] = []
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._version: weakref.ref[Version] | None = None
        self._failing_in = 0
        self._fails_on = False
        self._failure = ""
        self._lands: bool | Random = False
        self._reload()

    # -- for engines

    def open(self, holder: object) -> None:
        """Give the disk, which must have no holder, to `holder`."""
        assert self.holder is None, "opened while held"
        self._reload()
        self.holder = holder

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def version(self) -> Version:
        """Return the present state. This costs nothing, but a write while a reader holds it copies all of it."""
        version = self._version() if self._version is not None else None
        if version is None:
            version = Version(self._values, self._keys)
            self._version = weakref.ref(version)
        return version

    def write(self, operations: Operations, sync: bool) -> None:
        """Add a record. Raises StorageError if `fail` asked for it, ClosedError if `on_write` killed the disk."""
        if self.on_write is not None:
            holder = self.holder
            self.on_write("before", operations)
            self._require(holder)
            self._write(operations, sync)
            self.on_write("after", operations)
            self._require(holder)
        else:
            self._write(operations, sync)

    @property
    def unsynced_records(self) -> int:
        """Number of records that a power loss may lose."""
        return len(self._unsynced)

    # -- faults

    def kill(self) -> None:
        """Kill the process that has the disk open. Everything written is kept."""
        self.holder = None

    def power_loss(self, rng: Random) -> None:
        """Stop the machine: each unsynced record is kept or lost independently, so not only the newest are lost."""
        self.kill()
        share = rng.choice((0.0, 0.5, 0.5, 0.9, 1.0))
        for record in self._unsynced:
            if rng.random() < share:
                _apply(record, self._synced)
        self._unsynced = []
        self._reload()

    def fail(
        self,
        nth: int = 1,
        error: str = "no space left on the virtual disk",
        *,
        lasting: bool = False,
        lands: bool | Random = False,
    ) -> None:
        """Let the `nth` write from now (1: the next one) raise StorageError; with `lasting` all later ones as well.

        `lands`: whether the record is on the disk all the same; a Random decides each time. It is seen when
        the disk is opened the next time, not before.
        """
        assert nth > 0
        self._failing_in, self._failure, self._fails_on, self._lands = nth, error, lasting, lands

    def repair(self) -> None:
        """End the failures that `fail` asked for."""
        self._failing_in = 0

    def copy(self, *, unseen: bool = False) -> "VirtualDisk":
        """Return a synced copy of everything written, without a holder, and with a new identity unless `unseen`."""
        copy = VirtualDisk(self._on_disk().items())
        if unseen:
            copy.identity = self.identity
        return copy

    # -- inside

    def _write(self, operations: Operations, sync: bool) -> None:
        operations = operations.copy()
        if self._failing_in and self._fails_now():
            lands = self._lands.random() < 0.5 if isinstance(self._lands, Random) else self._lands
            if lands:
                self._unsynced.append(operations)
            raise StorageError(self._failure)
        self._unsynced.append(operations)
        if sync:
            for record in self._unsynced:
                _apply(record, self._synced)
            self._unsynced = []
        if self._version is not None:
            if self._version() is not None:
                self._values, self._keys = self._values.copy(), self._keys.copy()
            self._version = None
        values, keys = self._values, self._keys
        for key, value in operations:
            if value is not None:
                if key not in values:
                    insort(keys, key)
                values[key] = value
            elif key in values:
                del values[key]
                del keys[bisect_left(keys, key)]

    def _fails_now(self) -> bool:
        if self._failing_in > 1:
            self._failing_in -= 1
            return False
        if not self._fails_on:
            self._failing_in = 0
        return True

    def _require(self, holder: object | None) -> None:
        if self.holder is not holder:
            raise ClosedError("the disk was taken away during a write")

    def _reload(self) -> None:
        self._values = self._on_disk()
        self._keys = sorted(self._values)
        self._version = None

    def _on_disk(self) -> dict[bytes, bytes]:
        contents = self._synced.copy()
        for record in self._unsynced:
            _apply(record, contents)
        return contents


def _apply(record: Operations, contents: dict[bytes, bytes]) -> None:
    for key, value in record:
        if value is None:
            contents.pop(key, None)
        else:
            contents[key] = value
