"""Tombstones that are gone: the horizon, and how it moves.

No stamp of it is above the vector's: it says of what we know that we have dropped a part. A stamp above every
vector there is would make everybody stale for us, for ever.
"""

from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.schema import DROPPED, encode_stamp, horizon_key
from level_replicator.storage.state.state import ReplicationState


def put_horizon(state: ReplicationState, batch: Batch, horizon: Vector, dropped: int) -> Vector:
    """Adds to a batch that these tombstones are gone. Returns the stamps of the horizon that this raises."""
    raised = {origin: stamp for origin, stamp in horizon.items() if stamp > state.horizon.get(origin, 0)}
    for origin, stamp in raised.items():
        batch.put(horizon_key(origin), encode_stamp(stamp))
    if dropped > state.dropped:
        batch.put(DROPPED, encode_stamp(dropped))
    return raised


def lower_horizon(state: ReplicationState, batch: Batch, origin: int, stamp: int) -> None:
    """The vector of this origin goes back to `stamp`, so the horizon does."""
    if state.horizon.get(origin, 0) <= stamp:
        return
    if stamp:
        batch.put(horizon_key(origin), encode_stamp(stamp))
        state.horizon = {**state.horizon, origin: stamp}
    else:
        batch.delete(horizon_key(origin))
        state.horizon = {each: at for each, at in state.horizon.items() if each != origin}
