"""The responder of a range-based set reconciliation: answers the queries of a peer from one snapshot of index and
database, a slice of work at a time.

An answer is a plain value; replication.pusher makes the message of it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from zlib import crc32

from level_replicator.core.entry import DELETE, ENTRY_HEAD, INDEX_HEAD, encode_entry, index_contexts, index_written
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import (
    FRAME_TARGET_BYTES,
    FRAME_TARGET_ENTRIES,
    LARGE_INDEX_ROWS,
    LEAF_ROWS,
    MAX_LEAF_ROWS,
    MAX_RANGE_QUERIES,
    MAX_SPLIT_BYTES,
    MAX_SPLIT_PARTS,
    RECONCILE_SLICE_ROWS,
    SPLIT_PARTS,
)
from level_replicator.core.reconcile_rules import Fingerprint, shortest_separator, value_digest
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.index_scan import KeyAndRow, heads_of, row_of, rows_of
from level_replicator.storage.state.log_reader import restore_entry
from level_replicator.storage.state.schema import INDEX

_pack_head, _unpack_row = ENTRY_HEAD.pack, INDEX_HEAD.unpack

Range = tuple[bytes, bytes, bytes, int]
"""A queried range: low and high bound, fingerprint of the peer's rows, and their number."""


@dataclass(frozen=True, slots=True)
class Equal:
    """The rows of the range have the fingerprint of the peer's rows."""


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a range. `bounds`: the keys between the parts; `prints`: the fingerprint of each part, one more."""

    bounds: list[bytes]
    prints: list[bytes]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a range, in order of keys: `rows[i]` is the row of `keys[i]`, without its contexts."""

    keys: list[bytes]
    rows: list[bytes]


@dataclass(slots=True)
class EntryFrame:
    """Entries of a range or of a fetch, as many as fit into a message.

    origins  origin of each entry
    records  each entry, encoded (core.entry)
    equal    indexes of the entries without their value, since the peer has the same value
    lacking  keys whose entries are damaged here
    last     whether the query is answered
    """

    origins: list[int] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    equal: list[int] = field(default_factory=list)
    lacking: list[bytes] = field(default_factory=list)
    last: bool = False


Answer = Equal | Split | Rows | EntryFrame


