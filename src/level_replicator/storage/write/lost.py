"""Values that are lost on this node, and wait to come back from a peer.

An audit, or the opening of a copy, may find an index row without a value: it is damaged on the disk, or missing in the
copy, and the log does not hold it either. The vector covers the write, so no peer would send it again. To lower the
vector would be wrong: it covers later writes of the same origin, too, among them deleted ones of which all tombstones
are gone, and these would come back. So the row stays as it is, and the key is recorded on the disk as lost. Until the
value is here again

- each pull of this node asks for a reconciliation, in which its side of the index lacks the lost keys: the peer's rows
  of them differ, and are fetched, whatever the vector covers (storage.reconcile.initiator, storage.reconcile.resolver,
  storage.write.merger);
- peers that lack the write are not served the log, which has no entry of it, but reconcile, and get it elsewhere;
- a write of the key, local or remote, replaces it as any other row.

A value that comes back travels again under a new dot, as after a re-stamp: readers of the changes feed that have passed
its old one without it, and peers, get it as a change.

A second audit with repair gives up the values that no peer has brought by then (storage.maintenance.verify).
"""

from level_replicator.core.entry import DELETE, INDEX_HEAD, Dot, Entry
from level_replicator.core.limits import MAX_LOST_KEYS
from level_replicator.core.version_vector import Vector
from level_replicator.storage.state.index_scan import agrees
from level_replicator.storage.state.log_reader import row_from_log
from level_replicator.storage.state.schema import INDEX, LOST, following
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction


def load_lost(state: ReplicationState) -> None:
    """Load the keys whose values are still lost, and forget the others."""
    lost: dict[bytes, Dot] = {}
    with Transaction(state) as tx:
        for lost_key in state.rs.scan_keys(LOST, following(LOST)):
            key = lost_key[len(LOST) :]
            dot = lost_dot(state, key)
            if dot is None:
                tx.remove_lost(key)
            else:
                lost[key] = dot
        tx.load_lost(lost)


def has_room(state: ReplicationState, keys: int = 1) -> bool:
    """Return whether so many more keys may be recorded as lost."""
    return len(state.lost) + keys <= MAX_LOST_KEYS


def lost_dot(state: ReplicationState, key: bytes) -> Dot | None:
    """Return the dot of the key's index row if it names a value that the database does not have, else None."""
    row = state.rs.get(INDEX + key)
    if row is None or INDEX_HEAD.unpack_from(row)[2] & DELETE or agrees(row, state.db.get(key)):
        return None
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
    return stamp, origin


def is_lost(state: ReplicationState, key: bytes) -> bool:
    """Return whether the index has a row of the key, and the database does not have its value."""
    return lost_dot(state, key) is not None


def restore_row(state: ReplicationState, tx: Transaction, key: bytes, row: bytes) -> Entry | None:
    """Replace an index row that is damaged, if the log holds a sound entry of the key under its dot, and put the
    entry's value into the database. Return the entry, None if there is none."""
    made = row_from_log(state.rs, key, row)
    if made is None:
        return None
    new_row, entry = made
    tx.put_row(key, new_row)
    tx.put_value(key, entry.value)
    return entry


def record_lost(tx: Transaction, key: bytes, row: bytes) -> None:
    """Record the key of a row as lost. If the log holds anything under its dot, that is damaged, and is deleted."""
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
    tx.delete_log(origin, stamp)
    tx.add_lost(key, (stamp, origin))


def forget_found(state: ReplicationState) -> None:
    """Forget the lost keys whose values are here again, or were replaced; under the lock."""
    found = [key for key in state.lost if not is_lost(state, key)]
    if found:
        with Transaction(state) as tx:
            for key in found:
                tx.remove_lost(key)


def lacks_lost(state: ReplicationState, vector: Vector) -> bool:
    """Return whether a node with this vector may lack a write whose value is lost here."""
    return any(stamp > vector.get(origin, 0) for origin, stamp in state.lost_stamps.items())
