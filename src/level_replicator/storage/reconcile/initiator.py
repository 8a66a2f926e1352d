"""The initiator of a range-based set reconciliation: the reader, which compares its index with that of a peer.

It sends the fingerprint of a range of keys. If the peer's fingerprint differs, the peer splits the range and sends the
fingerprints of the parts, and the initiator queries the parts that differ; a small range comes back as its index rows,
which a DifferenceHandler resolves key by key (core.reconcile_rules). No state is kept of ranges that are equal: if a
reconciliation breaks off, the next one costs only as much as what still differs.

The recursive comparison of range fingerprints follows Aljoscha Meyer, "Range-Based Set Reconciliation" (SRDS 2023,
arXiv:2212.13567). It differs in three points: only the initiator queries; a fingerprint is a plain hash over the rows
of a range, computed in a scan, not in a tree; and rows that differ are resolved by rules, not by set union.

The queue of open queries is in protocol.range_queries; an answer carries the range that it is about.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    FRAME_TARGET_BYTES,
    MAX_FETCH_KEYS,
    MAX_LEAF_ROWS,
    MAX_RANGE_QUERIES,
    MAX_RECONCILE_DEPTH,
    MAX_RECONCILE_RANGE_BYTES,
    MAX_RECONCILE_RANGES,
    RECONCILE_SLICE_ROWS,
    SPLIT_PARTS,
)
from level_replicator.core.reconcile_rules import Fingerprint, KeyRange
from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.state.index_scan import rows_of, take
from level_replicator.storage.state.schema import INDEX

_NEARLY_ALL = 0.9
News = dict[int, list[Interval]]
"""Origin → intervals of stamps that are new in the log."""
Wanted = tuple[bytes, bytes]
"""A key to fetch, and the digest of this node's value if the peer may have the same value, else b""."""


@dataclass(slots=True)
class Requests:
    """Result of a step: range queries or fetches to send to the peer, or neither.

    restamped  number of entries that the step has re-stamped
    """

    queries: list[KeyRange] = field(default_factory=list)
    fetch: list[Wanted] = field(default_factory=list)
    restamped: int = 0


