"""Lowering of vectors after a loss, so that peers send the lost entries again."""

from level_replicator.core.version_vector import Vector, decode_vector, encode_vector
from level_replicator.storage.state.load import load_vectors
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_NEVER = 1 << 64
"""Above every stamp."""


def roll_back_vector(state: ReplicationState, durable: Vector) -> None:
    """After a power loss: lower the vector to `durable`, which was on the disk for sure, and forget unfinished scans.

    An entry of the vector that was lowered since `durable` was written is not raised again."""
    load_vectors(state)
    with Transaction(state) as tx:
        tx.forget_scans()
        for origin, stamp in state.vector.items():
            tx.lower_vector(origin, min(stamp, durable.get(origin, 0)))
        for origin in state.horizon:
            tx.lower_horizon(origin, min(state.vector.get(origin, 0), durable.get(origin, 0)))


def forget_entries(state: ReplicationState, lost: Vector) -> None:
    """Lower the vector below entries that are to be deleted because they are lost, so that peers send them again.

    `lost`: origin → stamp of the oldest of them. It is on the disk when this returns, before they are deleted: an
    interrupted repair may claim too little, never too much. The floor stays, since the log is whole above it. Entries
    of our present origin are left out: no other node can have them."""
    lost = {origin: stamp for origin, stamp in lost.items() if origin != state.origin}
    if not lost:
        return
    meta = state.meta
    changing_from = meta.changing_from
    if changing_from is not None:
        old, stamp = changing_from
        changing_from = (old, min(stamp, lost.get(old, _NEVER) - 1))
    # a power loss must not bring the claim back either
    durable = {
        origin: min(stamp, lost.get(origin, _NEVER) - 1) for origin, stamp in decode_vector(meta.durable).items()
    }
    with Transaction(state, sync=True) as tx:
        tx.interrupt_retention()
        tx.forget_scans()
        for origin, stamp in lost.items():
            if stamp <= state.vector.get(origin, 0):
                tx.lower_vector(origin, stamp - 1)
                if changing_from is None or origin != changing_from[0]:  # the end of the origin change lowers that one
                    tx.lower_horizon(origin, stamp - 1)
        tx.change_meta(
            changing_from=changing_from,
            durable=encode_vector({origin: stamp for origin, stamp in durable.items() if stamp}),
        )
