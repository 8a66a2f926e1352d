"""The changes feed: reads the log forwards from a cursor, in chunks.

Only entries that the vector covers are reported, so the changes of each origin come in their order. No snapshot
outlives a chunk, and the node stores nothing for a reader: the log is the queue. If the log has been truncated behind
the cursor, the index is read instead.

Superseded entries are not reported; the reader gets the entry that superseded them when it reaches that one. So a
cursor covers more than was reported, and is valid only on a node that knows everything that the previous node knew
(core.version_vector). The reader has to begin anew, with a complete `Rescan`, in these cases:

- Tombstones that it has not seen were dropped.
- The node does not know everything that the node knew from which the reader has read last: its entry of a key may be
  older.
- The cursor covers a write of this node that the node does not have: its directory was restored without a trace.
- The cursor is older than an origin change of this node (after a power loss, a copy, a restore, or a repair that
  recorded lost values). The node may then have lost writes that the cursor covers. The *mark* shows it: the vector
  entry of the new origin, which exists from its beginning. A cursor with this entry, or one that was read from this
  node last, is newer than the origin change, or comes from a node that has learned of it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from level_replicator.core.entry import decode_index
from level_replicator.core.errors import StorageError
from level_replicator.core.limits import CHANGES_CHUNK_BYTES, CHANGES_CHUNK_ENTRIES
from level_replicator.core.reconcile_rules import is_stale
from level_replicator.core.records import Change, Item, Rescan
from level_replicator.core.version_vector import Cursor, Vector, covers, origin_name, raise_to
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.index_scan import agrees
from level_replicator.storage.state.log_reader import logged_entry, read_entry
from level_replicator.storage.state.schema import INDEX, log_range
from level_replicator.storage.state.state import ReplicationState

_INDEX_END = bytes([INDEX[0] + 1])


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items of the feed.

    ordered  the items are changes of one origin, in their order, so that each of them moves the cursor to its dot
    dots     (stamp, origin) of the entry of each item, if ordered; a change itself has the dot of the original write"""

    items: list[Item]
    ordered: bool
    dots: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Scan:
    """A scan of the index. `since`: the vector of the cursor when it began; `target`: the one when it is complete."""

    since: Vector
    target: Vector
    complete: bool
    next_key: bytes = b""


class _Node(NamedTuple):
    """The state of a node on which its feed depends, at one instant. `origin_changed`: see Meta; `gap`: see
    ReplicationState.restored_gap."""

    origin: int
    origin_changed: bool
    gap: tuple[int, int]
    vector: Vector
    floor: Vector
    horizon: Vector

    @classmethod
    def of(cls, state: ReplicationState, vector: Vector) -> "_Node":
        """Return the state of now. Call it under the lock."""
        return cls(state.origin, state.meta.origin_changed, state.restored_gap, vector, state.floor, state.horizon)