@dataclass(frozen=True, slots=True)
class Resolved:
    """Result of resolving a part of a range.

    next_key   key at which the rest of the range begins; None: all of it is resolved
    wanted     keys to fetch
    restamped  number of entries of this node that got new dots
    """

    next_key: bytes | None
    wanted: list[Wanted]
    restamped: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of merging entries of the peer.

    news       intervals that are new in the log
    restamped  number of entries of this node that got new dots
    """

    news: News
    restamped: int = 0


class Initiator:
    """State of one reconciliation on the side of the reader.

    handler   decides about each difference (Resolver or Comparison)
    snapshot  opens a snapshot of this node's index. Each comparison of a range opens a new one, so that it sees the
              changes that the reconciliation has made
    lost      keys to leave out of this node's fingerprints, so that they differ (storage.write.lost)
    """

    def __init__(
        self,
        snapshot: Callable[[], AbstractContextManager[Reader]],
        handler: "DifferenceHandler",
        lost: frozenset[bytes] = frozenset(),
    ) -> None:
        self.handler = handler
        self._lost = lost
        self._snapshot = snapshot
        self._ranges: list[KeyRange] = []  # to be queried: a stack, lowest keys on top
        self._work: deque[Iterator[None]] = deque([self._compare(KeyRange(b"", b"", b"", 0, 0), [], [b""])])
        self._open_queries = 0  # range queries that are not answered yet
        self._fetching = False  # at most one fetch is open
        self._wanted: deque[Wanted] = deque()
        self._range_bytes = 0
        self._restamped = 0

    @property
    def done(self) -> bool:
        """Whether all differences are resolved."""
        return not (self._ranges or self._work or self._waits or self._wanted)

    @property
    def _waits(self) -> bool:
        """Whether the peer has an answer to give."""
        return self._open_queries > 0 or self._fetching

    @property
    def has_work(self) -> bool:
        """Whether `step` would do something before the peer answers."""
        return bool(self._work) or self._may_query() or self._may_fetch()

    def step(self) -> Requests:
        """Run a slice of work. Call it while `has_work`, and send the requests. Raise StorageError."""
        if self._work:
            for _ in self._work[0]:
                return Requests(restamped=self._take_restamped())
            self._work.popleft()
        requests = Requests(restamped=self._take_restamped())
        size = 0
        while self._may_query() and len(requests.queries) < MAX_RANGE_QUERIES and size < FRAME_TARGET_BYTES:
            queried = self._ranges.pop()
            self._range_bytes -= _key_bytes(queried)
            self._open_queries += 1
            requests.queries.append(queried)
            size += _key_bytes(queried)
        if not requests.queries and self._may_fetch():
            while self._wanted and len(requests.fetch) < MAX_FETCH_KEYS and size < FRAME_TARGET_BYTES:
                requests.fetch.append(self._wanted.popleft())
                size += len(requests.fetch[-1][0])
            self._fetching = True
        return requests

    def _take_restamped(self) -> int:
        restamped, self._restamped = self._restamped, 0
        return restamped

    def _may_query(self) -> bool:
        open_now = self._open_queries + self._fetching
        few_wanted = len(self._wanted) < 2 * MAX_FETCH_KEYS
        return bool(self._ranges) and not self._work and open_now < MAX_RANGE_QUERIES and few_wanted

    def _may_fetch(self) -> bool:
        """Whether there are enough keys for a fetch, or no more will come."""
        if not self._wanted or self._work or self._fetching:
            return False
        return len(self._wanted) >= MAX_FETCH_KEYS or not (self._ranges or self._open_queries)

    def answered(self, answer: RangeAnswered) -> None:
        """Take the answer to a range query. Raise RemoteProtocolError if the peer splits ranges without end."""
        self._open_queries -= 1
        if len(self._ranges) > MAX_RECONCILE_RANGES or self._range_bytes > MAX_RECONCILE_RANGE_BYTES:
            raise RemoteProtocolError(
                f"the peer splits a reconciliation into {len(self._ranges)} ranges with {self._range_bytes} bytes of "
                f"bounds: at most {MAX_RECONCILE_RANGES} and {MAX_RECONCILE_RANGE_BYTES} are allowed"
            )
        if answer.range.depth > MAX_RECONCILE_DEPTH:
            raise RemoteProtocolError(f"the peer splits a range more than {MAX_RECONCILE_DEPTH} times")
        if answer.rows is not None:
            self._work.append(self._resolve(answer.range, answer.rows))
        elif answer.bounds is not None:
            assert answer.prints is not None
            self._work.append(self._compare(answer.range, answer.bounds, answer.prints))

    def entries_received(self, received: RangeEntriesReceived) -> Merged:
        """Merge entries that were fetched, or that the peer has in a range that is empty here. Raise StorageError."""
        merged = self.handler.take_entries(received)
        if received.last:
            if received.range is None:
                self._fetching = False
            else:
                self._open_queries -= 1
        return merged

    def close(self) -> None:
        """Release the snapshots."""
        self._work.clear()

    def _resolve(self, queried: KeyRange, rows: list[tuple[bytes, bytes]]) -> Iterator[None]:
        """Resolve a range, of which these are the peer's rows, batch by batch."""
        low: bytes | None = queried.low
        while low is not None:
            resolved = self.handler.resolve(low, queried.high, rows)
            low = resolved.next_key
            self._wanted.extend(resolved.wanted)
            self._restamped += resolved.restamped
            yield None

    def _compare(self, whole: KeyRange, bounds: list[bytes], prints: list[bytes]) -> Iterator[None]:
        """Compare our fingerprints of the parts of a range with the peer's, and queue the parts that differ."""
        unequal: list[KeyRange] = []
        with self._snapshot() as snapshot:
            edges = [whole.low, *bounds, whole.high]
            for part, theirs in enumerate(prints):
                ours = Fingerprint()
                yield from _read(snapshot, edges[part], edges[part + 1], ours, self._lost)
                digest = ours.digest()
                if digest != theirs:
                    count = self.handler.report_count(ours.count)
                    unequal.append(KeyRange(edges[part], edges[part + 1], digest, count, whole.depth + 1))
        if len(prints) > 8 * SPLIT_PARTS and len(unequal) >= _NEARLY_ALL * len(prints):
            # the nodes have hardly any row in common: small parts are not worth another fingerprint
            unequal = [replace(each, print=b"") if each.count <= MAX_LEAF_ROWS else each for each in unequal]
        self._ranges.extend(reversed(unequal))
        self._range_bytes += sum(map(_key_bytes, unequal))


def _key_bytes(of: KeyRange) -> int:
    return len(of.low) + len(of.high)


def _read(rs: Reader, low: bytes, high: bytes, into: Fingerprint, lost: frozenset[bytes]) -> Iterator[None]:
    rows = rows_of(rs, low, high)
    if lost:
        rows = (pair for pair in rows if pair[0][len(INDEX) :] not in lost)
    while True:
        keys, heads = take(rows, RECONCILE_SLICE_ROWS)
        if keys:
            into.add(keys, heads)
        if len(keys) < RECONCILE_SLICE_ROWS:
            return
        yield None


class DifferenceHandler:
    """Handle the differences that an Initiator finds. Resolver reconciles them; Comparison only counts them."""

    def resolve(self, low: bytes, high: bytes, theirs: list[tuple[bytes, bytes]]) -> Resolved:
        """Resolve the differences in low <= key < high, or in a first part of it.

        `theirs`: all rows of the peer in the queried range, in order of keys. Raise StorageError."""
        raise NotImplementedError

    def take_entries(self, received: RangeEntriesReceived) -> Merged:
        """Merge entries that were fetched, or that the peer has in a range that is empty here. Raise StorageError."""
        raise NotImplementedError

    def report_count(self, count: int) -> int:
        """Return the number of rows to report to the peer for a range with `count` rows here. With 0 the peer sends
        all its entries in the range."""
        return count
