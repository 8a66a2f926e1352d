"""The asking side of a reconciliation: our own index beside that of a peer, range by range.

Ranges that are equal cost a fingerprint; others are parted until they are small, and then judged key by
key (core.reconcile_rules). Nothing is kept of what was equal: a reconciliation that broke off costs, the next time,
what still differs.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

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
from level_replicator.core.reconcile_rules import Fingerprint
from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.state.index_scan import rows_of, take
from level_replicator.storage.state.schema import INDEX

_NEARLY_ALL = 0.9
News = dict[int, list[Interval]]
"""Origin → intervals of stamps that are new in the log."""
Wanted = tuple[bytes, bytes]
"""A key to fetch, and the digest of our value if the peer's may be the same."""


@dataclass(slots=True)
class Range:
    """A range that is not known to be equal, with our own fingerprint and count."""

    low: bytes
    high: bytes
    print: bytes
    count: int
    depth: int


@dataclass(slots=True)
class Requests:
    """Result of a step: range queries, or keys to fetch, to send to the peer; neither if there is only more work to do.
    `restamped`: how many entries the step has re-stamped."""

    queries: list[Range] = field(default_factory=list)
    fetch: list[Wanted] = field(default_factory=list)
    restamped: int = 0


@dataclass(frozen=True, slots=True)
class Resolved:
    """Result of resolving a range. `next_key`: the key to continue at, None at the end; `wanted`: keys to fetch;
    `restamped`: how many entries of ours got new dots."""

    next_key: bytes | None
    wanted: list[Wanted]
    restamped: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of merging entries of the peer. `news`: intervals that are new in the log; `restamped`: how many entries
    of ours got new dots."""

    news: News
    restamped: int = 0


class Initiator:
    """Of one reader. Its `handler` decides about each difference (see Resolver and Comparison).

    `snapshot`: opens one of our own index; each comparison of a range takes a new one, so that it sees what the
    reconciliation has changed. `lost`: keys that our side is to lack (see storage.write.lost)."""

    def __init__(
        self,
        snapshot: Callable[[], AbstractContextManager[Reader]],
        handler: "DifferenceHandler",
        lost: frozenset[bytes] = frozenset(),
    ) -> None:
        self.handler = handler
        self._lost = lost
        self._snapshot = snapshot
        self._ranges: list[Range] = []  # a stack, lowest keys on top
        self._work: deque[Iterator[None]] = deque([self._compare(Range(b"", b"", b"", 0, 0), [], [b""])])
        self._asked: deque[Range | None] = deque()  # None: a fetch
        self._wanted: deque[Wanted] = deque()
        self._range_bytes = 0
        self._restamped = 0

    @property
    def done(self) -> bool:
        return not (self._ranges or self._work or self._asked or self._wanted)

    @property
    def has_work(self) -> bool:
        """Whether `step` would do something before the peer answers."""
        return bool(self._work) or self._may_query() or self._may_fetch()

    def step(self) -> Requests:
        """A slice of work. To be called while `has_work`; the requests are to be sent."""
        if self._work:
            for _ in self._work[0]:
                return Requests(restamped=self._take_restamped())
            self._work.popleft()
        requests = Requests(restamped=self._take_restamped())
        size = 0
        while self._may_query() and len(requests.queries) < MAX_RANGE_QUERIES and size < FRAME_TARGET_BYTES:
            asked = self._ranges.pop()
            self._range_bytes -= _key_bytes(asked)
            self._asked.append(asked)
            requests.queries.append(asked)
            size += _key_bytes(asked)
        if not requests.queries and self._may_fetch():
            while self._wanted and len(requests.fetch) < MAX_FETCH_KEYS and size < FRAME_TARGET_BYTES:
                requests.fetch.append(self._wanted.popleft())
                size += len(requests.fetch[-1][0])
            self._asked.append(None)
        return requests

    def _take_restamped(self) -> int:
        restamped, self._restamped = self._restamped, 0
        return restamped

    def _may_query(self) -> bool:
        few_wanted = len(self._wanted) < 2 * MAX_FETCH_KEYS
        return bool(self._ranges) and not self._work and len(self._asked) < MAX_RANGE_QUERIES and few_wanted

    def _may_fetch(self) -> bool:
        """Many at a time, or what is left."""
        if not self._wanted or self._work or None in self._asked:
            return False
        return len(self._wanted) >= MAX_FETCH_KEYS or not (self._ranges or self._asked)

    def answered(self, answer: RangeAnswered) -> None:
        """Take the answer to the oldest open range query. Raises RemoteProtocolError for a peer that parts ranges
        without end."""
        asked = self._asked.popleft()
        assert asked is not None
        if len(self._ranges) > MAX_RECONCILE_RANGES or self._range_bytes > MAX_RECONCILE_RANGE_BYTES:
            raise RemoteProtocolError("a reconciliation with too many ranges")
        if asked.depth > MAX_RECONCILE_DEPTH:
            raise RemoteProtocolError("a reconciliation that does not come to an end")
        if answer.rows is not None:
            self._work.append(self._resolve(asked, answer.rows))
        elif answer.bounds is not None:
            assert answer.prints is not None
            self._work.append(self._compare(asked, answer.bounds, answer.prints))

    def entries_received(self, received: RangeEntriesReceived) -> Merged:
        """Merge entries, of a fetch or of a queried range that was empty here. Raises StorageError."""
        merged = self.handler.take_entries(received)
        if received.last:
            self._asked.popleft()
        return merged

    def close(self) -> None:
        """Gives the snapshots back."""
        self._work.clear()

    def _resolve(self, asked: Range, rows: list[tuple[bytes, bytes]]) -> Iterator[None]:
        low: bytes | None = asked.low
        while low is not None:
            resolved = self.handler.resolve(low, asked.high, rows)
            low = resolved.next_key
            self._wanted.extend(resolved.wanted)
            self._restamped += resolved.restamped
            yield None

    def _compare(self, whole: Range, bounds: list[bytes], prints: list[bytes]) -> Iterator[None]:
        """Our own prints of the parts of a range beside the peer's: the parts that are not equal are to be queried."""
        unequal: list[Range] = []
        with self._snapshot() as snapshot:
            edges = [whole.low, *bounds, whole.high]
            for part, theirs in enumerate(prints):
                ours = Fingerprint()
                yield from _read(snapshot, edges[part], edges[part + 1], ours, self._lost)
                digest = ours.digest()
                if digest != theirs:
                    count = self.handler.report_count(ours.count)
                    unequal.append(Range(edges[part], edges[part + 1], digest, count, whole.depth + 1))
        if len(prints) > 8 * SPLIT_PARTS and len(unequal) >= _NEARLY_ALL * len(prints):  # as without a common history
            for each in unequal:
                if each.count <= MAX_LEAF_ROWS:
                    each.print = b""
        self._ranges.extend(reversed(unequal))
        self._range_bytes += sum(map(_key_bytes, unequal))


def _key_bytes(of: Range) -> int:
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
    """What is done with differences. Base of Resolver, which reconciles, and of Comparison, which only compares."""

    def resolve(self, low: bytes, high: bytes, theirs: list[tuple[bytes, bytes]]) -> Resolved:
        """Resolve the differences in a range: all (key, head) of the peer in it, and our own rows from `low` on."""
        raise NotImplementedError

    def take_entries(self, received: RangeEntriesReceived) -> Merged:
        """Merge entries that were fetched, or all entries of a range that is empty here."""
        raise NotImplementedError

    def report_count(self, count: int) -> int:
        """How many rows we say to have in a range; with 0 the peer sends all that it has there."""
        return count