class Responder:
    """State of one reconciliation of a peer. It owns both snapshots, and `close` releases them.

    compare_only  whether the peer only compares
    sent          number of entries sent
    lacking       number of entries that the peer asked for and that are damaged here
    """

    def __init__(self, rs: Snapshot, db: Snapshot, *, compare_only: bool) -> None:
        self.compare_only = compare_only
        self.lacking = 0
        self.sent = 0
        self._rs, self._db = rs, db
        self._queries: deque[Range | tuple[list[bytes], list[bytes]]] = deque()
        self._answers: Iterator[Answer | None] | None = None

    def query(self, ranges: list[Range]) -> None:
        """Answer range queries in the next steps. Raise RemoteProtocolError if too many queries are open."""
        self._queries.extend(ranges)
        if len(self._queries) > 2 * MAX_RANGE_QUERIES:
            raise _too_many(len(self._queries))

    def fetch(self, keys: list[bytes], digests: list[bytes]) -> None:
        """Provide the entries of these keys in the next steps. `digests`: of the peer's values, or b"".

        Raise RemoteProtocolError if too many queries are open."""
        self._queries.append((keys, digests))
        if len(self._queries) > 2 * MAX_RANGE_QUERIES:
            raise _too_many(len(self._queries))

    @property
    def busy(self) -> bool:
        """Whether a query is not answered yet."""
        return self._answers is not None or bool(self._queries)

    def step(self) -> Answer | None:
        """Run a slice of work. Return an answer, or a part of one; None if there is none yet."""
        if self._answers is None:
            if not self._queries:
                return None
            query = self._queries.popleft()
            self._answers = self._fetched(*query) if len(query) == 2 else self._queried(*query)
        for answer in self._answers:
            if isinstance(answer, EntryFrame):
                self.sent += len(answer.records)
            return answer
        self._answers = None
        return None

    def close(self) -> None:
        """Release the snapshots."""
        self._answers = None
        self._queries.clear()
        self._rs.close()
        self._db.close()

    # -- each of these yields the answers to one query, and None at the end of a slice without one

    def _queried(self, low: bytes, high: bytes, theirs: bytes, count: int) -> Iterator[Answer | None]:
        if count == 0:
            yield from self._all_entries(low, high)
            return
        if not theirs and (rows := self._few_rows(low, high)) is not None:
            yield rows
            return
        splitter = _Splitter(count)
        yield from splitter.read(rows_of(self._rs, low, high))
        if splitter.whole.digest() == theirs:
            yield Equal()
            return
        if splitter.whole.count > LEAF_ROWS and splitter.uneven:
            splitter = _Splitter(splitter.whole.count)  # the peer has far fewer rows there than this node, or far more
            yield from splitter.read(rows_of(self._rs, low, high))
        yield splitter.answer()

    def _few_rows(self, low: bytes, high: bytes) -> Rows | None:
        """Return all rows of a range, or None if they are too many for one message."""
        pairs = list(islice(rows_of(self._rs, low, high), MAX_LEAF_ROWS + 1))
        if len(pairs) > MAX_LEAF_ROWS or sum(len(key) + len(row) for key, row in pairs) > FRAME_TARGET_BYTES:
            return None
        return _rows_answer(pairs)

    def _all_entries(self, low: bytes, high: bytes) -> Iterator[Answer | None]:
        frame = _Frame()
        values = self._db.scan(low or None, high or None)
        ahead = next(values, None)
        for index_key, row in rows_of(self._rs, low, high):
            key = index_key[len(INDEX) :]
            while ahead is not None and ahead[0] < key:
                ahead = next(values, None)
            value = ahead[1] if ahead is not None and ahead[0] == key else None
            if value is not None and len(row) == INDEX_HEAD.size:
                # as `_record` does it, for nearly all of them; a call costs as much as its work
                stamp, origin, flags, checksum = _unpack_row(row)
                if not flags and crc32(value) == checksum:
                    whole = b"".join((_pack_head(stamp, 0, checksum, len(key)), key, value))
                    if not frame.take(origin, whole):
                        yield frame.answer()
                        frame = _Frame()
                        frame.take(origin, whole)
                    continue
            record = self._record(key, row, value)
            if frame.full(len(record or key)):
                yield frame.answer()
                frame = _Frame()
            if record is None:
                self.lacking += 1
                frame.lack(key)
            else:
                frame.add(row, record)
        yield frame.answer(last=True)

    def _record(self, key: bytes, row: bytes, value: bytes | None) -> bytes | None:
        """Encode an entry with the value of the database, or, if the index row has another checksum, read it from the
        log. Return None if it is in neither."""
        stamp, _, flags, checksum = INDEX_HEAD.unpack_from(row)
        if value is not None or flags & DELETE:
            own = index_contexts(row)[0] if len(row) > INDEX_HEAD.size else b""
            record, _, found = encode_entry(stamp, key, None if flags & DELETE else value, own, index_written(row))
            if found == checksum:
                return bytes(record)
        return restore_entry(self._rs, self._db, key, row)

    def _fetched(self, keys: list[bytes], digests: list[bytes]) -> Iterator[Answer | None]:
        frame = _Frame()
        for key, digest in zip(keys, digests, strict=True):
            row = self._rs.get(INDEX + key)
            deleted = row is not None and INDEX_HEAD.unpack_from(row)[2] & DELETE
            value = None if row is None or deleted else self._db.get(key)
            record = None if row is None else self._record(key, row, value)
            if row is None or record is None:
                self.lacking += 1
                if frame.full(len(key)):
                    yield frame.answer()
                    frame = _Frame()
                frame.lack(key)
                continue
            # a value in the database that is not the log's was written by another program
            equal = value is not None and record.endswith(value) and bool(digest) and value_digest(value) == digest
            if equal:
                assert value is not None
                record = record[: len(record) - len(value)]
            if frame.full(len(record)):
                yield frame.answer()
                frame = _Frame()
            frame.add(row, record, equal=equal)
        yield frame.answer(last=True)


