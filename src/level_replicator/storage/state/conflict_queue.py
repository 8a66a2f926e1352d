"""Conflicts: two writes of a key of which neither had seen the other. The greater one wins on every node; a program may
want to know the other one.

A node on which two such writes meet, one as the row of the key and the other as an entry that is merged, reports the
pair, whichever of them wins, if it has `on_conflict`. The report is a record in the replication set, written in the
batch that merges, and deleted when the callback has returned. So a kill loses none, and may repeat one. The queue is on
the disk: a slow callback costs no memory. It is bounded; above the bounds the oldest records are dropped, with a
warning.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
    """Reported by the node where the two met. Both name the user's write, not the entry that carried it."""

    key: bytes
    winner: Change
    loser: Change


_Write = tuple[bytes | None, int, int]
_decoder = msgspec.msgpack.Decoder(tuple[bytes, _Write, _Write])


def encode_conflict(conflict: Conflict) -> bytes:
    """Encodes a record of the queue."""
    return msgspec.msgpack.encode((conflict.key, *map(_write_of, (conflict.winner, conflict.loser))))


def decode_conflict(record: bytes) -> Conflict:
    """Decodes a record of the queue. Raises StorageError for what `encode_conflict` did not make."""
    try:
        key, winner, loser = _decoder.decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(
            f"a conflict that waits to be reported cannot be read ({error}): it is passed over"
        ) from error
    return Conflict(key, *(Change(key, value, origin_name(origin), stamp) for value, origin, stamp in (winner, loser)))


def _write_of(change: Change) -> _Write:
    return change.value, int(change.origin, 16), change.stamp


class UnreportedConflicts:
    """The queue of conflicts that wait to be reported, in the replication set. Guarded by the lock of the state.

    wanted  whether there is a listener: else nothing is recorded
    """

    def __init__(self, rs: Engine) -> None:
        self.wanted = False
        self._rs = rs
        self._notify: Callable[[], None] = _nobody
        self._sizes: deque[tuple[int, int]] = deque()
        """(number, bytes) of each record, in order."""
        self._bytes = 0
        self._last = 0
        self._dropped = 0

    def load(self) -> None:
        """Count the records that the last run left."""
        for at, record in self._rs.scan(CONFLICT, following(CONFLICT)):
            self._add(conflict_number(at), len(record))

    def listen(self, notify: Callable[[], None]) -> None:
        """Record conflicts from now on. `notify` is called when there are some, and must not block or raise."""
        self.wanted, self._notify = True, notify
        if self._sizes:
            notify()

    def record(self, batch: Batch, conflicts: list[Conflict]) -> None:
        """Put conflicts into the batch that merges them. Call `notify` when the batch is written."""
        for conflict in conflicts:
            record = encode_conflict(conflict)
            self._make_room(batch, len(record))
            batch.put(conflict_key(self._last + 1), record)
            self._add(self._last + 1, len(record))

    def notify(self) -> None:
        """Call the listener: there are conflicts to report."""
        self._notify()

    def read(self, after: int) -> list[tuple[int, Conflict | None]]:
        """Return the next conflicts above this number, oldest first; None stands for a record that cannot be read."""
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
        if not self._sizes or self._sizes[0][0] > number:
            return
        batch = self._rs.batch()
        while self._sizes and self._sizes[0][0] <= number:
            self._remove(batch)
        batch.write()

    def _make_room(self, batch: Batch, size: int) -> None:
        while self._sizes and (
            len(self._sizes) >= MAX_UNREPORTED_CONFLICTS or self._bytes + size > MAX_UNREPORTED_CONFLICT_BYTES
        ):
            self._remove(batch)
            if not self._dropped:
                _log.warning("on_conflict does not keep up: the oldest conflicts are dropped, and not reported")
            self._dropped += 1

    def _add(self, number: int, size: int) -> None:
        self._sizes.append((number, size))
        self._bytes += size
        self._last = number

    def _remove(self, batch: Batch) -> None:
        number, size = self._sizes.popleft()
        self._bytes -= size
        batch.delete(conflict_key(number))


def _nobody() -> None:
    """Default of `notify`: does nothing."""
