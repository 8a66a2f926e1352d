"""Lower the vector after a loss, so that peers send the lost entries again."""

from level_replicator.core.version_vector import Vector, decode_vector, encode_vector
from level_replicator.storage.state.load import load_vectors
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_NEVER = 1 << 64
"""Above every stamp."""


def roll_back_vector(state: ReplicationState, durable: Vector) -> None:
    """Lower the vector to `durable`, a vector whose entries were certainly on the disk, and forget unfinished scans.

    Needed after a power loss. An entry of the vector that was lowered after `durable` was written is not raised."""
    load_vectors(state)
    with Transaction(state) as tx:
        tx.forget_scans()
        for origin, stamp in state.vector.items():
            tx.lower_vector(origin, min(stamp, durable.get(origin, 0)))
        for origin in state.horizon:
            tx.lower_horizon(origin, min(state.vector.get(origin, 0), durable.get(origin, 0)))


def forget_entries(state: ReplicationState, lost: Vector) -> None:
    """Lower the vector below entries that are to be deleted because they are lost, so that peers send them again.

    `lost` maps origins to the oldest stamp of these entries. The lower vector is synced before the entries are deleted,
    so after an interruption it covers too little, never too much. The floor stays, since the log is complete above it.
    Entries of our present origin are left out: no other node can have them."""
    lost = {origin: stamp for origin, stamp in lost.items() if origin != state.origin}
    if not lost:
        return
    meta = state.meta
    changing_from = meta.changing_from
    if changing_from is not None:
        old, stamp = changing_from
        changing_from = (old, min(stamp, lost.get(old, _NEVER) - 1))
    # a later power loss must not raise the vector again
    durable = {
        origin: min(stamp, lost.get(origin, _NEVER) - 1) for origin, stamp in decode_vector(meta.durable).items()
    }
    with Transaction(state, sync=True) as tx:
        tx.interrupt_retention()
        tx.forget_scans()
        for origin, stamp in lost.items():
            if stamp <= state.vector.get(origin, 0):
                tx.lower_vector(origin, stamp - 1)
                if changing_from is None or origin != changing_from[0]:  # the end of the origin change lowers this one
                    tx.lower_horizon(origin, stamp - 1)
        tx.change_meta(
            changing_from=changing_from,
            durable=encode_vector({origin: stamp for origin, stamp in durable.items() if stamp}),
        )
