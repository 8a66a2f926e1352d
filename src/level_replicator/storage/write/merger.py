"""One transaction of merging: entries of peers, and own rows that a reconciliation resolved, go to index, log and
database.

The greatest entry of a key wins (core.merge). Two outcomes need an entry of our own in the same batch: a winner whose
dot is smaller than the loser's is re-stamped, and a put that a delete forgotten here had superseded is buried under a
tombstone. See storage.write.restamps.
"""

from collections.abc import Iterator
from zlib import crc32

from level_replicator.core.entry import (
    DELETE,
    INDEX_HEAD,
    RESTAMPED,
    Dot,
    Entry,
    IndexRow,
    decode_index,
    encode_dot,
    encode_index,
    index_contexts,
)
from level_replicator.core.intervals import Interval
from level_replicator.core.merge import (
    lost_in_conflict,
    order_of,
    order_of_row,
    overwrites,
    same_value,
    union_context,
)
from level_replicator.core.reconcile_rules import (
    ReconcileContext,
    dot_disagrees,
    is_doubtful,
    is_stale,
    is_superseded,
    is_superseded_at_peer,
    must_restamp,
)
from level_replicator.core.records import Change
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.storage.state.conflict_queue import Conflict
from level_replicator.storage.state.schema import INDEX, LOG, pack_log
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import forget_found, is_lost
from level_replicator.storage.write.restamps import Restamps

_pack_row = INDEX_HEAD.pack
_NOTHING_KNOWN: Vector = {}


