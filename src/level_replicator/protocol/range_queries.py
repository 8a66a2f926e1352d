"""The asking side of a reconciliation: answers of a peer are checked here before anything is done with them.

Answers come in the order of the questions. What comes when nothing is open belongs to a reconciliation
that was given up, and is not looked at.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from operator import lt
from struct import unpack

from level_replicator.core.entry import (
    CONTEXT,
    DOT_BYTES,
    INDEX_HEAD,
    RESTAMPED,
    ROW_FLAGS,
    decode_entry,
    index_written,
    require_written,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_FRAME_ENTRIES, MAX_KEY_BYTES, MAX_SPLIT_BYTES, MAX_SPLIT_PARTS
from level_replicator.core.reconcile_rules import FINGERPRINT_BYTES, ROW_HEAD_BYTES
from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived
from level_replicator.protocol.messages import RangeEntries, RangeEqual, RangeReply, RangeRows, RangeSplit
from level_replicator.protocol.pull import refuse_future


@dataclass(slots=True)
class _Query:
    """One open query. `after`: the last key of what was sent for it."""

    low: bytes
    high: bytes
    fetch: list[bytes] | None
    may_bulk_load: bool
    after: bytes | None = None


class PendingQueries:
    """Open range queries of one session.

    `open`: whether a reconciliation is under way; `compare_only`: one that changes nothing."""

    def __init__(self) -> None:
        self.open = False
        self.compare_only = False
        self._queries: deque[_Query] = deque()

    def begin(self, *, compare_only: bool = False) -> None:
        self.open, self.compare_only = True, compare_only
        self._queries.clear()

    def end(self) -> None:
        self.open = self.compare_only = False
        self._queries.clear()

    def end_pull(self) -> None:
        """End the reconciliation that belongs to the pull that is over. One that only compares goes on."""
        if not self.compare_only:
            self.end()

    def queried(self, low: bytes, high: bytes, count: int) -> None:
        self._queries.append(_Query(low, high, None, count == 0))

    def fetched(self, keys: list[bytes]) -> None:
        self._queries.append(_Query(b"", b"", keys, True))

    def answer(self, message: RangeReply, latest: int) -> RangeAnswered | RangeEntriesReceived | None:
        """Check a reply to the oldest open query. Returns None if its reconciliation is over. Raises
        RemoteProtocolError."""
        if not self.open:
            return None
        if not self._queries:
            raise RemoteProtocolError("an answer to what was not asked")
        query = self._queries[0]
        if isinstance(message, RangeEntries):
            return self._entries(query, message, latest)
        if query.fetch is not None or query.may_bulk_load:
            raise RemoteProtocolError("not the answer that was asked for")
        self._queries.popleft()
        match message:
            case RangeEqual():
                return RangeAnswered(same=True)
            case RangeSplit():
                return _split(query, message)
            case RangeRows():
                return _rows(query, message, latest)

    def _entries(self, query: _Query, message: RangeEntries, latest: int) -> RangeEntriesReceived:
        if not query.may_bulk_load:
            raise RemoteProtocolError("entries that were not asked for")
        count = len(message.records)
        if count > MAX_FRAME_ENTRIES or len(message.origins) != 8 * count:
            raise RemoteProtocolError(
                f"{count} entries of a reconciliation with {len(message.origins)} bytes of origins"
            )
        equal = set(message.equal)
        if equal and not 0 <= min(equal) <= max(equal) < count:
            raise RemoteProtocolError("the place of an entry that is not there")
        origins = unpack(f">{count}Q", message.origins)
        if equal:
            entries = [decode_entry(each, valueless=at in equal) for at, each in enumerate(message.records)]
        else:
            entries = list(map(decode_entry, message.records))
        stamps, keys = [entry[0] for entry in entries], [entry[3] for entry in entries]
        if 0 in origins or 0 in stamps:
            raise RemoteProtocolError("an entry of origin or stamp 0")
        refuse_future(max(stamps, default=0), latest)
        span: tuple[bytes, bytes] | None = None
        if query.fetch is None:
            _require_order(([] if query.after is None else [query.after]) + keys, query.low, query.high)
            if equal:
                raise RemoteProtocolError("an entry without its value that was not asked for so")
            low = query.low if query.after is None else query.after + b"\0"
            query.after = keys[-1] if keys else query.after
            if message.last:
                span = (low, query.high)
            elif keys:
                span = (low, keys[-1] + b"\0")
        else:
            _require_fetched(query.fetch, keys, message)
        if message.last:
            self._queries.popleft()
        return RangeEntriesReceived(
            list(zip(origins, entries, strict=True)), equal, message.lacking, message.last, span
        )


def _require_order(keys: list[bytes], low: bytes, high: bytes) -> None:
    in_order = all(map(lt, keys, islice(keys, 1, None)))
    if not in_order or (keys and (keys[0] < low or (high and keys[-1] >= high))):
        raise RemoteProtocolError("keys of a reconciliation out of order, or outside the range")


def _require_fetched(asked: list[bytes], keys: list[bytes], message: RangeEntries) -> None:
    left = set(asked)
    for key in [*keys, *message.lacking]:
        if key not in left:
            raise RemoteProtocolError("an entry that was not fetched")
        left.remove(key)
    asked[:] = [key for key in asked if key in left]
    if message.last and left:
        raise RemoteProtocolError("fewer entries than were fetched")


def _split(query: _Query, message: RangeSplit) -> RangeAnswered:
    count = len(message.bounds) + 1
    if count > MAX_SPLIT_PARTS or sum(map(len, message.bounds)) > MAX_SPLIT_BYTES + MAX_KEY_BYTES:
        raise RemoteProtocolError(f"{count} parts are too many, or their bounds too long")
    if count < 2 or len(message.prints) != count * FINGERPRINT_BYTES:
        raise RemoteProtocolError(f"{count} parts with {len(message.prints)} bytes of fingerprints")
    _require_order([query.low, *message.bounds], query.low, query.high)
    prints = [message.prints[at : at + FINGERPRINT_BYTES] for at in range(0, len(message.prints), FINGERPRINT_BYTES)]
    return RangeAnswered(bounds=message.bounds, prints=prints)


def _rows(query: _Query, message: RangeRows, latest: int) -> RangeAnswered:
    count = len(message.keys)
    if count > MAX_FRAME_ENTRIES or len(message.rows) != count:
        raise RemoteProtocolError(f"{count} keys of an index with {len(message.rows)} rows")
    _require_order(message.keys, query.low, query.high)
    for row in message.rows:
        _require_row(row, latest)
    return RangeAnswered(rows=list(zip(message.keys, message.rows, strict=True)))


def _require_row(row: bytes, latest: int) -> None:
    if len(row) < ROW_HEAD_BYTES:
        raise RemoteProtocolError(f"an index row of {len(row)} bytes, at least {ROW_HEAD_BYTES} are needed")
    stamp, origin, flags, _ = INDEX_HEAD.unpack_from(row)
    if not stamp or not origin:
        raise RemoteProtocolError("an index row with origin or stamp 0")
    refuse_future(stamp, latest)
    if flags & ~(ROW_FLAGS | CONTEXT):
        raise RemoteProtocolError(f"an index row has unknown flags {flags:#x}")
    if len(row) != ROW_HEAD_BYTES + (DOT_BYTES if flags & RESTAMPED else 0):
        raise RemoteProtocolError(f"an index row with flags {flags:#x} has {len(row)} bytes")
    if flags & RESTAMPED:
        require_written(index_written(row), stamp)
