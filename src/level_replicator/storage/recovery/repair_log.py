"""Repair log and index, so that every row above the floor has its entry in the log, and every entry has its row.

Needed after a power loss, which may take any unsynced batches, not only the newest, and for a directory that was
copied. Peers send lost values again, since the vector is lowered or the keys are recorded as lost.
"""

from level_replicator.core.entry import INDEX_HEAD, decode_entry, decode_index, encode_index
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.merge import order_of, order_of_row
from level_replicator.storage.recovery.repairs import RepairBatches
from level_replicator.storage.state.index_scan import agrees
from level_replicator.storage.state.log_reader import logged_entry, read_entry, restore_entry
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from level_replicator.storage.state.state import ReplicationState


def repair_log(state: ReplicationState, *, forget: bool) -> int:
    """Make log and index agree, and return the number of repairs. For `forget` see RepairBatches.

    Rows without an entry are repaired first. A later batch that changed only a row may have survived the batch that
    logged its entry, and the row would hide an older entry that is still in the log."""
    repairs = _drop_damaged_entries(state) + _log_rows_again(state, forget=forget)
    batches = RepairBatches(state)
    repaired_rows: dict[bytes, bytes] = {}  # the scan does not see uncommitted rows
    for log_at, record in state.rs.scan(LOG, following(LOG)):
        stamp, origin = log_dot(log_at)
        entry = read_entry(record)
        packed = repaired_rows.get(entry.key) or state.rs.get(INDEX + entry.key)
        row = None if packed is None else decode_index(packed)
        if row is not None and row.dot == (stamp, origin):
            continue
        repairs += 1
        tx = batches.next()
        if row is not None:
            written = entry.written_dot(origin)
            if order_of_row(row) > order_of(written, entry.flags, entry.checksum, (stamp, origin)):
                tx.delete_log(origin, stamp)
                continue
            tx.delete_log(row.origin, row.stamp)
        new_row = encode_index(stamp, origin, entry.flags, entry.checksum, entry.context, written=entry.written)
        repaired_rows[entry.key] = new_row
        tx.put_row(entry.key, new_row)
    batches.flush()
    return repairs


def _drop_damaged_entries(state: ReplicationState) -> int:
    """Delete damaged log entries, and return their number. They may be made again from the database."""
    repairs = 0
    batches = RepairBatches(state)
    for log_at, record in state.rs.scan(LOG, following(LOG)):
        stamp, origin = log_dot(log_at)
        try:
            sound = decode_entry(record).stamp == stamp
        except RemoteProtocolError:
            sound = False
        if not sound:
            batches.next().delete_log(origin, stamp)
            repairs += 1
    batches.flush()
    return repairs


def _log_rows_again(state: ReplicationState, *, forget: bool) -> int:
    """Make the missing log entries of rows above the floor from the database, and return the number of missing ones.

    If the database does not have the value of the row, the entry is lost."""
    repairs = 0
    batches = RepairBatches(state, forget=forget)
    for index_key, row in state.rs.scan(INDEX, following(INDEX)):
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
        if stamp <= state.floor.get(origin, 0):
            continue
        key = index_key[len(INDEX) :]
        if logged_entry(state.rs, key, row) is not None:
            continue
        repairs += 1
        made = restore_entry(state.rs, state.db, key, row) if agrees(row, state.db.get(key)) else None
        if made is None:
            batches.next_lost(key, row)  # an entry of another key with this dot is damaged
        else:
            batches.next(len(made)).put_log(origin, stamp, made)
    batches.flush()
    return repairs
