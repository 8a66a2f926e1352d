"""The answering side of a reconciliation: one snapshot of index and database, read a slice at a time."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from struct import pack
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
from level_replicator.protocol.messages import Message, RangeEntries, RangeEqual, RangeRows, RangeSplit
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.index_scan import KeyAndRow, heads_of, row_of, rows_of
from level_replicator.storage.state.log_reader import restore_entry
from level_replicator.storage.state.schema import INDEX

_pack_head, _unpack_row = ENTRY_HEAD.pack, INDEX_HEAD.unpack

Range = tuple[bytes, bytes, bytes, int]


class Responder:
    """Of one reconciliation of a peer. `compare_only`: it takes nothing over. `sent`, `lacking`: entries, and those
    damaged here."""

    def __init__(self, rs: Snapshot, db: Snapshot, *, compare_only: bool) -> None:
        self.compare_only = compare_only
        self.lacking = 0
        self.sent = 0
        self._rs, self._db = rs, db
        self._questions: deque[Range | tuple[list[bytes], list[bytes]]] = deque()
        self._answer: Iterator[Message | None] | None = None

    def query(self, ranges: list[Range]) -> None:
        self._questions.extend(ranges)
        if len(self._questions) > 2 * MAX_RANGE_QUERIES:
            raise RemoteProtocolError(f"more than {MAX_RANGE_QUERIES} open questions")

    def fetch(self, keys: list[bytes], digests: list[bytes]) -> None:
        self._questions.append((keys, digests))
        if len(self._questions) > 2 * MAX_RANGE_QUERIES:
            raise RemoteProtocolError(f"more than {MAX_RANGE_QUERIES} open questions")

    @property
    def busy(self) -> bool:
        return self._answer is not None or bool(self._questions)

    def step(self) -> Message | None:
        """A slice of work, and what it came to, if anything."""
        if self._answer is None:
            if not self._questions:
                return None
            question = self._questions.popleft()
            self._answer = self._fetched(*question) if len(question) == 2 else self._queried(*question)
        for message in self._answer:
            if isinstance(message, RangeEntries):
                self.sent += len(message.records)
            return message
        self._answer = None
        return None

    def close(self) -> None:
        self._answer = None
        self._questions.clear()
        self._rs.close()
        self._db.close()

    # -- each yields None at the end of a slice

    def _queried(self, low: bytes, high: bytes, theirs: bytes, count: int) -> Iterator[Message | None]:
        if count == 0:
            yield from self._all_entries(low, high)
            return
        if not theirs and (message := self._few_rows(low, high)) is not None:
            yield message
            return
        parting = _Parting(count)
        yield from parting.read(rows_of(self._rs, low, high))
        if parting.whole.digest() == theirs:
            yield RangeEqual()
            return
        if parting.whole.count > LEAF_ROWS and parting.uneven:
            parting = _Parting(parting.whole.count)  # the peer has far fewer there than we, or far more
            yield from parting.read(rows_of(self._rs, low, high))
        yield parting.message()

    def _few_rows(self, low: bytes, high: bytes) -> RangeRows | None:
        """All of a range, if it is not too much for one message."""
        pairs = list(islice(rows_of(self._rs, low, high), MAX_LEAF_ROWS + 1))
        if len(pairs) > MAX_LEAF_ROWS or sum(len(key) + len(row) for key, row in pairs) > FRAME_TARGET_BYTES:
            return None
        return _rows_message(pairs)

    def _all_entries(self, low: bytes, high: bytes) -> Iterator[Message | None]:
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
                        yield frame.message()
                        frame = _Frame()
                        frame.take(origin, whole)
                    continue
            record = self._record(key, row, value)
            if frame.full(len(record or key)):
                yield frame.message()
                frame = _Frame()
            if record is None:
                self.lacking += 1
                frame.lack(key)
            else:
                frame.add(row, record)
        yield frame.message(last=True)

    def _record(self, key: bytes, row: bytes, value: bytes | None) -> bytes | None:
        """An entry from what the database has; from the log if that is not what the index says."""
        stamp, _, flags, checksum = INDEX_HEAD.unpack_from(row)
        if value is not None or flags & DELETE:
            own = index_contexts(row)[0] if len(row) > INDEX_HEAD.size else b""
            record, _, found = encode_entry(stamp, key, None if flags & DELETE else value, own, index_written(row))
            if found == checksum:
                return bytes(record)
        return restore_entry(self._rs, self._db, key, row)

    def _fetched(self, keys: list[bytes], digests: list[bytes]) -> Iterator[Message | None]:
        frame = _Frame()
        for key, digest in zip(keys, digests, strict=True):
            row = self._rs.get(INDEX + key)
            deleted = row is not None and INDEX_HEAD.unpack_from(row)[2] & DELETE
            value = None if row is None or deleted else self._db.get(key)
            record = None if row is None else self._record(key, row, value)
            if row is None or record is None:
                self.lacking += 1
                if frame.full(len(key)):
                    yield frame.message()
                    frame = _Frame()
                frame.lack(key)
                continue
            # of the log's value, if the database has another one: that was written around the replica
            equal = value is not None and record.endswith(value) and bool(digest) and value_digest(value) == digest
            if equal:
                assert value is not None
                record = record[: len(record) - len(value)]
            if frame.full(len(record)):
                yield frame.message()
                frame = _Frame()
            frame.add(row, record, equal=equal)
        yield frame.message(last=True)


def _rows_message(pairs: list[KeyAndRow]) -> RangeRows:
    return RangeRows([key[len(INDEX) :] for key, _ in pairs], [row_of(row) for _, row in pairs])


class _Parting:
    """A range of the index in a few parts. `count`: about how many rows it has."""

    def __init__(self, count: int) -> None:
        self.whole = Fingerprint()
        self._most_parts = MAX_SPLIT_PARTS if count >= LARGE_INDEX_ROWS else SPLIT_PARTS
        self._part_lines = max(LEAF_ROWS // 2, -(-count // self._most_parts))
        self._parts: list[Fingerprint] = []
        self._bounds: list[bytes] = []
        self._bound_bytes = 0
        self._few: list[KeyAndRow] = []

    def read(self, rows: Iterator[KeyAndRow]) -> Iterator[None]:
        """All of them, a slice at each step."""
        slice_lines = min(RECONCILE_SLICE_ROWS, self._part_lines)
        last_key = b""
        since = 0
        while True:
            pairs = list(islice(rows, slice_lines))
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
            self._parts[-1].count >= self._part_lines
            and len(self._parts) < self._most_parts
            and self._bound_bytes < MAX_SPLIT_BYTES
        )

    def _part(self, bound: bytes) -> None:
        self._bounds.append(bound)
        self._bound_bytes += len(bound)

    @property
    def uneven(self) -> bool:
        """Whether the guess of the count was so wrong that one part holds most of the rows."""
        largest = max(part.count for part in self._parts)
        return len(self._parts) == 1 or largest > max(2 * self._part_lines, self.whole.count // 2)

    def message(self) -> Message:
        if self.whole.count <= LEAF_ROWS:
            return _rows_message(self._few)
        return RangeSplit(self._bounds, b"".join(part.digest() for part in self._parts))


class _Frame:
    """Entries of one message."""

    def __init__(self) -> None:
        self._lacking: list[bytes] = []
        self._origins: list[int] = []
        self._records: list[bytes] = []
        self._equal: list[int] = []
        self._bytes = 0

    def full(self, size: int) -> bool:
        count = len(self._records) + len(self._lacking)
        return count > 0 and (self._bytes + size > FRAME_TARGET_BYTES or count >= FRAME_TARGET_ENTRIES)

    def take(self, origin: int, record: bytes) -> bool:
        """Adds an entry, if there is room for it."""
        if self.full(len(record)):
            return False
        self._append(origin, record)
        return True

    def lack(self, key: bytes) -> None:
        self._lacking.append(key)
        self._bytes += len(key)

    def add(self, row: bytes, record: bytes, *, equal: bool = False) -> None:
        if equal:
            self._equal.append(len(self._records))
        self._append(INDEX_HEAD.unpack_from(row)[1], record)

    def _append(self, origin: int, record: bytes) -> None:
        self._origins.append(origin)
        self._records.append(record)
        self._bytes += len(record)

    def message(self, *, last: bool = False) -> RangeEntries:
        origins = pack(f">{len(self._origins)}Q", *self._origins)
        return RangeEntries(origins, self._records, self._equal, self._lacking, last)
