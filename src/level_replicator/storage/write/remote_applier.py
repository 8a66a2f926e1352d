"""A remote change: merged, logged under its origin's stamp and put into the database, a frame a batch."""

from dataclasses import dataclass
from itertools import repeat

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.limits import MAX_TAKEN_ORIGINS
from level_replicator.core.version_vector import Vector, covers, newer
from level_replicator.protocol.events import EntriesReceived
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.schema import (
    APPLIED,
    BULK_LOADING,
    encode_applied,
    encode_intervals,
    encode_vector_entry,
    resume_key,
    vector_key,
)
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.write.merger import Merger, doubt_of


@dataclass(frozen=True, slots=True)
class Applied:
    """What a frame brought.

    moved  entries of the vector
    news   origin → intervals in which the log got something new, and only new things: these are for other peers
    whole  False: something doubtful was left out, so the vector of this round must not be adopted
    restamped  how many entries of our own, under new dots, it made necessary
    """

    moved: Vector
    news: dict[int, list[Interval]]
    whole: bool
    restamped: int = 0


class RemoteApplier:
    """Takes what sessions have checked. `source` is the origin of the peer that sent it."""

    def __init__(self, state: ReplicationState, *, sync: bool) -> None:
        self._state = state
        self._sync = sync

    def apply(self, frame: EntriesReceived, source: int, source_vector: Vector, *, peer_pulls: bool = True) -> Applied:
        """Merges a frame; takes the round's vector in the same batch if the frame is its last, and whole.

        `source_vector`: what the peer covered when the round began. `peer_pulls`: see Merger. Raises StorageError."""
        state = self._state
        entries = zip(repeat(frame.origin), frame.entries)
        news: dict[int, list[Interval]] = {}
        whole, restamped = True, 0
        while True:
            with state.applying("applying a peer's changes"):
                merger = Merger(state, sync=self._sync, peer_pulls=peer_pulls)
                complete = merger.merge(entries, doubt_of(state, source_vector))
                whole = whole and merger.whole
                moved = self._write(merger, frame, source, whole=whole and complete)
            restamped += len(merger.restamps)
            for origin, intervals in merger.news.items():
                news.setdefault(origin, []).extend(intervals)
            if complete:
                return Applied(moved, news, whole, restamped)

    def take(self, vector: Vector, source: int) -> Vector:
        """Takes over the vector of a complete round. Returns the vector entries that moved. Raises StorageError."""
        state = self._state
        with state.applying("taking over a vector"):
            moved = newer(vector, state.vector)
            if not moved and source not in state.resume:
                return {}
            batch = state.rs.batch(sync=self._sync)
            put_taken(state, batch, moved, source)
            batch.write()
            taken(state, moved, source)
            return moved

    def _write(self, merger: Merger, frame: EntriesReceived, source: int, *, whole: bool) -> Vector:
        """Write one batch of a frame. Returns the vector entries that moved. `whole`: all of the frame is applied
        now."""
        state, origin, rs_batch = self._state, frame.origin, merger.rs_batch
        rs_batch.put(APPLIED, encode_applied(origin, frame.low, frame.high))
        moved: Vector = {}
        resumed: Intervals | None = None
        take = frame.take if whole else None
        if take is not None:
            moved = newer(take, state.vector)
            put_taken(state, rs_batch, moved, source)
        elif whole and frame.low < frame.resumable:
            resumed = Intervals(state.resume.get(source, {}).get(origin, ()))
            resumed.add(frame.low, frame.resumable)
            rs_batch.put(resume_key(source, origin), encode_intervals(resumed))
        merger.write("apply")
        if frame.high > state.newest.get(origin, 0):
            state.newest[origin] = frame.high
        if resumed is not None:
            state.resume.setdefault(source, {})[origin] = resumed
        if take is not None:
            taken(state, moved, source)
        return moved


def require_room(state: ReplicationState, vector: Vector) -> None:
    """Raises RemoteProtocolError when we would know too many origins with those of a peer."""
    if len(state.vector) + len(vector) > MAX_TAKEN_ORIGINS:
        origins = len(state.vector) + sum(origin not in state.vector for origin in vector)
        if origins > MAX_TAKEN_ORIGINS:
            raise RemoteProtocolError(f"with the peer's our vector would have {origins} origins")


def put_taken(state: ReplicationState, batch: Batch, moved: Vector, source: int, *, reconciled: bool = False) -> None:
    """Put the entries of the vector, and the end of the source's scan. Raises RemoteProtocolError when they are too
    many.

    `reconciled`: it is the end of a whole reconciliation, and with that of any bulk load."""
    require_room(state, moved)
    if state.bulk_load_incomplete and (reconciled or covers({**state.vector, **moved}, state.floor)):
        batch.delete(BULK_LOADING)
    for origin, stamp in moved.items():
        batch.put(vector_key(origin), encode_vector_entry(stamp, state.vector.get(origin, 0)))
    for origin in state.resume.get(source, ()):
        batch.delete(resume_key(source, origin))


def taken(state: ReplicationState, moved: Vector, source: int, *, reconciled: bool = False) -> None:
    state.vector.update(moved)
    state.bulk_load_incomplete = state.bulk_load_incomplete and not (reconciled or covers(state.vector, state.floor))
    for origin, stamp in moved.items():
        state.clock.follow(stamp)
        if stamp > state.newest.get(origin, 0):
            state.newest[origin] = stamp
    state.resume.pop(source, None)