class Merger:
    """One transaction, under the lock of the state from its construction to `write`.

    reconcile_context  of the reconciliation that it is part of, None in a round of the log
    bulk_loading  entries under the floor of keys that are new here are not logged (see storage.reconcile.bulk_load)
    peer_pulls  whether the peer pulls from us, and so re-stamps the entries that we leave out as doubtful; if not, we
                take them and re-stamp them ourselves
    tx          the transaction, for records that belong into the same batch
    whole       False when an entry was left out, so that the peer's vector must not be adopted
    changed     whether the batch, when it is written, took or re-stamped an entry
    news        origin → intervals of the log in which everything is new here
    """

    def __init__(
        self,
        state: ReplicationState,
        *,
        sync: bool,
        reconcile_context: ReconcileContext | None = None,
        bulk_loading: bool = False,
        peer_pulls: bool = True,
    ) -> None:
        self.whole = True
        self.changed = False
        self.news: dict[int, list[Interval]] = {}
        self.tx = Transaction(state, sync=sync)
        self.restamps = Restamps(state)
        self._state = state
        self._reconcile_context = reconcile_context
        self._known = _NOTHING_KNOWN if reconcile_context is None else reconcile_context.known
        self._bulk_loading = bulk_loading
        self._peer_pulls = peer_pulls
        self._keys = self._entries = 0  # by how much their numbers change
        self._conflicts: list[Conflict] = []
        self._met = 0  # number of conflicts, also of those that are not recorded
        self._touched: list[bytes] = []
        self._newest = 0
        self._found = False

    # -- entries of a peer

    def merge(self, entries: Iterator[tuple[int, Entry]], doubt: int, *, in_order: bool = True) -> bool:
        """Merge entries of different keys, each with its origin. Return False if some are left in the iterator, since
        the batch is full of re-stamped values.

        `in_order`: their stamps only grow, or only shrink, so that a run of new ones is one interval. `doubt`: see
        `doubt_of`."""
        state = self._state
        floor, vector = state.floor, state.vector
        get, is_new = state.rs.get, state.key_filter.is_new
        put, db = self.tx.rs.put, self.tx.db
        db_put = db.put
        bulk_loading, restamps = self._bulk_loading, self.restamps
        keys, newest = self._keys, self._newest
        low = high = 0  # the current run of consecutive new entries; high 0: there is none
        run_origin = 0
        complete = True
        for origin, entry in entries:
            stamp, flags, checksum, key, value, context, record, written = entry
            if stamp > newest:
                newest = stamp
            if written:
                self.tx.note_written(entry.written_dot(origin))
            index_key = INDEX + key
            plain = bulk_loading and not (flags or doubt) and vector.get(origin, 0) < stamp <= floor.get(origin, 0)
            if plain and is_new(key):
                put(index_key, _pack_row(stamp, origin, 0, checksum))
                db_put(key, value)  # type: ignore[arg-type]
                keys += 1
                continue
            live = False
            union = context
            row = None if is_new(key) else get(index_key)
            if row is None:
                self._keys = keys
                takes = self._takes_absent(origin, entry, doubt)
                keys = self._keys
                if not takes:
                    high = self._end(run_origin, low, high)
                    if restamps.full:
                        complete = False
                        break
                    continue
                if bulk_loading and stamp <= floor.get(origin, 0):
                    put(index_key, encode_index(stamp, origin, flags, checksum, context, written=written))
                    keys += value is not None
                    if value is not None:
                        db_put(key, value)
                    continue
                self._entries += 1
            else:
                self._keys = keys
                met = self._meet(origin, entry, row, doubt)
                keys = self._keys
                if met is None:
                    high = self._end(run_origin, low, high)
                    if restamps.full:
                        complete = False
                        break
                    continue
                union, live = met
            if not high or origin != run_origin or not in_order:
                self._end(run_origin, low, high)
                low, high, run_origin = stamp - 1, stamp, origin
            elif stamp > high:
                high = stamp
            else:
                low = stamp - 1
            if floor and stamp <= floor.get(origin, 0):
                self.tx.set_late()
            put(pack_log(LOG, origin, stamp), record)
            if union or flags:
                put(index_key, encode_index(stamp, origin, flags, checksum, union, context, written))
            else:  # as encode_index does it; a call costs as much as its work
                put(index_key, _pack_row(stamp, origin, 0, checksum))
            if value is None:
                db.delete(key)
                keys -= live
            else:
                db_put(key, value)
                keys += not live
        self._end(run_origin, low, high)
        self._keys, self._newest = keys, newest
        return complete

    def _end(self, origin: int, low: int, high: int) -> int:
        """Close the current run of new entries. Returns 0, the `high` of no run."""
        if high:
            self.news.setdefault(origin, []).append((low, high))
        return 0

    def _takes_absent(self, origin: int, entry: Entry, doubt: int) -> bool:
        """Return whether an entry of a key without a row here is to be taken. If not, nothing is left to do for it."""
        stamp, known, vector = entry.stamp, self._known, self._state.vector
        if known and stamp <= known.get(origin, 0):
            return False  # we had it, and dropped its tombstone
        if entry.value is None:
            # of our own deletes we forget only those that need no tombstone any more
            return origin != self._state.origin or stamp > vector.get(origin, 0)
        doubtful = bool(doubt) and is_doubtful(stamp, False, doubt)
        if doubtful and self._peer_pulls:
            self.whole = False
            return False
        written = entry.written_dot(origin)
        if is_superseded(written, vector):
            self._restamp(entry.key, None, entry.context, written, live=False)
        elif doubtful:
            self._restamp(entry.key, entry.value, entry.context, written, live=False)
        else:
            return True
        return False

    def _meet(self, origin: int, entry: Entry, row: bytes, doubt: int) -> tuple[bytes, bool] | None:
        """Merge an entry with the row of its key. Return the context of the new row, and whether the key was live, if
        the entry is to be taken as it is; None if nothing is left to do for it."""
        state = self._state
        stamp, key, value = entry.stamp, entry.key, entry.value
        old_stamp, old_origin, old_flags, old_checksum = INDEX_HEAD.unpack_from(row)
        if stamp == old_stamp and origin == old_origin:
            if key in state.lost and value is not None and entry.checksum == old_checksum and is_lost(state, key):
                self._find(key, value, row)
            return None
        restamped = entry.written or old_flags & RESTAMPED
        if not restamped and stamp > old_stamp:
            written, old_written = (stamp, origin), (old_stamp, old_origin)
            old_union = index_contexts(row)[1]
        else:
            old = decode_index(row)
            written, old_written, old_union = entry.written_dot(origin), old.written_dot, old.context
            if order_of(written, entry.flags, entry.checksum, (stamp, origin)) < order_of_row(old):
                self._lose(key, old, (stamp, origin), written, entry)
                return None
        doubtful = bool(doubt) and is_doubtful(stamp, value is None, doubt) and stamp > self._known.get(origin, 0)
        if doubtful and self._peer_pulls:
            self.whole = False
            return None
        live = not old_flags & DELETE
        union = union_context(written, entry.context, old_written, old_union)
        same_write = written == old_written
        if value is not None and not same_write and is_superseded(written, state.vector):
            # a delete that is forgotten here was greater than this put, and all copies of it are to disappear
            self.tx.overwrite(old_origin, old_stamp)
            self._restamp(key, None, union, written, live=live)
            return None
        conflict = not same_write and not overwrites(written, entry.context, old_written)
        conflict = conflict and not same_value(entry, decode_index(row))
        self._met += conflict
        if conflict and state.unreported.wanted:
            loser = _change(key, state.db.get(key) if live else None, old_written)
            self._conflicts.append(Conflict(key, _change(key, value, written), loser))
        if doubtful or dot_disagrees((stamp, origin), (old_stamp, old_origin)):
            self.tx.overwrite(old_origin, old_stamp)
            self._restamp(key, value, union, written, live=live)
            return None
        self._entries += 1
        self.tx.overwrite(old_origin, old_stamp)
        return union, live

    def _find(self, key: bytes, value: bytes, packed: bytes) -> None:
        """Take a value that was lost here (see storage.write.lost)."""
        row = decode_index(packed)
        self._found = True
        self.tx.overwrite(row.origin, row.stamp)
        self._restamp(key, value, row.context, row.written_dot, live=True)

    def _lose(self, key: bytes, row: IndexRow, dot: Dot, written: Dot, entry: Entry) -> None:
        """Deal with an entry that loses to our row."""
        conflict = lost_in_conflict(written, row.written_dot, row.context) and not same_value(entry, row)
        self._met += conflict
        if conflict and self._state.unreported.wanted:
            winner = _change(key, self._state.db.get(key), row.written_dot)
            self._conflicts.append(Conflict(key, winner, _change(key, entry.value, written)))
        self._lost(key, row, dot, written, union_context(row.written_dot, row.context, written, entry.context))

    def _lost(self, key: bytes, row: IndexRow, dot: Dot, written: Dot, union: bytes) -> None:
        """Deal with our row after the entry with this dot, which carries the write `written`, has lost to it: it
        reflects `union` now, and may have to travel again, or become a tombstone."""
        if self._reconcile_context is not None and is_superseded_at_peer(row, written, self._reconcile_context):
            self.bury_ours(key, row, union)
        elif must_restamp(row, dot, self._reconcile_context):
            self.restamp_ours(key, row, union)
        elif union != row.context:
            merged = encode_index(row.stamp, row.origin, row.flags, row.checksum, union, row.own, row.written)
            self.tx.put_row(key, merged)

    # -- own rows, in a reconciliation

    def lose_row(self, key: bytes, ours: IndexRow, theirs: IndexRow) -> None:
        """Deal with a peer's row that loses to ours, and has no context that ours has not seen."""
        if theirs.stamp > self._newest:
            self._newest = theirs.stamp
        union = union_context(ours.written_dot, ours.context, theirs.written_dot, b"")
        self._lost(key, ours, theirs.dot, theirs.written_dot, union)

    def restamp_ours(self, key: bytes, row: IndexRow, context: bytes | None = None) -> None:
        """Re-stamp our row. If its value is damaged the pull is not whole; `verify` reports and repairs it."""
        value = None
        if not row.deleted:
            value = self._state.db.get(key)
            if value is None or crc32(value) != row.checksum:
                self.whole = False
                return
        self.tx.overwrite(row.origin, row.stamp)
        self._entries += 1
        written = encode_dot(*row.written_dot)
        self.restamps.add(key, value, row.context if context is None else context, written)

    def bury_ours(self, key: bytes, row: IndexRow, context: bytes | None = None) -> None:
        """Replace our put by a tombstone: the peer deleted it, and has dropped the tombstone since."""
        self.tx.overwrite(row.origin, row.stamp)
        self._restamp(key, None, row.context if context is None else context, row.written_dot, live=True)

    # -- both

    def _restamp(self, key: bytes, value: bytes | None, context: bytes, written: Dot, *, live: bool) -> None:
        self.restamps.add(key, value, context, encode_dot(*written))
        self._entries += 1
        self.tx.put_value(key, value)
        self._keys += (value is not None) - live

    def touch(self, keys: list[bytes]) -> None:
        """Bring these keys in line with the index after a kill: the log may know nothing of them."""
        self._touched.extend(keys)

    def write(self, step: str) -> None:
        """Commit the transaction. `step`: name of its crash points."""
        state, tx = self._state, self.tx
        state.clock.follow(self._newest)
        self.restamps.put_into(tx)
        tx.record_conflicts(self._conflicts)
        if self._touched:
            tx.set_touched(self._touched)
        tx.keys += self._keys
        tx.entries += self._entries
        tx.commit(step, both=True)
        self.changed = bool(self.news or self.restamps or self._keys)
        state.conflicts += self._met
        if self._found:
            forget_found(state)


def _change(key: bytes, value: bytes | None, written: Dot) -> Change:
    return Change(key, value, origin_name(written[1]), written[0])


def doubt_of(state: ReplicationState, peer_vector: Vector) -> int:
    """Return the stamp up to which a put of this peer may be older than a tombstone that was dropped here; 0 if the
    peer has missed none. It may rise during a round, since retention goes on meanwhile."""
    return state.dropped if state.horizon and is_stale(peer_vector, state.horizon) else 0
