"""The queue of open queries of a reconciliation, and the checks of the peer's answers.

A peer answers queries in the order in which they were sent. Each answer is checked against the oldest open query before
any of it is used, and becomes an event that carries its query. Answers that arrive when no reconciliation is under way
belong to one that this node has ended, and are ignored.
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
from level_replicator.core.reconcile_rules import FINGERPRINT_BYTES, ROW_HEAD_BYTES, KeyRange
from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived
from level_replicator.protocol.messages import RangeEntries, RangeEqual, RangeReply, RangeRows, RangeSplit
from level_replicator.protocol.pull import refuse_future


@dataclass(slots=True)
class _RangeQuery:
    """An open query of a range. `after`: the last key that the peer has sent of it, if it sends entries."""

    range: KeyRange
    after: bytes | None = None

    @property
    def sends_entries(self) -> bool:
        """Whether the peer must answer with all its entries, since this node has none in the range."""
        return self.range.count == 0


@dataclass(slots=True)
class _FetchQuery:
    """An open query of entries by key. `left`: the keys that the peer has not answered yet."""

    left: set[bytes]


class PendingQueries:
    """The open queries of one session, oldest first.

    open          whether a reconciliation or comparison of this node is under way
    compare_only  whether it is a comparison, which changes nothing
    """

    def __init__(self) -> None:
        self.open = False
        self.compare_only = False
        self._queries: deque[_RangeQuery | _FetchQuery] = deque()

    def __len__(self) -> int:
        return len(self._queries)

    def begin(self, *, compare_only: bool = False) -> None:
        """Begin a reconciliation without open queries."""
        self.open, self.compare_only = True, compare_only
        self._queries.clear()

    def end(self) -> None:
        """End the reconciliation: answers that still arrive are ignored."""
        self.open = self.compare_only = False
        self._queries.clear()

    def end_pull(self) -> None:
        """End the reconciliation that belongs to the pull that is over. A comparison continues."""
        if not self.compare_only:
            self.end()

    def add_range(self, queried: KeyRange) -> None:
        """Add the query of a range, which is sent to the peer now."""
        self._queries.append(_RangeQuery(queried))

    def add_fetch(self, keys: list[bytes]) -> None:
        """Add the query of the entries of these keys, which is sent to the peer now."""
        self._queries.append(_FetchQuery(set(keys)))

    def answer(self, message: RangeReply, latest: int) -> RangeAnswered | RangeEntriesReceived | None:
        """Check a reply to the oldest open query. Return the event, or None if the reconciliation is over.

        `latest`: the newest acceptable stamp. Raise RemoteProtocolError for a reply that the query does not allow."""
        if not self.open:
            return None
        if not self._queries:
            raise RemoteProtocolError(f"{type(message).__name__} without an open query")
        query = self._queries[0]
        if isinstance(message, RangeEntries):
            received = _entries(query, message, latest)
            if message.last:
                self._queries.popleft()
            return received
        if isinstance(query, _FetchQuery) or query.sends_entries:
            raise RemoteProtocolError(f"{type(message).__name__} in reply to a query that needs RangeEntries")
        self._queries.popleft()
        match message:
            case RangeEqual():
                return RangeAnswered(query.range, same=True)
            case RangeSplit():
                return _split(query.range, message)
            case RangeRows():
                return _rows(query.range, message, latest)


def _entries(query: _RangeQuery | _FetchQuery, message: RangeEntries, latest: int) -> RangeEntriesReceived:
    """Check a frame of entries, and note in the query how far it is answered."""
    if isinstance(query, _RangeQuery) and not query.sends_entries:
        raise RemoteProtocolError("RangeEntries in reply to a query of a range that is not empty here")
    count = len(message.records)
    if count > MAX_FRAME_ENTRIES or len(message.origins) != 8 * count:
        raise RemoteProtocolError(
            f"RangeEntries has {count} entries and {len(message.origins)} bytes of origins: at most "
            f"{MAX_FRAME_ENTRIES} entries and 8 bytes for each are allowed"
        )
    equal = set(message.equal)
    if equal and not 0 <= min(equal) <= max(equal) < count:
        raise RemoteProtocolError(f"RangeEntries has {count} entries: an index of an equal value is out of bounds")
    origins = unpack(f">{count}Q", message.origins)
    if equal:
        entries = [decode_entry(each, valueless=at in equal) for at, each in enumerate(message.records)]
    else:
        entries = list(map(decode_entry, message.records))
    stamps, keys = [entry[0] for entry in entries], [entry[3] for entry in entries]
    if 0 in origins or 0 in stamps:
        raise RemoteProtocolError("RangeEntries has an entry with origin or stamp 0")
    refuse_future(max(stamps, default=0), latest)
    span: tuple[bytes, bytes] | None = None
    if isinstance(query, _FetchQuery):
        _require_fetched(query, keys, message)
        queried = None
    else:
        queried = query.range
        _require_order(([] if query.after is None else [query.after]) + keys, queried)
        if equal:
            raise RemoteProtocolError("RangeEntries lacks a value that this node does not have")
        low = queried.low if query.after is None else query.after + b"\0"
        query.after = keys[-1] if keys else query.after
        if message.last:
            span = (low, queried.high)
        elif keys:
            span = (low, keys[-1] + b"\0")
    pairs = list(zip(origins, entries, strict=True))
    return RangeEntriesReceived(pairs, equal, message.lacking, message.last, queried, span)


def _require_order(keys: list[bytes], within: KeyRange) -> None:
    low, high = within.low, within.high
    in_order = all(map(lt, keys, islice(keys, 1, None)))
    if not in_order or (keys and (keys[0] < low or (high and keys[-1] >= high))):
        raise RemoteProtocolError("the reply to a range query has keys out of order or outside the range")


def _require_fetched(query: _FetchQuery, keys: list[bytes], message: RangeEntries) -> None:
    for key in [*keys, *message.lacking]:
        if key not in query.left:
            raise RemoteProtocolError("RangeEntries has a key that was not fetched")
        query.left.remove(key)
    if message.last and query.left:
        raise RemoteProtocolError(f"the last RangeEntries of a fetch leaves {len(query.left)} keys unanswered")


def _split(queried: KeyRange, message: RangeSplit) -> RangeAnswered:
    count = len(message.bounds) + 1
    bound_bytes = sum(map(len, message.bounds))
    if count > MAX_SPLIT_PARTS or bound_bytes > MAX_SPLIT_BYTES + MAX_KEY_BYTES:
        raise RemoteProtocolError(
            f"RangeSplit has {count} parts and {bound_bytes} bytes of bounds: at most {MAX_SPLIT_PARTS} and "
            f"{MAX_SPLIT_BYTES + MAX_KEY_BYTES} are allowed"
        )
    if count < 2 or len(message.prints) != count * FINGERPRINT_BYTES:
        raise RemoteProtocolError(
            f"RangeSplit has {count} parts and {len(message.prints)} bytes of fingerprints: at least 2 parts and "
            f"{FINGERPRINT_BYTES} bytes for each are needed"
        )
    _require_order([queried.low, *message.bounds], queried)
    prints = [message.prints[at : at + FINGERPRINT_BYTES] for at in range(0, len(message.prints), FINGERPRINT_BYTES)]
    return RangeAnswered(queried, bounds=message.bounds, prints=prints)


def _rows(queried: KeyRange, message: RangeRows, latest: int) -> RangeAnswered:
    count = len(message.keys)
    if count > MAX_FRAME_ENTRIES or len(message.rows) != count:
        raise RemoteProtocolError(
            f"RangeRows has {count} keys and {len(message.rows)} rows: at most {MAX_FRAME_ENTRIES} keys and a row for "
            "each are allowed"
        )
    _require_order(message.keys, queried)
    for row in message.rows:
        _require_row(row, latest)
    return RangeAnswered(queried, rows=list(zip(message.keys, message.rows, strict=True)))


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
