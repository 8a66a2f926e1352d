"""Repair the database, so that it holds the values of the index rows.

Needed after a power loss, which may take any unsynced batches, not only the newest, and for a directory that was
copied or exchanged.
"""

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_index, encode_dot, encode_entry, encode_index
from level_replicator.storage.recovery.repairs import RepairBatches
from level_replicator.storage.recovery.replay import touched_keys
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.log_reader import logged_entry, read_entry
from level_replicator.storage.state.schema import INDEX, following
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction


def repair_database(state: ReplicationState, *, torn: bool, forget: bool) -> int:
    """Make the database hold the values of the index rows, and return the number of repairs. Call `repair_log` first.

    A value that neither log nor database have is lost; for `forget` see RepairBatches. A key that the index lacks
    becomes the oldest possible write: it loses to every other write of the key that a node remembers, and is kept if no
    node remembers one. It is deleted instead in two cases: it comes from an incomplete bulk load, or tombstones were
    dropped before a power loss.

    `torn` is True after a power loss. An entry leaves the log only after its value was synced. So if the database has
    another value than the row, it belongs to a later write whose entry was lost; the value stays, with the *written* of
    the write that it replaced. If the database has no value, the entry of a delete was lost. Then a tombstone is
    written just below the lost row: no older value appears, but a peer can bring the value itself."""
    repairs = 0
    batches = RepairBatches(state, forget=forget)
    writes = _NewWrites(state, batches)
    taken_away = set(touched_keys(state))
    for key, row, value in side_by_side(state.rs, state.db):
        if row is not None and agrees(row, value):
            continue
        repairs += 1
        if row is None:
            # A bulk load sends its values again. After a power loss the value may be of an unsynced write whose entry
            # is lost. As a new write it could survive a delete that had seen it, and that no node remembers any more.
            # If a peer has the write, the peer sends it.
            if key in taken_away or (torn and (state.bulk_load_incomplete or state.dropped)):
                batches.next().put_value(key, None)
            else:
                assert value is not None
                writes.write_oldest(key, value)
            continue
        if INDEX_HEAD.unpack_from(row)[2] & DELETE:
            batches.next().put_value(key, None)
            continue
        logged = logged_entry(state.rs, key, row)
        if logged is not None:
            batches.next(len(logged)).put_value(key, read_entry(logged).value)
        elif torn and value is not None:
            writes.write_above(key, row, value)
        elif batches.next_lost(key, row):
            if value is not None:
                writes.write_oldest(key, value)
            elif torn:
                writes.write_below(key, row)
    batches.flush()
    writes.cover()
    return repairs


class _NewWrites:
    """Writes of the new origin that replace rows, or that adopt keys which the index lacks."""

    def __init__(self, state: ReplicationState, batches: RepairBatches) -> None:
        self._state = state
        self._batches = batches
        self._begin = self._oldest = state.vector.get(state.origin, 0)
        self._newest = 0
        self._taken: set[int] | None = None

    def write_oldest(self, key: bytes, value: bytes) -> None:
        """Write a value as the oldest possible write: the new origin begins with the smallest stamps."""
        self._oldest += 1
        tx = self._write(key, value, self._oldest, b"")
        tx.set_vector(self._state.origin, self._oldest, replay_above=self._begin)

    def write_above(self, key: bytes, packed: bytes, value: bytes) -> None:
        """Write a value whose entry is lost in the place of the write that it replaced, and had seen: under a new dot,
        with the `written` of that write.

        So every write that had seen the value, and thus the write that it replaced, wins over it. As a write of its own
        it would outlive a delete that had seen it. Where another node still has the replaced write, the order of their
        checksums decides, the same everywhere: the value was not synced."""
        row = decode_index(packed)
        self._write(key, value, self._free(row.stamp, 1), row.context, encode_dot(*row.written_dot))

    def write_below(self, key: bytes, row: bytes) -> None:
        """Write a tombstone just below a row that is lost."""
        at, _ = decode_index(row).written_dot
        stamp = self._free(at, -1)
        if stamp:
            self._write(key, None, stamp, b"")

    def cover(self) -> None:
        """Raise the vector over all of these writes, after they are committed."""
        newest = max(self._oldest, self._newest)
        if newest > self._begin:
            with Transaction(self._state) as tx:
                tx.set_vector(self._state.origin, newest, replay_above=self._begin)

    def _free(self, stamp: int, step: int) -> int:
        """Return the nearest stamp, in the direction of `step`, that no other entry of the new origin has or gets."""
        if self._taken is None:
            self._taken = self._stamps_in_use()
        stamp += step
        while stamp in self._taken:
            stamp += step
        self._taken.add(stamp)
        return stamp

    def _write(self, key: bytes, value: bytes | None, stamp: int, own: bytes, written: bytes = b"") -> Transaction:
        state = self._state
        self._newest = max(self._newest, stamp)
        record, flags, checksum = encode_entry(stamp, key, value, own, written)
        tx = self._batches.next(len(record))
        tx.put_log(state.origin, stamp, record)
        tx.put_row(key, encode_index(stamp, state.origin, flags, checksum, own, written=written))
        return tx

    def _stamps_in_use(self) -> set[int]:
        """Return the stamps of the new origin, and of the old one, whose entries it may take over with their stamps."""
        state = self._state
        old = 0 if state.meta.changing_from is None else state.meta.changing_from[0]
        dots = (INDEX_HEAD.unpack_from(row)[:2] for _, row in state.rs.scan(INDEX, following(INDEX)))
        return {stamp for stamp, origin in dots if origin in (old, state.origin)}
