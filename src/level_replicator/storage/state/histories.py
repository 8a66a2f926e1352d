"""Load the histories of origins, and compare them with those of a peer.

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
    """Load histories, branches and the `written` stamps. Raises StorageError if a history cannot be read."""
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

    branches  branches that are new to this node, which must rename its entries of them
    forgot    True if the peer knows an epoch of our origin that this node does not, and this node has written nothing
              since
    ready     False if the peer has not yet renamed a branch that this node knows
    """

    branches: Branches
    forgot: bool
    ready: bool


def learn(state: ReplicationState, theirs: Histories, their_branches: Branches) -> Learned:
    """Compare a peer's histories with ours, and store epochs that are new to this node. The caller holds the lock.

    Raises RemoteProtocolError if this would exceed MAX_STORED_EPOCHS, and ENGINE_ERRORS."""
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
            f"with the peer's histories this node would store {epochs} epochs; the limit is {MAX_STORED_EPOCHS}"
        )
    if longer and not new:
        # synced, so that nothing that depends on it reaches the disk first
        with Transaction(state, sync=True) as tx:
            for origin, history in longer.items():
                tx.set_history(origin, history)
    return Learned(new, forgot, ready=names == dict(theirs))


def put_branches(state: ReplicationState, branches: Branches) -> None:
    """Store branches. Raises RemoteProtocolError if this would exceed MAX_BRANCHES."""
    new = {epoch: start for epoch, start in branches.items() if epoch not in state.branches}
    if (known := len(state.branches) + len(new)) > MAX_BRANCHES:
        raise RemoteProtocolError(
            f"with the peer's branches this node would store {known}; the limit is {MAX_BRANCHES}"
        )
    with Transaction(state, sync=True) as tx:
        for epoch, start in new.items():
            tx.add_branch(epoch, start)


def _reach(state: ReplicationState, origin: int) -> int:
    """Return the newest stamp of an origin that index or log may contain, as a dot or as *written*."""
    known = (state.vector, state.newest, state.floor, state.written)
    return max(stamps.get(origin, 0) for stamps in known)
