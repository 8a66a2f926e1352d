"""The changes feed: the log, read forwards from a cursor, a chunk at a time.

What is known is reported, so nothing above the vector: each origin's changes come in their order. No snapshot outlives
a chunk, and nothing is kept for a reader: the log is the queue. Where the log does not reach back, being truncated,
the index is read instead.

A reader passes over what has been superseded: it gets the change that did so instead, later, when it comes to that one.
So a cursor claims more than was reported, and is good only where everything is known that this node knew
(core.version_vector). The reader must begin with nothing, and is given a complete `Rescan`,

- where tombstones are gone that it has not seen;
- on a node that does not know all that the node knew that it read last: what this one has of a key may be older;
- with a cursor that names a write of this node which it has never made: its directory was put back without a trace;
- with a cursor from before this node went on as a new origin (after a power loss, a copy, a restore, a repair that gave
  something up). It has lost writes then, or may have: also such as a cursor counts as reported. The vector entry of the
  new origin, which is there from its beginning, is the mark: a cursor that has it, or names this node as the one that
  was read last, is from after that, or from a node that has heard of it.
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
    """`ordered`: changes of one origin, in their order, so that each of them moves the cursor to its dot.

    dots    (stamp, origin) of the entry of each item, if ordered; a change itself names the write that it carries"""

    items: list[Item]
    ordered: bool
    dots: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Scan:
    """Of the index. `since`: the cursor with which it began; `target`: the vector that it will give."""

    since: Vector
    target: Vector
    complete: bool
    next_key: bytes = b""


class _Node(NamedTuple):
    """What the feed of a node depends on, as of one instant. `origin_changed`: see Meta; `gap`: see
    ReplicationState.restored_gap."""

    origin: int
    origin_changed: bool
    gap: tuple[int, int]
    vector: Vector
    floor: Vector
    horizon: Vector

    @classmethod
    def of(cls, state: ReplicationState, vector: Vector) -> "_Node":
        """Under the lock."""
        return cls(state.origin, state.meta.origin_changed, state.restored_gap, vector, state.floor, state.horizon)


class ChangeReader:
    """Of one reader; a cursor of None: it has nothing. `cursor` covers what `read` has given, and is to be stored only
    when that has been dealt with."""

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
        """Whether the reader is known to have nothing but what it got here."""
        self._most_entries = most_entries
        self._state = state
        self._prefix = prefix
        self._scan: _Scan | None = None
        self._last_origin = 0

    def has_news(self) -> bool:
        """Returns whether `read` would give something, or move the cursor."""
        if self._scan is not None:
            return True
        state, known = self._state, self.cursor.vector
        with state.lock:
            if any(stamp > known.get(origin, 0) for origin, stamp in state.vector.items()):
                return True
            return self._must_begin_anew(known, _Node.of(state, state.vector))

    def read(self) -> Chunk:
        """What comes next, some of it; nothing when the reader is level. The cursor moves with it. A part of the log
        without a key of the prefix comes out empty, so ask `has_news` whether that was all. Raises StorageError."""
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
                # a reader that breaks off from here on must begin anew as well: the cursor says so
                self.cursor.vector = {}
                return self._begin_scan({}, vector, complete=True)
            if scan is not None:
                return self._read_index(scan, rs, db)
            behind = [origin for origin, stamp in vector.items() if stamp > known.get(origin, 0)]
            if not known and node.horizon:
                # halfway through the log it would seem to have missed what was dropped before it began
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
        return _lacks_the_mark(known, node) or not covers(node.vector, self.cursor.ahead)

    def _next_origin(self, behind: list[int], known: Vector, node: "_Node") -> int:
        """Which origin to read next. The mark comes first; then all take turns, so that one that is written to without
        end does not keep the others waiting."""
        if _lacks_the_mark(known, node):
            return node.origin
        self._last_origin = min((each for each in behind if each > self._last_origin), default=min(behind))
        return self._last_origin

    def _begin_scan(self, since: Vector, target: Vector, *, complete: bool) -> Chunk:
        # where nothing is known yet nothing is read: a reader whose cursor covers nothing is taken to have nothing
        self._scan = _Scan(since, target, complete, self._prefix) if target else None
        told: list[Item] = [Rescan(complete)] if since or complete else []
        self._empty = True
        return Chunk(told, ordered=False)

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
        # what was written meanwhile is above the target, and comes from the log
        self._scan = None
        self.cursor.vector = scan.target
        return Chunk(found, ordered=False)


def _lacks_the_mark(known: Vector, node: _Node) -> bool:
    """Whether a cursor of another node may be one of this node, from before it went on as a new origin."""
    return node.origin_changed and node.origin not in known and node.origin in node.vector


def _value_of(rs: Snapshot, db: Snapshot, key: bytes, row: bytes) -> bytes | None:
    """The value that a row of the index names, from the log if the database has another one. None: it is damaged."""
    value = db.get(key)
    if agrees(row, value):
        return value
    logged = logged_entry(rs, key, row)
    return None if logged is None else read_entry(logged).value


def what_is_known(state: ReplicationState) -> Vector:
    """What this node has, also above its vector, of scans that are not complete. Under the lock."""
    known = dict(state.vector)
    if state.newest == state.vector and not state.bulk_load_incomplete:
        return known
    for origin, stamp in state.newest.items():
        low = state.vector.get(origin, 0)
        if stamp > low and next(iter(state.rs.scan_keys(*log_range(origin, low, stamp))), None) is not None:
            known[origin] = stamp
    if state.bulk_load_incomplete:  # what fills a node is under its floor, and not logged
        raise_to(known, state.floor)
    return known
