"""The histories of origins in a replication set: loading them, and comparing them with a peer's.

See core.epochs. A history is stored before anything that depends on it: the epoch of this run in the batch of its
first write, and what a peer knows before the first entry that it sends."""

from dataclasses import dataclass

from level_replicator.core.epochs import (
    Branches,
    Histories,
    History,
    compare_histories,
    decode_history,
    split_at_branches,
)
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.core.limits import MAX_BRANCHES, MAX_STORED_EPOCHS
from level_replicator.storage.state.schema import BRANCH, HISTORY, WRITTEN, decode_stamp, following, key_origin
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction


def load_histories(state: ReplicationState) -> None:
    """Load histories, branches and re-stamped writes. Raise StorageError if a history cannot be read."""
    rs = state.rs
    try:
        state.histories = {
            key_origin(key): decode_history(value) for key, value in rs.scan(HISTORY, following(HISTORY))
        }
    except RemoteProtocolError as error:
        raise StorageError(
            f"the history of an origin cannot be read ({error}): restore the replica from a backup, or begin with an"
            " empty one"
        ) from error
    state.branches = {key_origin(key): decode_stamp(value) for key, value in rs.scan(BRANCH, following(BRANCH))}
    state.written = {key_origin(key): decode_stamp(value) for key, value in rs.scan(WRITTEN, following(WRITTEN))}


@dataclass(frozen=True, slots=True)
class Learned:
    """Result of a comparison with a peer's histories.

    branches  branches that this node did not know: it has to rename the entries that it has of them
    forgot    the peer knows an epoch of our origin that we do not remember, and we have written nothing since
    ready     False if the peer has not yet renamed a branch that is known here
    """

    branches: Branches
    forgot: bool
    ready: bool


def learn(state: ReplicationState, theirs: Histories, their_branches: Branches) -> Learned:
    """Compare a peer's histories with ours, and store the epochs that are new here; under the lock.

    Raise RemoteProtocolError if this node would know too many epochs with them, and ENGINE_ERRORS."""
    new = {epoch: start for epoch, start in their_branches.items() if epoch not in state.branches}
    if new:
        return Learned(new, forgot=False, ready=False)  # the rest is compared under the new names
    names = split_at_branches(theirs, state.branches)
    forgot = False
    longer: dict[int, History] = {}
    for origin, history in names.items():
        ours = state.histories.get(origin, ())
        met = compare_histories(ours, history, _reach(state, origin))
        new.update(met.branches)
        if met.history != ours and origin == state.origin:
            forgot = True
        elif met.history != ours:
            longer[origin] = met.history
    histories = {**state.histories, **longer}
    if longer and (epochs := sum(map(len, histories.values()))) > MAX_STORED_EPOCHS:
        raise RemoteProtocolError(
            f"with the peer's our histories would have {epochs} epochs, {MAX_STORED_EPOCHS} at most"
        )
    if longer and not new:
        # on the disk before anything that comes after it
        with Transaction(state, sync=True) as tx:
            for origin, history in longer.items():
                tx.set_history(origin, history)
    return Learned(new, forgot, ready=names == dict(theirs))


def put_branches(state: ReplicationState, branches: Branches) -> None:
    """Store branches. Raise RemoteProtocolError if this node would know too many with them."""
    new = {epoch: start for epoch, start in branches.items() if epoch not in state.branches}
    if (known := len(state.branches) + len(new)) > MAX_BRANCHES:
        raise RemoteProtocolError(f"with the peer's we would know {known} branches, {MAX_BRANCHES} are allowed")
    with Transaction(state, sync=True) as tx:
        for epoch, start in new.items():
            tx.add_branch(epoch, start)


def _reach(state: ReplicationState, origin: int) -> int:
    """Return the newest stamp of an origin that index or log may have, in a dot or as a write that was re-stamped."""
    known = (state.vector, state.newest, state.floor, state.written)
    return max(stamps.get(origin, 0) for stamps in known)
