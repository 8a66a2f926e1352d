"""The changes feed: reads the log forwards from a cursor, in chunks.

The feed reports only changes that the vector covers, and the changes of each origin in their order. A snapshot lasts
for one chunk, and no state is kept for a reader: the log is the queue. If the log was truncated above the cursor, the
index is read instead.

A superseded entry is not reported; the reader gets the change that superseded it when it reaches that change. So a
cursor covers more than was reported, and is valid only on a node that knows everything that the node of the cursor knew
(core.version_vector). A reader must begin anew, and gets a complete `Rescan`, in four cases:

- tombstones that it has not seen were dropped;
- this node does not know everything that the node of the cursor knew, so its state of a key may be older;
- the cursor covers a write of this node that this node has not made: its directory was restored without a trace;
- the cursor is older than the last origin change of this node (after a power loss, a copy, a restore, or a repair that
  gave up keys), when this node may have lost writes that the cursor covers. A new origin has an entry in the vector
  from its beginning. A cursor with this entry, or one that names this node as the last one read, is from after the
  origin change, or from a node that knows of it.
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

    ordered  True if the items are changes of one origin in their order, so that each moves the cursor to its dot
    dots     if ordered, (stamp, origin) of the entry of each item; the change itself names the user's write
    """

    items: list[Item]
    ordered: bool
    dots: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Scan:
    """A scan of the index that is under way.

    since     vector of the cursor at its start
    target    vector of the cursor after its end
    complete  True if it reports all keys, else only the changes since `since`
    next_key  where the next chunk begins
    """

    since: Vector
    target: Vector
    complete: bool
    next_key: bytes = b""


class _Node(NamedTuple):
    """The state of a node that its feed depends on, at one instant.

    For `origin_changed` see Meta, for `gap` ReplicationState.restored_gap."""

    origin: int
    origin_changed: bool
    gap: tuple[int, int]
    vector: Vector
    floor: Vector
    horizon: Vector

    @classmethod
    def of(cls, state: ReplicationState, vector: Vector) -> "_Node":
        """Return the present state. The caller holds the lock."""
        return cls(state.origin, state.meta.origin_changed, state.restored_gap, vector, state.floor, state.horizon)


class ChangeReader:
    """The feed of one reader. A cursor of None means that the reader has nothing.

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
        """True if the reader has nothing except items of this feed."""
        self._most_entries = most_entries
        self._state = state
        self._prefix = prefix
        self._scan: _Scan | None = None
        self._last_origin = 0

    def has_news(self) -> bool:
        """Return True if `read` would return items or move the cursor."""
        if self._scan is not None:
            return True
        state, known = self._state, self.cursor.vector
        with state.lock:
            if any(stamp > known.get(origin, 0) for origin, stamp in state.vector.items()):
                return True
            return self._must_begin_anew(known, _Node.of(state, state.vector))

    def read(self) -> Chunk:
        """Return the next chunk, and move the cursor over it.

        The chunk is empty if the reader is up to date, or if a part of the log has no key with the prefix; `has_news`
        distinguishes the two. Raises StorageError."""
        state = self._state
        with state.lock:
            node = _Node.of(state, dict(state.vector))
            known_here = what_is_known(state)
            rs = state.rs.snapshot()
            db = state.db.snapshot()
        with rs, db:
            scan, vector = self._scan, node.vector
            known = self.cursor.vector if scan is None else scan.since
            anew = (scan is None or not scan.complete) and self._must_begin_anew(known, node)
            self.cursor.node, self.cursor.ahead = node.origin, known_here
            if anew:
                # if the reader is interrupted from here on, its cursor makes it begin anew again
                self.cursor.vector = {}
                return self._begin_scan({}, vector, complete=True)
            if scan is not None:
                return self._read_index(scan, rs, db)
            behind = [origin for origin, stamp in vector.items() if stamp > known.get(origin, 0)]
            if not known and node.horizon:
                # in the middle of the log its cursor would be below the horizon
                return self._begin_scan(known, vector, complete=False)
            if any(node.floor.get(origin, 0) > known.get(origin, 0) for origin in behind):
                return self._begin_scan(known, vector, complete=False)
            if not behind:
                return Chunk([], ordered=True)
            try:
                return self._read_log(rs, self._next_origin(behind, known, node), vector)
            except StorageError:  # a damaged entry: the database may have what the log has not
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
        """Return the origin to read next: after an origin change the new origin of this node, then all in turn.

        So an origin with continuous writes does not delay the others."""
        if _predates_origin_change(known, node):
            return node.origin
        self._last_origin = min((each for each in behind if each > self._last_origin), default=min(behind))
        return self._last_origin

    def _begin_scan(self, since: Vector, target: Vector, *, complete: bool) -> Chunk:
        # where nothing is known yet nothing is read: a reader whose cursor covers nothing is taken to have nothing
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
                if deleted or value is not None:  # else it is damaged, and verify gives it up under a new origin
                    written, author = row.written_dot
                    found.append(Change(key, value, origin_name(author), written))
                    size += len(key) + len(value or b"")
            if count >= self._most_entries or size >= CHANGES_CHUNK_BYTES:
                return Chunk(found, ordered=False)
        # changes that were written meanwhile are above the target, and follow from the log
        self._scan = None
        self.cursor.vector = scan.target
        return Chunk(found, ordered=False)


def _predates_origin_change(known: Vector, node: _Node) -> bool:
    """Return True if a cursor may be from before the last origin change of this node."""
    return node.origin_changed and node.origin not in known and node.origin in node.vector


def _value_of(rs: Snapshot, db: Snapshot, key: bytes, row: bytes) -> bytes | None:
    """Return the value of an index row, from the log if the database has another one. None if it is damaged."""
    value = db.get(key)
    if agrees(row, value):
        return value
    logged = logged_entry(rs, key, row)
    return None if logged is None else read_entry(logged).value


def what_is_known(state: ReplicationState) -> Vector:
    """Return the vector of all that this node has, also from incomplete scans. The caller holds the lock."""
    known = dict(state.vector)
    if state.newest == state.vector and not state.bulk_load_incomplete:
        return known
    for origin, stamp in state.newest.items():
        low = state.vector.get(origin, 0)
        if stamp > low and next(iter(state.rs.scan_keys(*log_range(origin, low, stamp))), None) is not None:
            known[origin] = stamp
    if state.bulk_load_incomplete:  # the rows of a bulk load are below the floor, and not in the log
        raise_to(known, state.floor)
    return known
