"""Bulk load: a node that knows nothing but its own writes is sent everything, in order of keys.

That is what a LevelDB takes most easily. The log would get a second copy of all of it, in an order of its own, for
readers that hardly ever come: so what a bulk load brings lies under a floor, as what is adopted does, and is not
logged; whoever needs it from here reconciles. Until the bulk load is complete the floor is above the vector: nobody
below it is served. A mark stays until it is complete; a bulk load that broke off goes on as a plain reconciliation,
which costs what still differs.
"""

from level_replicator.core.version_vector import Vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.log_reader import logged_entry, read_entry
from level_replicator.storage.state.schema import log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_BATCH_ROWS = 1_000


def begin_bulk_load(state: ReplicationState, vector: Vector) -> None:
    """Raises the floor to what the peer knows, before the first of it comes; under the lock. What the log holds below
    that, of the newest entries that came before the bulk load, leaves it: a log has nothing under its floor."""
    # on the disk before the first value is: a power loss must not leave values that nothing tells of
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
    """After a kill in a bulk load: rows whose values did not come to be in the database go; they come again, since our
    vector does not claim them. The number of repairs."""
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