def _too_many(queries: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"{queries} queries are open: at most {MAX_RANGE_QUERIES} are allowed")


def _rows_answer(pairs: list[KeyAndRow]) -> Rows:
    return Rows([key[len(INDEX) :] for key, _ in pairs], [row_of(row) for _, row in pairs])


class _Splitter:
    """Split a range of the index into a few parts. `count`: estimated number of its rows."""

    def __init__(self, count: int) -> None:
        self.whole = Fingerprint()
        self._most_parts = MAX_SPLIT_PARTS if count >= LARGE_INDEX_ROWS else SPLIT_PARTS
        self._part_rows = max(LEAF_ROWS // 2, -(-count // self._most_parts))
        self._parts: list[Fingerprint] = []
        self._bounds: list[bytes] = []
        self._bound_bytes = 0
        self._few: list[KeyAndRow] = []

    def read(self, rows: Iterator[KeyAndRow]) -> Iterator[None]:
        """Read all rows, a slice at each step."""
        slice_rows = min(RECONCILE_SLICE_ROWS, self._part_rows)
        last_key = b""
        since = 0
        while True:
            pairs = list(islice(rows, slice_rows))
            if not pairs:
                return
            keys, heads = heads_of(pairs)
            if not self._parts or self._part_is_full():
                if self._parts:
                    self._part(shortest_separator(last_key, keys[0])[len(INDEX) :])
                self._parts.append(Fingerprint())
            self._parts[-1].add(keys, heads)
            self.whole.add(keys, heads)
            if self.whole.count <= LEAF_ROWS:
                self._few.extend(pairs)
            last_key = keys[-1]
            since += len(keys)
            if since >= RECONCILE_SLICE_ROWS:
                since = 0
                yield None

    def _part_is_full(self) -> bool:
        return (
            self._parts[-1].count >= self._part_rows
            and len(self._parts) < self._most_parts
            and self._bound_bytes < MAX_SPLIT_BYTES
        )

    def _part(self, bound: bytes) -> None:
        self._bounds.append(bound)
        self._bound_bytes += len(bound)

    @property
    def uneven(self) -> bool:
        """Whether the estimated count was so wrong that one part holds most of the rows."""
        largest = max(part.count for part in self._parts)
        return len(self._parts) == 1 or largest > max(2 * self._part_rows, self.whole.count // 2)

    def answer(self) -> Rows | Split:
        """Return the rows, if they are few, or else the parts."""
        if self.whole.count <= LEAF_ROWS:
            return _rows_answer(self._few)
        return Split(self._bounds, [part.digest() for part in self._parts])


class _Frame:
    """Collects the entries of one EntryFrame."""

    def __init__(self) -> None:
        self._entries = EntryFrame()
        self._bytes = 0

    def full(self, size: int) -> bool:
        """Whether there is no room for another `size` bytes."""
        count = len(self._entries.records) + len(self._entries.lacking)
        return count > 0 and (self._bytes + size > FRAME_TARGET_BYTES or count >= FRAME_TARGET_ENTRIES)

    def take(self, origin: int, record: bytes) -> bool:
        """Add an entry, if there is room for it. Return whether there was."""
        if self.full(len(record)):
            return False
        self._append(origin, record)
        return True

    def lack(self, key: bytes) -> None:
        """Add a key whose entry is damaged here."""
        self._entries.lacking.append(key)
        self._bytes += len(key)

    def add(self, row: bytes, record: bytes, *, equal: bool = False) -> None:
        """Add the entry of an index row. `equal`: without its value."""
        if equal:
            self._entries.equal.append(len(self._entries.records))
        self._append(INDEX_HEAD.unpack_from(row)[1], record)

    def _append(self, origin: int, record: bytes) -> None:
        self._entries.origins.append(origin)
        self._entries.records.append(record)
        self._bytes += len(record)

    def answer(self, *, last: bool = False) -> EntryFrame:
        self._entries.last = last
        return self._entries
