"""Remote changes: each frame of a peer is merged, logged under its origin's stamps, and put into the database."""

from dataclasses import dataclass
from itertools import repeat

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.limits import MAX_OWN_VECTOR_ORIGINS
from level_replicator.core.version_vector import Vector, covers, newer
from level_replicator.protocol.events import EntriesReceived
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.merger import Merger, doubt_of


@dataclass(frozen=True, slots=True)
class Applied:
    """Result of applying a frame.

    moved  entries of the vector that moved
    news   origin → intervals of the log in which everything is new here, and is to be forwarded to other peers
    whole  False: a doubtful entry was left out, so the vector of this round must not be adopted
    restamped  number of entries of our own, under new dots, that the frame made necessary
    """

    moved: Vector
    news: dict[int, list[Interval]]
    whole: bool
    restamped: int = 0


class RemoteApplier:
    """Applies frames that a session has checked. `source`: the origin of the peer that sent them."""

    def __init__(self, state: ReplicationState, *, sync: bool) -> None:
        self._state = state
        self._sync = sync

    def apply(self, frame: EntriesReceived, source: int, source_vector: Vector, *, peer_pulls: bool = True) -> Applied:
        """Merge a frame. If it is the last of its round, and whole, adopt the round's vector in the same batch.

        `source_vector`: the peer's vector when the round began; `peer_pulls`: see Merger. Raise StorageError."""
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

    def adopt_vector(self, vector: Vector, source: int) -> Vector:
        """Adopt the vector of a complete round. Return the vector entries that moved. Raise StorageError."""
        state = self._state
        with state.applying("adopting a vector"):
            moved = newer(vector, state.vector)
            if moved or source in state.resume:
                with Transaction(state, sync=self._sync) as tx:
                    adopt_vector(state, tx, moved, source)
            return moved

    def _write(self, merger: Merger, frame: EntriesReceived, source: int, *, whole: bool) -> Vector:
        """Write one batch of a frame. Return the vector entries that moved. `whole`: all of the frame is applied
        now."""
        state, origin, tx = self._state, frame.origin, merger.tx
        tx.set_applied(origin, frame.low, frame.high)
        tx.raise_newest(origin, frame.high)
        moved: Vector = {}
        if whole and frame.adopt is not None:
            moved = newer(frame.adopt, state.vector)
            adopt_vector(state, tx, moved, source)
        elif whole and frame.low < frame.resumable:
            applied = Intervals(state.resume.get(source, {}).get(origin, ()))
            applied.add(frame.low, frame.resumable)
            tx.set_resume(source, origin, applied)
        merger.write("apply")
        return moved


def require_room(state: ReplicationState, vector: Vector) -> None:
    """Raise RemoteProtocolError if this node would know too many origins with those of a peer's vector."""
    if len(state.vector) + len(vector) > MAX_OWN_VECTOR_ORIGINS:
        origins = len(state.vector) + sum(origin not in state.vector for origin in vector)
        if origins > MAX_OWN_VECTOR_ORIGINS:
            raise RemoteProtocolError(f"with the peer's our vector would have {origins} origins")


def adopt_vector(
    state: ReplicationState, tx: Transaction, moved: Vector, source: int, *, reconciled: bool = False
) -> None:
    """Adopt entries of a peer's vector at the end of its scan, so that nothing of the scan is resumed.

    `reconciled`: it is the end of a whole reconciliation, and with that of any bulk load. Raise RemoteProtocolError if
    there would be too many entries."""
    require_room(state, moved)
    if state.bulk_load_incomplete and (reconciled or covers({**state.vector, **moved}, state.floor)):
        tx.end_bulk_load()
    for origin, stamp in moved.items():
        tx.set_vector(origin, stamp)
        state.clock.follow(stamp)
    tx.end_scan(source)
