"""The changes feed: the log, read forwards from a vector, a chunk at a time.

What is known is given, so nothing above the vector: each origin's changes come in their order. No snapshot outlives a
chunk, and nothing is kept for a reader: the log is the queue. Where the log does not reach back, being truncated, the
index is read instead. Where tombstones are gone that the reader has not seen, or it comes from a node that knew more
than this one, it must begin with nothing: what this node has of a key may be older than what the reader has.
"""

from dataclasses import dataclass

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.errors import StorageError
from level_replicator.core.keys import INDEX, log_range
from level_replicator.core.limits import CHANGES_CHUNK_BYTES, CHANGES_CHUNK_ENTRIES
from level_replicator.core.reconcile import stale
from level_replicator.core.versions import Vector, covers, origin_name
from level_replicator.storage.engine import Snapshot
from level_replicator.storage.reading import read_entry
from level_replicator.storage.state import State

_INDEX_END = bytes([INDEX[0] + 1])


@dataclass(frozen=True, slots=True)
class Change:
    """The latest write of a key, as far as this node knows. `value` None: deleted.

    `origin`: 16 hexadecimal digits, of the node that wrote it; `time_ms`: when, by its clock, ms since 1970."""

    key: bytes
    value: bytes | None
    origin: str
    stamp: int

    @property
    def deleted(self) -> bool:
        return self.value is None

    @property
    def time_ms(self) -> int:
        return self.stamp >> 16


@dataclass(frozen=True, slots=True)
class Rescan:
    """The log does not reach back to the reader's cursor: what follows comes from the index, in order of keys.

    `complete`: deletions have been forgotten that the reader has not seen, or this node does not know what the reader
    has seen elsewhere; so everything there is follows, and what the reader has besides is to be taken for gone. Else
    all that has changed follows, deletions among it."""

    complete: bool


Item = Change | Rescan


@dataclass(frozen=True, slots=True)
class Chunk:
    """`ordered`: changes of one origin, in their order, so that each of them moves the cursor."""

    items: list[Item]
    ordered: bool


@dataclass(slots=True)
class _Scan:
    """Of the index. `since`: the cursor with which it began; `target`: the vector that it will give."""

    since: Vector
    target: Vector
    complete: bool
    next_key: bytes = b""


class ChangeReader:
    """Of one reader; a cursor of None: it has nothing. `cursor` covers what `read` has given, and is to be stored only
    when that has been dealt with."""

    def __init__(
        self, state: State, cursor: Vector | None, prefix: bytes, *, most_entries: int = CHANGES_CHUNK_ENTRIES
    ) -> None:
        self.cursor = dict(cursor or {})
        self._empty = cursor is None
        """Whether the reader is known to have nothing but what it got here."""
        self._most_entries = most_entries
        self._state = state
        self._prefix = prefix
        self._scan: _Scan | None = None
        self._last_origin = 0

    def has_news(self) -> bool:
        if self._scan is not None:
            return True
        cursor = self.cursor
        with self._state.lock:
            vector = self._state.vector
            return any(stamp > cursor.get(origin, 0) for origin, stamp in vector.items()) or not covers(vector, cursor)

    def read(self) -> Chunk:
        """What comes next, some of it; nothing when the reader is level. The cursor moves with it. A part of the log
        without a key of the prefix comes out empty, so ask `has_news` whether that was all. Raises StorageError."""
        state = self._state
        with state.lock:
            vector = dict(state.vector)
            floor, horizon = state.floor, state.horizon
            rs = state.rs.snapshot()
            db = state.db.snapshot()
        with rs, db:
            scan = self._scan
            known = self.cursor if scan is None else scan.since
            if (scan is None or not scan.complete) and self._must_begin_anew(known, vector, horizon):
                # a reader that breaks off from here on must begin anew as well: the cursor says so
                self.cursor = {}
                return self._begin_scan({}, vector, complete=True)
            if scan is not None:
                return self._read_index(scan, rs, db)
            behind = [origin for origin, stamp in vector.items() if stamp > known.get(origin, 0)]
            if not known and horizon:
                # halfway through the log it would seem to have missed what was dropped before it began
                return self._begin_scan(known, vector, complete=False)
            if any(floor.get(origin, 0) > known.get(origin, 0) for origin in behind):
                return self._begin_scan(known, vector, complete=False)
            if not behind:
                return Chunk([], ordered=True)
            try:
                # in turns: one that is written to without end must not keep the others waiting
                self._last_origin = min((each for each in behind if each > self._last_origin), default=min(behind))
                return self._read_log(rs, self._last_origin, vector)
            except StorageError:  # a damaged entry: the database may have what the log has not
                return self._begin_scan(known, vector, complete=False)

    def _must_begin_anew(self, known: Vector, vector: Vector, horizon: Vector) -> bool:
        if not known:
            return not self._empty
        return stale(known, horizon) or not covers(vector, known)

    def _begin_scan(self, since: Vector, target: Vector, *, complete: bool) -> Chunk:
        self._scan = _Scan(since, target, complete, self._prefix)
        told: list[Item] = [Rescan(complete)] if since or complete else []
        self._empty = True
        return Chunk(told, ordered=False)

    def _read_log(self, rs: Snapshot, origin: int, vector: Vector) -> Chunk:
        low, high = self.cursor.get(origin, 0), vector[origin]
        found: list[Item] = []
        size = 0
        for count, (_, record) in enumerate(rs.scan(*log_range(origin, low, high)), 1):
            entry = read_entry(record)
            low = entry.stamp
            if entry.key.startswith(self._prefix):
                found.append(Change(entry.key, entry.value, origin_name(origin), entry.stamp))
                size += len(record)
            if count >= self._most_entries or size >= CHANGES_CHUNK_BYTES:
                break
        else:
            low = high
        self.cursor[origin] = low
        return Chunk(found, ordered=True)

    def _read_index(self, scan: _Scan, rs: Snapshot, db: Snapshot) -> Chunk:
        found: list[Item] = []
        size = 0
        for count, (at, line) in enumerate(rs.scan(INDEX + scan.next_key, _INDEX_END), 1):
            key = at[len(INDEX) :]
            if not key.startswith(self._prefix):
                break
            scan.next_key = key + b"\0"
            stamp, origin, flags, _ = INDEX_HEAD.unpack_from(line)
            deleted = bool(flags & DELETE)
            if scan.complete or not scan.since:
                wanted = not deleted
            else:
                wanted = scan.since.get(origin, 0) < stamp <= scan.target.get(origin, 0)
            if wanted:
                value = None if deleted else db.get(key)
                if deleted or value is not None:
                    found.append(Change(key, value, origin_name(origin), stamp))
                    size += len(key) + len(value or b"")
            if count >= self._most_entries or size >= CHANGES_CHUNK_BYTES:
                return Chunk(found, ordered=False)
        # what was written meanwhile is above the target, and comes from the log
        self._scan = None
        self.cursor = scan.target
        return Chunk(found, ordered=False)
