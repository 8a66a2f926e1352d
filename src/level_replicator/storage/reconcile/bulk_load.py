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
from level_replicator.storage.state.schema import BULK_LOADING, INDEX, encode_stamp, floor_key, log_range
from level_replicator.storage.state.state import ReplicationState

_BATCH_LINES = 1_000


def begin_bulk_load(state: ReplicationState, vector: Vector) -> None:
    """Raises the floor to what the peer knows, before the first of it comes; under the lock. What the log holds below
    that, of the newest entries that came before the bulk load, leaves it: a log has nothing under its floor."""
    # on the disk before the first value is: a power loss must not leave values that nothing tells of
    batch = state.rs.batch(sync=True)
    raised = {origin: max(stamp, state.floor.get(origin, 0)) for origin, stamp in vector.items()}
    raised.pop(state.origin, None)
    left = 0
    batch.put(BULK_LOADING, b"")
    for origin, stamp in raised.items():
        batch.put(floor_key(origin), encode_stamp(stamp))
        for key in state.rs.scan_keys(*log_range(origin, 0, stamp)):
            batch.delete(key)
            left += 1
    state.step("bulk load: before rs")
    batch.write()
    state.step("bulk load: after rs")
    state.floor = {**state.floor, **raised}
    state.entries -= left
    state.bulk_load_incomplete = True


def recover_bulk_load(state: ReplicationState) -> int:
    """After a kill in a bulk load: rows whose values did not come to be in the database go; they come again, since our
    vector does not claim them. The number of repairs."""
    repairs = count = 0
    rs_batch, db_batch = state.rs.batch(), state.db.batch()
    for key, row, value in side_by_side(state.rs, state.db):
        if row is None or agrees(row, value):
            continue
        logged = logged_entry(state.rs, key, row)
        put = None if logged is None else read_entry(logged).value
        if put is not None:
            db_batch.put(key, put)
        elif logged is None:
            rs_batch.delete(INDEX + key)
        else:
            db_batch.delete(key)
        repairs += 1
        count += 1
        if count == _BATCH_LINES:
            rs_batch.write()
            db_batch.write()
            rs_batch, db_batch, count = state.rs.batch(), state.db.batch(), 0
    rs_batch.write()
    db_batch.write()
    return repairs
