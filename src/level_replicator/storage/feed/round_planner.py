"""Decides how a peer is served next: with a round of the log, with a preview of it, or with a reconciliation.

A round is all that one snapshot of the log holds and the peer does not have. The log does not serve a peer that is
below its floor, nor one that has missed tombstones which were dropped here: such a peer reconciles with a snapshot of
the index. A peer that knows only its own writes is sent only the newest entries, as a preview, and then
reconciles: a bulk load. Floor and horizon are compared before every round, since retention raises them at any time.
"""

from dataclasses import dataclass

from level_replicator.core.intervals import Intervals
from level_replicator.core.limits import BULK_LOAD_MIN_ENTRIES, BULK_LOAD_OWN_ROWS
from level_replicator.core.reconcile_rules import is_stale
from level_replicator.core.version_vector import Vector
from level_replicator.storage.feed.send_queue import RoundReader, SendQueue
from level_replicator.storage.reconcile.bulk_load import has_few_rows
from level_replicator.storage.reconcile.responder import Responder
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.tail import TailReader
from level_replicator.storage.write.lost import lacks_lost


@dataclass(frozen=True, slots=True)
class Round:
    """A round to send. `reader`: of its snapshot, to be closed; `target`: the vector entries to adopt at its end;
    `work`: origin → intervals to read; `preview`: only the newest entries are to be sent, then a bulk load begins."""

    reader: RoundReader | TailReader
    target: Vector
    work: dict[int, Intervals]
    preview: bool


@dataclass(frozen=True, slots=True)
class ReconcileOffer:
    """A snapshot for a peer to reconcile with. `responder`: answers its queries, to be closed; `vector`, `horizon`,
    `dropped` (the newest dropped tombstone) and `rows` (live keys): of this node in the snapshot."""

    responder: Responder
    vector: Vector
    horizon: Vector
    dropped: int
    rows: int


class RoundPlanner:
    """Plans for all peers of one replica.

    bulk_load_min_entries  entries in the log from which a bulk load may replace the first round
    bulk_load_own_rows     rows up to which a peer, or this node, may be bulk loaded
    """

    def __init__(self, state: ReplicationState) -> None:
        self.bulk_load_min_entries = BULK_LOAD_MIN_ENTRIES
        self.bulk_load_own_rows = BULK_LOAD_OWN_ROWS
        self._state = state

    def has_work(self, send_queue: SendQueue) -> bool:
        """Whether the peer of the send queue is to be sent anything."""
        return send_queue.has_work(self._state)

    def has_own_work(self, send_queue: SendQueue) -> bool:
        """Whether the peer is to be sent writes of this node, or its first round."""
        return send_queue.has_own_work(self._state)

    def open_next(
        self, send_queue: SendQueue, peer_vector: Vector, peer_horizon: Vector
    ) -> Round | ReconcileOffer | None:
        """Open a snapshot of what the peer of the send queue is to be sent next.

        None in two cases: this node has missed tombstones that the peer has dropped, and the peer none of ours, so this
        node pulls from it first; or this node is in a bulk load itself, and the peer needs some of that, which it is
        sent after the bulk load."""
        state = self._state
        with state.lock:
            missed = _missed_tombstones(state, send_queue, peer_vector)
            if not missed and is_stale(state.vector, peer_horizon):
                return None
            behind = missed or _below_floor(state, send_queue, peer_vector) or lacks_lost(state, peer_vector)
            if behind and state.bulk_loading:
                return None
            if behind or send_queue.must_reconcile:
                return self._offer(send_queue.open_reconciliation(state), compare_only=False)
            first = not send_queue.began
            target, work = send_queue.open(state, peer_vector)
            preview = first and self._may_bulk_load(send_queue, peer_vector)
            return Round(_reader(state, work, live=not first), target, work, preview)

    def open_comparison(self) -> ReconcileOffer:
        """Open a snapshot for a peer that compares its index with ours and changes nothing."""
        with self._state.lock:
            return self._offer(dict(self._state.vector), compare_only=True)

    def _may_bulk_load(self, send_queue: SendQueue, peer_vector: Vector) -> bool:
        """Whether a bulk load costs the peer less than the log: it knows only its own writes, and few of them."""
        state = self._state
        knows_only_itself = peer_vector.keys() <= {send_queue.source}
        has_few = has_few_rows(send_queue.rows, state.keys, self.bulk_load_own_rows)
        return knows_only_itself and has_few and state.entries >= self.bulk_load_min_entries

    def _offer(self, vector: Vector, *, compare_only: bool) -> ReconcileOffer:
        state = self._state
        responder = Responder(state.rs.snapshot(), state.db.snapshot(), compare_only=compare_only)
        return ReconcileOffer(responder, vector, dict(state.horizon), state.dropped, state.keys)


def _reader(state: ReplicationState, work: dict[int, Intervals], *, live: bool) -> RoundReader | TailReader:
    """A round of nothing but the newest local writes is read from memory."""
    if live and work.keys() == {state.origin}:
        low, _ = work[state.origin].hull()
        if low >= state.tail.since:
            return TailReader(state.tail.above(low))
    return RoundReader(state.rs.snapshot())


def _missed_tombstones(state: ReplicationState, send_queue: SendQueue, peer_vector: Vector) -> bool:
    return any(send_queue.covered(origin, peer_vector) < stamp for origin, stamp in state.horizon.items())


def _below_floor(state: ReplicationState, send_queue: SendQueue, peer_vector: Vector) -> bool:
    return any(send_queue.covered(origin, peer_vector) < stamp for origin, stamp in state.floor.items())
