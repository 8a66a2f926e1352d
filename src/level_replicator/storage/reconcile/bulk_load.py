"""Bulk load: a node that has no entries of other origins receives all entries of a peer, in order of keys.

LevelDB writes keys fastest in their order. The entries are not logged: the log would hold a second copy of each, in
order of stamps, for peers that rarely need it. Instead they are below a floor, like adopted data, and a peer that needs
them from this node reconciles. Until the bulk load is complete the floor is above the vector, and a peer whose vector
is below the floor is not served.

The replication set marks a bulk load until it is complete. If a bulk load breaks off, a plain reconciliation continues
it, and transfers only the entries that still differ.
"""

from level_replicator.core.limits import BULK_LOAD_SHARE
from level_replicator.core.version_vector import Vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.log_reader import logged_entry, read_entry
from level_replicator.storage.state.schema import log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_BATCH_ROWS = 1_000


def has_few_rows(rows: int, source_rows: int, own_rows: int) -> bool:
    """Return whether a node with this number of rows is bulk loaded from a peer with `source_rows` rows.

    A bulk load sends also the rows that the node already has, so there must be few. `own_rows`: their maximum."""
    return rows <= min(own_rows, source_rows // BULK_LOAD_SHARE)


def begin_bulk_load(state: ReplicationState, vector: Vector) -> None:
    """Raise the floor to the peer's vector before its first entry arrives. Call it with the lock of the state.

    Recent entries that a preview brought before are deleted from the log where the new floor covers them, since a log
    holds no entries below its floor. Raise ENGINE_ERRORS."""
    # synced before the first value is written: a power loss must not leave values without the mark of a bulk load
    with Transaction(state, name="bulk load", sync=True) as tx:
        tx.begin_bulk_load()
        for origin, stamp in vector.items():
            if origin == state.origin:
                continue
            tx.raise_floor(origin, stamp)
            for key in state.rs.scan_keys(*log_range(origin, 0, max(stamp, state.floor.get(origin, 0)))):
                tx.delete_log(origin, log_dot(key)[0])
                tx.entries -= 1


def recover_bulk_load(state: ReplicationState) -> int:
    """Repair the rows whose values are not in the database, after a kill in a bulk load. Return the number of repairs.

    A value is restored from its log entry. A row without one is deleted: a peer sends it again, since the vector of
    this node does not cover it."""
    repairs = count = 0
    tx = Transaction(state)
    for key, row, value in side_by_side(state.rs, state.db):
        if row is None or agrees(row, value):
            continue
        logged = logged_entry(state.rs, key, row)
        if logged is None:
            tx.delete_row(key)
        else:
            tx.put_value(key, read_entry(logged).value)
        repairs += 1
        count += 1
        if count == _BATCH_ROWS:
            tx.commit()
            tx, count = Transaction(state), 0
    tx.commit()
    return repairs
