"""Values that are lost on this node, and wait to come back from a peer.

An audit, or the opening of a copy, may find an index row whose value is nowhere: damaged on the disk, or left out of
the copy. The vector covers the write, so no peer would send it again. To lower the vector would be wrong: it covers
later writes of the same origin, too, among them deleted ones of which all tombstones are gone, and these would come
back. So the row stays as it is, and the key is written down, on the disk, as lost. Until the value is here again

- each pull of this node asks for a reconciliation, in which its side of the index lacks the lost keys: the peer's rows
  of them differ, and are fetched, whatever the vector covers (storage.reconcile.initiator, storage.reconcile.resolver,
  storage.write.merger);
- peers that lack the write are not served the log, which has no entry of it, but reconcile, and get it elsewhere;
- a write of the key, local or remote, replaces it as any other row.

A value that comes back travels again under a new dot, as after a re-stamp: readers of the changes feed that have passed
its old one without it, and peers, get it as a change.

A second audit with repair gives up what no peer has brought by then (storage.maintenance.verify).
"""

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.limits import MAX_LOST_KEYS
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.index_scan import agrees
from level_replicator.storage.state.schema import INDEX, LOST, following
from level_replicator.storage.state.state import ReplicationState


def load_lost(state: ReplicationState) -> None:
    """Load the keys whose values are still lost, and forget the others."""
    state.lost = frozenset()
    state.lost_stamps = {}
    batch = state.rs.batch()
    for lost_key in state.rs.scan_keys(LOST, following(LOST)):
        key = lost_key[len(LOST) :]
        if is_lost(state, key):
            note_lost(state, key)
        else:
            batch.delete(lost_key)
    batch.write()


def has_room(state: ReplicationState, keys: int = 1) -> bool:
    """Return whether so many more keys may be written down as lost."""
    return len(state.lost) + keys <= MAX_LOST_KEYS


def put_lost(batch: Batch, key: bytes) -> None:
    """Add to a batch that the value of a key is lost. To be followed by `note_lost` when it is written."""
    batch.put(LOST + key, b"")


def note_lost(state: ReplicationState, key: bytes) -> None:
    """The value of a key is lost; under the lock."""
    line = state.rs.get(INDEX + key)
    assert line is not None
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(line)
    state.lost |= {key}
    state.lost_stamps = {**state.lost_stamps, origin: max(stamp, state.lost_stamps.get(origin, 0))}


def is_lost(state: ReplicationState, key: bytes) -> bool:
    """Return whether the index has a row of the key, and the database not its value."""
    line = state.rs.get(INDEX + key)
    if line is None or INDEX_HEAD.unpack_from(line)[2] & DELETE:
        return False
    return not agrees(line, state.db.get(key))


def forget_found(state: ReplicationState) -> None:
    """Forget the keys whose values are here again, or were replaced; under the lock."""
    found = [key for key in state.lost if not is_lost(state, key)]
    if not found:
        return
    batch = state.rs.batch()
    for key in found:
        batch.delete(LOST + key)
    batch.write()
    state.lost = state.lost.difference(found)
    if not state.lost:
        state.lost_stamps = {}


def lacks_lost(state: ReplicationState, vector: Vector) -> bool:
    """Return whether somebody with this vector may lack a write whose value is lost here."""
    return any(stamp > vector.get(origin, 0) for origin, stamp in state.lost_stamps.items())