class ChangeReader:
    """Reads the feed for one reader. A cursor of None: the reader has no data yet.

    `cursor` covers the items that `read` has returned. Store it only after they have been processed."""

    def __init__(
        self,
        state: ReplicationState,
        cursor: Cursor | None,
        prefix: bytes,
        *,
        most_entries: int = CHANGES_CHUNK_ENTRIES,
    ) -> None:
        self.cursor = Cursor({}) if cursor is None else cursor.copy()
        self._empty = cursor is None
        """Whether the reader is known to have no data except the items that this object has returned."""
        self._most_entries = most_entries
        self._state = state
        self._prefix = prefix
        self._scan: _Scan | None = None
        self._last_origin = 0

    def has_news(self) -> bool:
        """Return whether `read` would return items, or move the cursor."""
        if self._scan is not None:
            return True
        state, known = self._state, self.cursor.vector
        with state.lock:
            if any(stamp > known.get(origin, 0) for origin, stamp in state.vector.items()):
                return True
            return self._must_begin_anew(known, _Node.of(state, state.vector))

    def read(self) -> Chunk:
        """Return the next items, and move the cursor. An empty chunk does not mean the end, since a part of the log may
        have no key with the prefix: `has_news` returns whether there is more. Raise StorageError."""
        state = self._state
        with state.lock:
            node = _Node.of(state, dict(state.vector))
            known_here = known_vector(state)
            rs = state.rs.snapshot()
            db = state.db.snapshot()
        with rs, db:
            scan, vector = self._scan, node.vector
            known = self.cursor.vector if scan is None else scan.since
            anew = (scan is None or not scan.complete) and self._must_begin_anew(known, node)
            self.cursor.node, self.cursor.ahead = node.origin, known_here
            if anew:
                # a reader that is interrupted from here on must begin anew as well, so the cursor is empty
                self.cursor.vector = {}
                return self._begin_scan({}, vector, complete=True)
            if scan is not None:
                return self._read_index(scan, rs, db)
            behind = [origin for origin, stamp in vector.items() if stamp > known.get(origin, 0)]
            if not known and node.horizon:
                # an interrupted reader of the log would seem to have missed tombstones that were dropped long before
                return self._begin_scan(known, vector, complete=False)
            if any(node.floor.get(origin, 0) > known.get(origin, 0) for origin in behind):
                return self._begin_scan(known, vector, complete=False)
            if not behind:
                return Chunk([], ordered=True)
            try:
                return self._read_log(rs, self._next_origin(behind, known, node), vector)
            except StorageError:  # a damaged entry: the database may have the value
                return self._begin_scan(known, vector, complete=False)

    def _must_begin_anew(self, known: Vector, node: "_Node") -> bool:
        if not known:
            return not self._empty
        if is_stale(known, node.horizon) or not covers(node.vector, known):
            return True
        low, high = node.gap
        if low < known.get(node.origin, 0) < high:
            return True  # this directory is older than the cursor
        if self.cursor.node == node.origin:
            return False
        return _predates_origin_change(known, node) or not covers(node.vector, self.cursor.ahead)

    def _next_origin(self, behind: list[int], known: Vector, node: "_Node") -> int:
        """Return the origin to read next. The mark comes first; then all origins take turns, so that one with many
        writes does not delay the others."""
        if _predates_origin_change(known, node):
            return node.origin
        self._last_origin = min((each for each in behind if each > self._last_origin), default=min(behind))
        return self._last_origin

    def _begin_scan(self, since: Vector, target: Vector, *, complete: bool) -> Chunk:
        # an empty target is not scanned: a reader whose cursor covers nothing is assumed to have no data
        self._scan = _Scan(since, target, complete, self._prefix) if target else None
        items: list[Item] = [Rescan(complete)] if since or complete else []
        self._empty = True
        return Chunk(items, ordered=False)

    def _read_log(self, rs: Snapshot, origin: int, vector: Vector) -> Chunk:
        low, high = self.cursor.vector.get(origin, 0), vector[origin]
        found: list[Item] = []
        dots: list[tuple[int, int]] = []
        size = 0
        for count, (_, record) in enumerate(rs.scan(*log_range(origin, low, high)), 1):
            entry = read_entry(record)
            low = entry.stamp
            if entry.key.startswith(self._prefix):
                stamp, author = entry.written_dot(origin)
                found.append(Change(entry.key, entry.value, origin_name(author), stamp))
                dots.append((entry.stamp, origin))
                size += len(record)
            if count >= self._most_entries or size >= CHANGES_CHUNK_BYTES:
                break
        else:
            low = high
        self.cursor.vector[origin] = low
        return Chunk(found, ordered=True, dots=dots)

    def _read_index(self, scan: _Scan, rs: Snapshot, db: Snapshot) -> Chunk:
        found: list[Item] = []
        size = 0
        for count, (at, packed) in enumerate(rs.scan(INDEX + scan.next_key, _INDEX_END), 1):
            key = at[len(INDEX) :]
            if not key.startswith(self._prefix):
                break
            scan.next_key = key + b"\0"
            row = decode_index(packed)
            stamp, origin = row.dot
            deleted = row.deleted
            if scan.complete or not scan.since:
                wanted = not deleted
            else:
                wanted = scan.since.get(origin, 0) < stamp <= scan.target.get(origin, 0)
            if wanted:
                value = None if deleted else _value_of(rs, db, key, packed)
                if (
                    deleted or value is not None
                ):  # else it is damaged: verify records it as lost, and changes the origin
                    written, author = row.written_dot
                    found.append(Change(key, value, origin_name(author), written))
                    size += len(key) + len(value or b"")
            if count >= self._most_entries or size >= CHANGES_CHUNK_BYTES:
                return Chunk(found, ordered=False)
        # entries written during the scan are above the target, and are read from the log later
        self._scan = None
        self.cursor.vector = scan.target
        return Chunk(found, ordered=False)


def _predates_origin_change(known: Vector, node: _Node) -> bool:
    """Return whether the cursor may be older than the origin change of this node."""
    return node.origin_changed and node.origin not in known and node.origin in node.vector


def _value_of(rs: Snapshot, db: Snapshot, key: bytes, row: bytes) -> bytes | None:
    """Return the value of an index row, from the log if the database has another one; None: it is damaged."""
    value = db.get(key)
    if agrees(row, value):
        return value
    logged = logged_entry(rs, key, row)
    return None if logged is None else read_entry(logged).value


def known_vector(state: ReplicationState) -> Vector:
    """Return the newest stamps that this node has of each origin, also above its vector, from incomplete rounds and
    reconciliations. Call it under the lock."""
    known = dict(state.vector)
    if state.newest == state.vector and not state.bulk_load_incomplete:
        return known
    for origin, stamp in state.newest.items():
        low = state.vector.get(origin, 0)
        if stamp > low and next(iter(state.rs.scan_keys(*log_range(origin, low, stamp))), None) is not None:
            known[origin] = stamp
    if state.bulk_load_incomplete:  # entries of a bulk load are below the floor, and not in the log
        raise_to(known, state.floor)
    return known
