"""The queue of conflicts for `on_conflict`.

A conflict is a pair of writes of one key of which neither had seen the other. The greater one wins on every node; the
program may need the other one. A node reports a conflict when it merges an entry with the row of its key, whichever of
the two wins, if the program has set `on_conflict`. The report is a record in the replication set. It is written in the
batch that merges, and deleted after the callback has returned, so a kill loses no report and may repeat some. The queue
is on the disk, so a slow callback needs no memory. If it is full, the oldest records are dropped, with a warning.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import msgspec

from level_replicator.core.errors import StorageError
from level_replicator.core.limits import (
    CONFLICTS_READ_BYTES,
    CONFLICTS_READ_ENTRIES,
    MAX_UNREPORTED_CONFLICT_BYTES,
    MAX_UNREPORTED_CONFLICTS,
)
from level_replicator.core.records import Change
from level_replicator.core.version_vector import origin_name
from level_replicator.storage.engine.base import Batch, Engine
from level_replicator.storage.state.schema import CONFLICT, conflict_key, conflict_number, following

_log = logging.getLogger("level_replicator.storage")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two writes of a key that met on this node. Both name the user's write, not the entry that carried it."""

    key: bytes
    winner: Change
    loser: Change


_Write = tuple[bytes | None, int, int]
_decoder = msgspec.msgpack.Decoder(tuple[bytes, _Write, _Write])


def encode_conflict(conflict: Conflict) -> bytes:
    """Encode a record of the queue."""
    return msgspec.msgpack.encode((conflict.key, *map(_write_of, (conflict.winner, conflict.loser))))


def decode_conflict(record: bytes) -> Conflict:
    """Decode a record of the queue. Raises StorageError if it is damaged."""
    try:
        key, winner, loser = _decoder.decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(f"a conflict that waits to be reported cannot be read ({error}): it is skipped") from error
    return Conflict(key, *(Change(key, value, origin_name(origin), stamp) for value, origin, stamp in (winner, loser)))


def _write_of(change: Change) -> _Write:
    return change.value, int(change.origin, 16), change.stamp


class QueueChange(NamedTuple):
    """A change of the queue by one batch.

    added    (number, size in bytes) of each new record
    removed  number of the oldest records that the batch deletes
    """

    added: list[tuple[int, int]]
    removed: int


class UnreportedConflicts:
    """The queue of conflicts that wait to be reported, in the replication set. Guarded by the lock of the state.

    wanted  True if there is a listener; without one nothing is recorded
    """

    def __init__(self, rs: Engine) -> None:
        self.wanted = False
        self._rs = rs
        self._notify: Callable[[], None] = _ignore
        self._sizes: deque[tuple[int, int]] = deque()
        """(number, bytes) of each record, in order."""
        self._bytes = 0
        self._last = 0
        self._dropped = 0

    def load(self) -> None:
        """Load the numbers and sizes of the records that the last run left."""
        for at, record in self._rs.scan(CONFLICT, following(CONFLICT)):
            self._add(conflict_number(at), len(record))

    def listen(self, notify: Callable[[], None]) -> None:
        """Record conflicts from now on, and call `notify` when there are some. `notify` must not block or raise."""
        self.wanted, self._notify = True, notify
        if self._sizes:
            notify()

    def record(self, batch: Batch, conflicts: list[Conflict]) -> QueueChange:
        """Add conflicts to the batch that merges them. Return the change, for `apply` after the batch is written."""
        added: list[tuple[int, int]] = []
        removed, total = 0, self._bytes
        for conflict in conflicts:
            record = encode_conflict(conflict)
            while removed < len(self._sizes) + len(added) and (
                len(self._sizes) + len(added) - removed >= MAX_UNREPORTED_CONFLICTS
                or total + len(record) > MAX_UNREPORTED_CONFLICT_BYTES
            ):
                at = removed - len(self._sizes)
                number, size = self._sizes[removed] if at < 0 else added[at]
                batch.delete(conflict_key(number))
                total -= size
                removed += 1
            number = self._last + len(added) + 1
            batch.put(conflict_key(number), record)
            added.append((number, len(record)))
            total += len(record)
        return QueueChange(added, removed)

    def apply(self, change: QueueChange) -> None:
        """Apply the change of a batch that was written."""
        for number, size in change.added:
            self._add(number, size)
        for _ in range(change.removed):
            self._remove_oldest()
        if change.removed and not self._dropped:
            _log.warning("on_conflict is too slow: the oldest conflicts are dropped without a report")
        self._dropped += change.removed

    def notify(self) -> None:
        """Call the listener, since there are conflicts to report."""
        self._notify()

    def read(self, after: int) -> list[tuple[int, Conflict | None]]:
        """Return the next conflicts above this number, oldest first; None for a record that cannot be read."""
        found: list[tuple[int, Conflict | None]] = []
        size = 0
        for at, record in self._rs.scan(conflict_key(after) + b"\0", following(CONFLICT)):
            try:
                found.append((conflict_number(at), decode_conflict(record)))
            except StorageError as error:
                _log.error("%s", error)
                found.append((conflict_number(at), None))
            size += len(record)
            if len(found) == CONFLICTS_READ_ENTRIES or size >= CONFLICTS_READ_BYTES:
                break
        return found

    def reported(self, number: int) -> None:
        """Delete the records up to this number, after their callbacks have returned."""
        done = list(takewhile(lambda each: each[0] <= number, self._sizes))
        if not done:
            return
        batch = self._rs.batch()
        for each, _ in done:
            batch.delete(conflict_key(each))
        batch.write()
        for _ in done:
            self._remove_oldest()

    def _add(self, number: int, size: int) -> None:
        self._sizes.append((number, size))
        self._bytes += size
        self._last = number

    def _remove_oldest(self) -> None:
        _, size = self._sizes.popleft()
        self._bytes -= size


def _ignore() -> None:
    """Default of `notify`: does nothing."""
