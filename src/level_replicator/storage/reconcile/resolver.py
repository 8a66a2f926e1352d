"""Resolver of a reconciliation: applies the decision table of core.reconcile_rules to the keys that differ.

It works in batches, each under the lock of the state."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from level_replicator.core.entry import CONTEXT, DELETE, INDEX_HEAD, Entry, IndexRow, decode_index
from level_replicator.core.limits import BULK_LOAD_OWN_ROWS, BULK_LOAD_PREVIEW_ENTRIES, RESOLVE_ROWS
from level_replicator.core.merge import lost_in_conflict, order_of, order_of_row, same_value
from level_replicator.core.reconcile_rules import (
    ReconcileContext,
    Resolution,
    resolve_both,
    resolve_local_only,
    resolve_remote_only,
    value_digest,
)
from level_replicator.core.version_vector import Vector, newer
from level_replicator.protocol.events import RangeEntriesReceived
from level_replicator.storage.reconcile.initiator import DifferenceHandler, Merged, News, Resolved, Wanted
from level_replicator.storage.state.index_scan import head_of, rows_of
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import is_lost
from level_replicator.storage.write.merger import Merger, doubt_of
from level_replicator.storage.write.remote_applier import adopt_vector

KeyAndRow = tuple[bytes, bytes]


class Resolver(DifferenceHandler):
    """Resolve the differences of one reconciliation, and adopt the peer's vector at its end.

    source             origin of the peer
    reconcile_context  state of both sides at the start
    their_horizon      the peer's horizon as of its snapshot
    sync               whether each batch is synced to the disk
    bulk_loads         this node has few rows or none, and requests all entries of the peer
    peer_pulls         see Merger
    whole              False when an entry was left out, so that the peer's vector must not be adopted
    changed            whether the reconciliation has changed this node
    entries_in         number of entries received
    """

    def __init__(
        self,
        state: ReplicationState,
        source: int,
        reconcile_context: ReconcileContext,
        their_horizon: Vector,
        *,
        sync: bool,
        bulk_loads: bool = False,
        peer_pulls: bool = True,
    ) -> None:
        self.whole = True
        self.changed = False
        self._bulk_loads = bulk_loads
        self._peer_pulls = peer_pulls
        self.entries_in = 0
        self._state = state
        self._source = source
        self._reconcile_context = reconcile_context
        self._their_horizon = their_horizon
        self._sync = sync

    # -- the rows of a range

    def resolve(self, low: bytes, high: bytes, theirs: list[KeyAndRow]) -> Resolved:
        state = self._state
        with state.applying("reconciling with a peer"):
            ours = [
                (key[len(INDEX) :], packed) for key, packed in islice(rows_of(state.rs, low, high), RESOLVE_ROWS + 1)
            ]
            following = ours.pop()[0] if len(ours) > RESOLVE_ROWS else None
            merger = self._merger()
            wanted: list[Wanted] = []
            doubt = doubt_of(state, self._reconcile_context.theirs)
            for key, mine, row in _side_by_side(ours, _from_to(theirs, low, following)):
                if merger.restamps.full:
                    following = key
                    break
                if mine is None:
                    if self._takes(decode_index(row), doubt):
                        wanted.append((key, b""))
                elif not row:
                    self._resolve_local_only(merger, key, decode_index(mine))
                elif head_of(mine) == head_of(row):
                    if key in state.lost and is_lost(state, key):
                        wanted.append((key, b""))
                elif self._compare(merger, key, mine, row, doubt):
                    wanted.append((key, self._digest(key, mine, row)))
            merger.write("resolve")
        return Resolved(following, wanted, self._written(merger))

    def _merger(self, *, bulk_loading: bool = False) -> Merger:
        return Merger(
            self._state,
            sync=self._sync,
            reconcile_context=self._reconcile_context,
            bulk_loading=bulk_loading,
            peer_pulls=self._peer_pulls,
        )

    def _written(self, merger: Merger) -> int:
        """Account for a batch that has been written. Return the number of entries that it re-stamped."""
        self.whole = self.whole and merger.whole
        self.changed = self.changed or merger.changed
        return len(merger.restamps)

    def _takes(self, row: IndexRow, doubt: int) -> bool:
        """Return whether the peer's entry of a key without a row here is to be fetched. `doubt`: see `doubt_of`."""
        resolution = resolve_remote_only(row.stamp, row.origin, row.deleted, self._reconcile_context.known, doubt)
        if resolution is Resolution.DOUBTFUL and self._peer_pulls:
            self.whole = False
            return False
        return resolution is not Resolution.KEEP

    def _resolve_local_only(self, merger: Merger, key: bytes, row: IndexRow) -> None:
        """Resolve a key that only this node has."""
        match resolve_local_only(row, self._reconcile_context):
            case Resolution.BURY:
                merger.bury_ours(key, row)
            case Resolution.RESTAMP:
                merger.restamp_ours(key, row)

    def _compare(self, merger: Merger, key: bytes, mine: bytes, row: bytes, doubt: int) -> bool:
        """Resolve a key for which both sides have a row. Return whether the peer's entry is to be fetched.

        It is fetched if it wins, or if it loses to a write that had not seen it: such a conflict is reported with the
        losing value, and the context is merged. It is not fetched if this node's row has seen it, or if the values are
        equal and there is no context to merge; then at most this node's row needs a new dot."""
        ours, theirs = decode_index(mine), decode_index(row)
        match resolve_both(ours, theirs, self._reconcile_context, doubt):
            case Resolution.TAKE:
                return True
            case Resolution.DOUBTFUL:
                self.whole = self.whole and not self._peer_pulls
                return not self._peer_pulls
            case resolution:
                unseen = lost_in_conflict(theirs.written_dot, ours.written_dot, ours.context)
                has_context = INDEX_HEAD.unpack_from(row)[2] & CONTEXT
                if unseen and (has_context or not same_value(ours, theirs)):
                    return True
                if unseen or resolution is not Resolution.KEEP:
                    merger.lose_row(key, ours, theirs)
        return False

    def _digest(self, key: bytes, mine: bytes, row: bytes) -> bytes:
        """Return the digest of this node's value if the peer's value may be the same and need not be sent, else b""."""
        _, _, our_flags, our_checksum = INDEX_HEAD.unpack_from(mine)
        _, _, flags, checksum = INDEX_HEAD.unpack_from(row)
        if (our_flags & DELETE, our_checksum) != (flags & DELETE, checksum):
            return b""
        value = self._state.db.get(key)
        return b"" if value is None else value_digest(value)

    # -- entries

    def take_entries(self, received: RangeEntriesReceived) -> Merged:
        state = self._state
        news: News = {}
        restamped = 0
        self.entries_in += len(received.entries)
        if received.lacking:
            self.whole = False
        if received.span is not None and self.whole:
            restamped += self._resolve_own(received.span, {entry[3] for _, entry in received.entries})
        if not received.entries:
            return Merged(news, restamped)
        present = received.entries
        if received.equal:
            completed = [self._completed(each, at in received.equal) for at, each in enumerate(received.entries)]
            present = [each for each in completed if each is not None]
        entries = iter(present)
        complete = False
        while not complete:
            with state.applying("reconciling with a peer"):
                merger = self._merger(bulk_loading=state.bulk_loading and received.span is not None)
                complete = merger.merge(entries, doubt_of(state, self._reconcile_context.theirs), in_order=False)
                if not state.bulk_load_incomplete:  # after a kill in a bulk load all rows are checked anyway
                    merger.touch([entry.key for _, entry in present])
                for origin, entry in present if complete else ():
                    merger.tx.raise_newest(origin, entry.stamp)
                merger.write("entries")
            restamped += self._written(merger)
            for origin, intervals in merger.news.items():
                news.setdefault(origin, []).extend(intervals)
        return Merged(news, restamped)

    def _resolve_own(self, span: tuple[bytes, bytes], theirs: set[bytes]) -> int:
        """Resolve the keys that only this node has in a range. Return the number of entries that were re-stamped.

        `span`: the range, as (low, high); `theirs`: all keys that the peer has in it."""
        state, low = self._state, span[0]
        restamped = 0
        more = True
        while more:
            with state.applying("reconciling with a peer"):
                merger = self._merger()
                more = False
                for count, (index_key, row) in enumerate(rows_of(state.rs, low, span[1])):
                    if count == RESOLVE_ROWS or merger.restamps.full:
                        more = True
                        break
                    key = index_key[len(INDEX) :]
                    if key not in theirs:
                        self._resolve_local_only(merger, key, decode_index(row))
                    low = key + b"\0"
                merger.write("resolve")
            restamped += self._written(merger)
        return restamped

    def report_count(self, count: int) -> int:
        """Return 0 for a small range of a bulk load, so that the peer sends all its entries, else `count`."""
        return 0 if self._bulk_loads and count <= BULK_LOAD_OWN_ROWS + BULK_LOAD_PREVIEW_ENTRIES else count

    def _completed(self, each: tuple[int, Entry], equal: bool) -> tuple[int, Entry] | None:
        """Return a received entry with its value, or None if this node's value has been overwritten since the fetch.

        `equal`: the peer left the value out, since it is equal to that of this node."""
        origin, entry = each
        if not equal:
            return each
        value = self._state.db.get(entry.key)
        if value is not None and crc32(value) == entry.checksum:
            return origin, entry._replace(value=value, record=entry.record + value)
        packed = self._state.rs.get(INDEX + entry.key)
        written = entry.written_dot(origin)
        order = order_of(written, entry.flags, entry.checksum, (entry.stamp, origin))
        row = None if packed is None else decode_index(packed)
        if row is None or order > order_of_row(row) or lost_in_conflict(written, row.written_dot, row.context):
            self.whole = False  # the entry must be fetched again, with its value
        return None

    # -- the end

    @property
    def their_vector(self) -> Vector:
        """The peer's vector as of the snapshot that is reconciled with."""
        return self._reconcile_context.theirs

    def adopt_vector(self) -> Vector:
        """Adopt the peer's vector, and, if we were stale, its horizon. Return the vector entries that moved.

        Adopt nothing and return {} if entries were left out. Raise StorageError."""
        state, reconcile_context = self._state, self._reconcile_context
        if not self.whole:
            return {}
        with state.applying("adopting a vector"):
            moved = newer(reconcile_context.theirs, state.vector)
            was_incomplete = state.bulk_load_incomplete
            if was_incomplete:
                # an open checks all rows only if the mark of the bulk load is there: before the mark is deleted, the
                # rows must be on the disk, and before them their values, which are not in the log
                state.flush_database()
            with Transaction(state, sync=self._sync or was_incomplete) as tx:
                adopt_vector(state, tx, moved, self._source, reconciled=True)
                raised = reconcile_context.stale and tx.raise_horizon(
                    self._their_horizon, reconcile_context.their_dropped
                )
            self.changed = self.changed or bool(moved or raised or was_incomplete)
            return moved


def _from_to(rows: list[KeyAndRow], low: bytes, high: bytes | None) -> list[KeyAndRow]:
    """Return the rows with low <= key < high; `high` None: up to the last row."""
    start = bisect_left(rows, low, key=lambda row: row[0])
    stop = len(rows) if high is None else bisect_left(rows, high, key=lambda row: row[0])
    return rows[start:stop]


def _side_by_side(ours: list[KeyAndRow], theirs: list[KeyAndRow]) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    """Yield (key, this node's row or None, the peer's row or b""), in order of keys."""
    rows = dict(theirs)
    own = dict(ours)
    for key in sorted(rows.keys() | own.keys()):
        yield key, own.get(key), rows.get(key, b"")
