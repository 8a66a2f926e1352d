"""The histories of origins in a replication set: what is stored, when an epoch begins, and what is learned of a peer.

See core.epochs. A history is stored before anything that comes after it: the epoch of this run in the batch of its
first write, what a peer tells before the first entry that it sends."""

from dataclasses import dataclass

from level_replicator.core.entry import Dot
from level_replicator.core.epochs import (
    Branches,
    Histories,
    History,
    decode_history,
    divided,
    encode_pairs,
    extended,
    meet,
)
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.core.limits import MAX_BRANCHES, MAX_TAKEN_EPOCHS
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.schema import (
    BRANCH,
    HISTORY,
    WRITTEN,
    branch_key,
    decode_stamp,
    encode_stamp,
    following,
    history_key,
    key_origin,
    written_key,
)
from level_replicator.storage.state.state import ReplicationState


def load_histories(state: ReplicationState) -> None:
    """Load histories and branches. Raises StorageError if they cannot be read."""
    try:
        state.histories = {
            key_origin(key): decode_history(line) for key, line in state.rs.scan(HISTORY, following(HISTORY))
        }
    except RemoteProtocolError as error:
        raise StorageError(
            f"the history of an origin cannot be read ({error}): restore the replica from a backup, or begin with an"
            " empty one"
        ) from error
    state.branches = {key_origin(key): decode_stamp(line) for key, line in state.rs.scan(BRANCH, following(BRANCH))}
    state.written = {key_origin(key): decode_stamp(line) for key, line in state.rs.scan(WRITTEN, following(WRITTEN))}


def put_epoch(state: ReplicationState, batch: Batch) -> None:
    """Add the beginning of this run's epoch to the batch of its first write."""
    if state.next_epoch:
        batch.put(history_key(state.origin), encode_pairs(_next_history(state)))


def epoch_begun(state: ReplicationState) -> None:
    """That batch is written; to be called before the vector moves. Does nothing if the epoch has begun before."""
    if state.next_epoch:
        state.histories = {**state.histories, state.origin: _next_history(state)}
        state.next_epoch = 0


def _next_history(state: ReplicationState) -> History:
    origin = state.origin
    return extended(state.histories.get(origin, ()), state.next_epoch, state.vector.get(origin, 0))


@dataclass(frozen=True, slots=True)
class Learned:
    """What a peer's histories showed.

    branches  those that this node did not know: it has to rename what it has of them
    forgot    the peer knows an epoch of our origin that we do not remember, and we have written nothing since
    ready     False if the peer does not yet call branches what they are called here
    """

    branches: Branches
    forgot: bool
    ready: bool


def learn(state: ReplicationState, theirs: Histories, their_branches: Branches) -> Learned:
    """Compare a peer's histories with ours, and store what is new in them; under the lock. Raises RemoteProtocolError
    if we would know too much with them."""
    new = {epoch: start for epoch, start in their_branches.items() if epoch not in state.branches}
    if new:
        return Learned(new, forgot=False, ready=False)  # what it has to say is compared under the new names
    names = divided(theirs, state.branches)
    forgot = False
    longer: dict[int, History] = {}
    for origin, history in names.items():
        ours = state.histories.get(origin, ())
        met = meet(ours, history, _reach(state, origin))
        new.update(met.branches)
        if met.history != ours and origin == state.origin:
            forgot = True
        elif met.history != ours:
            longer[origin] = met.history
    histories = {**state.histories, **longer}
    if longer and (epochs := sum(map(len, histories.values()))) > MAX_TAKEN_EPOCHS:
        raise RemoteProtocolError(
            f"with the peer's our histories would have {epochs} epochs, {MAX_TAKEN_EPOCHS} at most"
        )
    if longer and not new:
        # on the disk before anything that comes after it
        batch = state.rs.batch(sync=True)
        for origin, history in longer.items():
            batch.put(history_key(origin), encode_pairs(history))
        batch.write()
        state.histories = histories
    return Learned(new, forgot, ready=names == dict(theirs))


def put_branches(state: ReplicationState, branches: Branches) -> None:
    """Store branches. Raises RemoteProtocolError if they are too many."""
    known = {**branches, **state.branches}
    if len(known) > MAX_BRANCHES:
        raise RemoteProtocolError(f"with the peer's we would know {len(known)} branches, {MAX_BRANCHES} are allowed")
    batch = state.rs.batch(sync=True)
    for epoch, start in branches.items():
        batch.put(branch_key(epoch), encode_stamp(start))
    batch.write()
    state.branches = known


def _reach(state: ReplicationState, origin: int) -> int:
    """The newest stamp of an origin that index or log may have, in a dot or as a write that was re-stamped."""
    known = (state.vector, state.newest, state.floor, state.written)
    return max(stamps.get(origin, 0) for stamps in known)


def put_written(state: ReplicationState, batch: Batch, written: Dot) -> Vector:
    """Add to a batch that this write is here under another dot. Returns what is to be merged into `state.written` when
    the batch is written: nothing if as much is known.

    A fork may show in nothing but such a write, and it would be taken for one of the other continuation."""
    stamp, origin = written
    if stamp <= max(state.written.get(origin, 0), state.vector.get(origin, 0)):
        return {}
    batch.put(written_key(origin), encode_stamp(stamp))
    return {origin: stamp}
