"""What we pull from a peer, over one link, and when it has to wait or to begin again."""

import logging
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from level_replicator.core.errors import RemoteProtocolError, ReplicationError
from level_replicator.core.limits import RECONCILE_STALL_MS, STALL_MS
from level_replicator.core.reconcile_rules import stale
from level_replicator.core.version_vector import Vector, covers, newer, origin_name
from level_replicator.protocol.events import (
    EntriesReceived,
    RangeAnswered,
    RangeEntriesReceived,
    ReconcileStarted,
    RoundCompleted,
)
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.peers import PeerState
from level_replicator.replication.pull_backoff import PullBackoff, RetryReason, situation_of
from level_replicator.storage.reconcile.comparison import Comparison, Difference
from level_replicator.storage.reconcile.initiator import Initiator
from level_replicator.storage.reconcile.resolver import News, Resolver

if TYPE_CHECKING:
    from level_replicator.replication.peer_connection import PeerConnection

_log = logging.getLogger("level_replicator.runtime")
_LOOKS = 20
"""How often it is looked whether a pull stands still, in STALL_MS."""


class WaitReason(Enum):
    """What a pull waits for."""

    ANOTHER = "another reconciliation of this node to end"
    OWN = "this node's reconciliation with the peer to end"
    PEER = "the peer's reconciliation with this node to end (the peer missed deletions)"
    ROUND = "the first round of the peer's log to end"
    CHANGES = "changes that the peer has"
    AGAIN = "a retry"


class Puller:
    """Of one link. `walking`: a walk of ours is under way on it.

    A pull that had to leave something doubtful out begins anew after a while: by then the peer, which missed tombstones
    that we have dropped, may have pulled from us. A walk begins later if the last one changed nothing and nothing has
    changed since (see PullBackoff), or when the one that is under way with another peer has ended."""

    def __init__(self, connection: "PeerConnection") -> None:
        self._connection = connection
        self._held = True
        self._queued = False
        self._whole = True
        self._brought = False
        self._again_ms: int | None = None
        self._situation = 0
        self._lacking = False
        self._waiting_since_ms: int | None = None
        self._waited_for: WaitReason | None = None
        self._lacks: Vector = {}
        self._look_at_ms = 0
        self._initiator: Initiator | None = None
        self._handler: Resolver | Comparison | None = None
        self._heard_ms = 0
        self._rows_told = 0
        self._told: Callable[[Difference | None], None] | None = None

    @property
    def reconciling(self) -> bool:
        return self._initiator is not None

    # -- when

    def want(self) -> None:
        """Begins a pull, or begins it anew. Of a read-only peer nothing is ever wanted."""
        store, session = self._connection.coordinator.store, self._connection.session
        if session.read_only:
            return
        assert session.peer is not None
        self._held = self._queued = False
        self._again_ms = None
        self._whole = True
        vector, resumable = store.vector_copy(), store.resumable(session.peer.origin)
        self._rows_told = store.keys
        self._connection.send_histories()
        initiator = store.bulk_load_incomplete or bool(store.lost)
        session.start_pull(vector, resumable, store.horizon, store.dropped, self._rows_told, initiator=initiator)
        self._connection.coordinator.has_output(self._connection)

    def hold(self) -> None:
        """Takes nothing more until `want`: a walk that must be alone is under way on another link."""
        if not self._held:
            self._held, self._queued = True, False
            self._again_ms = None
            self._connection.session.pause_pull()
            self._connection.coordinator.has_output(self._connection)

    def release(self) -> None:
        """That walk is over, or another one for whose end this pull waits."""
        if self._held or self._queued:
            self.want()

    @property
    def _backoff(self) -> PullBackoff:
        peer = self._connection.peer
        if peer.pull_backoff is None:
            peer.pull_backoff = PullBackoff(self._connection.coordinator.random)
        return peer.pull_backoff

    def _pull_again(self, at_ms: int) -> None:
        """What comes of this pull until then is not looked at."""
        self._connection.session.pause_pull()
        self._again_ms = at_ms

    def peer_moved(self) -> None:
        """The peer's vector moved. If it is not stale for us any more, nothing of its is doubtful."""
        if self._again_ms is None or self._held or self._backoff.why is not RetryReason.DOUBT:
            return
        if not stale(self._connection.session.push.peer_vector, self._connection.coordinator.store.horizon):
            self._again_ms = self._connection.coordinator.now_ms()

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that does not go on with a walk."""
        now_ms = self._connection.coordinator.now_ms()
        if self._again_ms is not None and now_ms >= self._again_ms and not self._held:
            self.want()
        self._look_for_stall(now_ms)
        if self._initiator is not None and now_ms - self._heard_ms > RECONCILE_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with the walk", ByeCode.TIMEOUT)

    # -- what it waits for

    def _waits_for(self) -> WaitReason | None:
        connection = self._connection
        session, store = connection.session, connection.coordinator.store
        if not connection.is_open or session.read_only:
            return None
        if self._held or self._queued:
            return WaitReason.ANOTHER
        if self._again_ms is not None:
            return WaitReason.AGAIN
        if self._initiator is not None and isinstance(self._handler, Resolver):
            return WaitReason.OWN
        theirs = dict(session.push.peer_vector)  # `status` asks from another thread
        if covers(store.vector, theirs) and session.pull.completed:
            return None
        their_horizon = connection.pusher.peer_horizon
        must_pull_first = stale(theirs, store.horizon) and not stale(store.vector, their_horizon)
        if must_pull_first and not session.peer_takes_nothing:
            return WaitReason.PEER
        return WaitReason.CHANGES if session.pull.completed else WaitReason.ROUND

    @property
    def waits_for(self) -> str | None:
        """What this node waits for before it has what the peer has; None: nothing."""
        waits = self._waits_for()
        if waits is not WaitReason.AGAIN:
            return None if waits is None else waits.value
        left_ms = max(0, (self._again_ms or 0) - self._connection.coordinator.now_ms())
        return f"{waits.value} in {left_ms / 1000:.1f} s, after {self._backoff.why.value}"

    @property
    def waiting_ms(self) -> int:
        """For how long it has waited, since something of the peer was taken over last; 0: it does not."""
        if self._waits_for() is None:
            return 0
        now_ms, since_ms = self._connection.coordinator.now_ms(), self._waiting_since_ms
        return 0 if since_ms is None else max(0, now_ms - since_ms)

    def _progressed(self) -> None:
        """Something of the peer was taken over."""
        self._waiting_since_ms = None
        if self._connection.peer.stalled:
            self._connection.peer.stalled = False
            _log.info("the wait for %s is over: something of it was taken over, or it has nothing more", self._name())

    def _heard(self) -> None:
        """The peer has answered in a walk of ours. That is progress, but not if the walk is a repetition of others."""
        self._heard_ms = self._connection.coordinator.now_ms()
        if not self._backoff.is_repetition(self._situation):
            self._progressed()

    def peer_goes_on(self) -> None:
        """The peer goes on with its own walk, for whose end this pull may have to wait."""
        if self._waits_for() is WaitReason.PEER:
            self._progressed()

    def _look_for_stall(self, now_ms: int) -> None:
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + STALL_MS // _LOOKS
        before, waits = self._waited_for, self._waits_for()
        self._waited_for = waits
        vector = self._connection.coordinator.store.vector
        if waits is None or (waits is WaitReason.CHANGES and covers(vector, self._lacks)):
            # with steady changes something is always on its way, and what there was then may have come from elsewhere
            self._progressed()
        if waits is None:
            return
        if self._waiting_since_ms is None or (before is WaitReason.ANOTHER and waits is not before):
            self._waiting_since_ms = now_ms
            self._lacks = newer(self._connection.session.push.peer_vector, vector)
        # a reconciliation of ours that does not end is told of with its own peer
        stalled = now_ms - self._waiting_since_ms >= STALL_MS and waits is not WaitReason.ANOTHER
        if stalled and not self._connection.peer.stalled:
            self._connection.peer.stalled = True
            text = "nothing of %s was taken over for %d s: this node waits for %s"
            _log.warning(text, self._name(), STALL_MS // 1000, self.waits_for)

    def _name(self) -> str:
        peer = self._connection.peer
        return f"{peer.address} (origin {origin_name(peer.origin)})"

    # -- rounds

    def round_begins(self) -> None:
        self._whole = True
        self._brought = False

    def apply(self, frame: EntriesReceived) -> None:
        last = frame.take is not None
        self._brought = self._brought or bool(frame.entries)
        if not self._whole:
            frame = replace(frame, take=None)
        self._whole = self._connection.coordinator.apply(self._connection, frame) and self._whole
        if self._whole:
            self._progressed()
        if last and not self._connection.ended:
            self._round_ends()

    def take(self, effect: RoundCompleted) -> None:
        if self._whole:
            self._brought = self._brought or not covers(self._connection.coordinator.store.vector, effect.vector)
            self._connection.coordinator.take(self._connection, effect)
        self._round_ends()

    def _round_ends(self) -> None:
        if self._whole:
            if self._brought:
                self._backoff.reset()
            self._progressed()
        else:
            self._pull_again(self._backoff.put_off(RetryReason.DOUBT, self._connection.coordinator.now_ms()))

    # -- walks

    def begin_reconciliation(self, peer: ReconcileStarted) -> None:
        connection, coordinator = self._connection, self._connection.coordinator
        assert connection.session.peer is not None
        if not coordinator.peer_has(connection, peer.vector):
            return
        if peer.compare_only:
            self._initiator, self._handler = coordinator.store.begin_comparison()
        elif not coordinator.may_reconcile(connection):
            connection.session.pause_pull()
            self._queued = True
            return
        else:
            store = coordinator.store
            self._situation = situation_of(store.vector, store.horizon, peer.vector, peer.horizon)
            not_before_ms = self._backoff.not_before(self._situation)
            if coordinator.now_ms() < not_before_ms:
                self._pull_again(not_before_ms)
                return
            if (
                self._backoff.retries
                and store.reconciles_alone(peer.horizon)
                and coordinator.pulls_elsewhere(connection)
            ):
                # one that fails again and again must not end the pulls of others again and again
                self._pull_again(self._backoff.put_off(self._backoff.why, coordinator.now_ms()))
                return
            self._lacking = False
            self._initiator, self._handler = coordinator.store.begin_reconciliation(
                peer,
                connection.session.peer.origin,
                self._news,
                coordinator.restamped,
                rows_told=self._rows_told,
                peer_pulls=not connection.session.peer_takes_nothing,
            )
            coordinator.reconciliation_began(
                connection, alone=coordinator.store.bulk_loading or coordinator.store.is_stale(peer.horizon)
            )
            connection.peer.state = PeerState.RECONCILING
            _log.info(
                "reconciling with %s (origin %s)", connection.peer.address, origin_name(connection.session.peer.origin)
            )
        self._heard_ms = coordinator.now_ms()

    def _news(self, news: News) -> None:
        self._connection.coordinator.news(self._connection, news)

    def compare(self, told: Callable[[Difference | None], None]) -> None:
        """Asks for a walk that only looks; `told` of its outcome, None when the link ends before."""
        if self._told is not None:
            raise ReplicationError("a comparison with this peer is under way: wait for it")
        self._told = told
        self._connection.session.compare()
        self._connection.coordinator.has_output(self._connection)

    def answered(self, answer: RangeAnswered) -> None:
        if self._initiator is not None:
            self._heard()
            self._initiator.answered(answer)

    def filled(self, fill: RangeEntriesReceived) -> None:
        if self._initiator is not None and self._connection.coordinator.has_entries_of_our_histories(
            self._connection, fill.entries
        ):
            self._heard()
            self._lacking = self._lacking or bool(fill.lacking)
            self._connection.peer.entries_in += len(fill.entries)
            self._initiator.filled(fill)

    def pump(self) -> int | None:
        """A slice of our walk. 0: it has more to do; None: it waits for the peer, or there is none."""
        initiator, session = self._initiator, self._connection.session
        if initiator is None:
            return None
        if initiator.has_work:
            requests = initiator.step()
            if requests.queries:
                session.query_ranges([(each.low, each.high, each.print, each.count) for each in requests.queries])
            if requests.fetch:
                session.fetch([key for key, _ in requests.fetch], [digest for _, digest in requests.fetch])
        if initiator.done:
            self._finish_reconciliation()
            return None
        return 0 if initiator.has_work else None

    def _finish_reconciliation(self) -> None:
        connection, handler = self._connection, self._handler
        initiator, self._initiator, self._handler = self._initiator, None, None
        assert initiator is not None
        initiator.close()
        if isinstance(handler, Comparison):
            connection.session.reconcile_done()
            handler.close()
            self._tell(handler.difference)
            return
        assert handler is not None
        if handler.whole and not connection.coordinator.has_our_histories(connection, handler.their_vector):
            return  # the connection has ended
        if handler.whole:
            connection.coordinator.moved(connection, handler.take())
            connection.session.reconcile_done()
            connection.session.pull.completed += 1
            if handler.changed:
                self._backoff.reset()
            else:
                self._was_fruitless(RetryReason.FRUITLESS)
            self._progressed()
        else:
            self._pull_again(
                self._backoff.put_off(
                    RetryReason.LACKING if self._lacking else RetryReason.DOUBT, connection.coordinator.now_ms()
                )
            )
            if not handler.changed:
                self._backoff.changed_nothing(self._situation)
        connection.coordinator.reconciliation_ended(connection)

    def _was_fruitless(self, why: RetryReason) -> None:
        self._backoff.put_off(why, self._connection.coordinator.now_ms())
        self._backoff.changed_nothing(self._situation)

    def _tell(self, difference: Difference | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(difference)

    def close(self) -> None:
        """The link has ended."""
        initiator, self._initiator = self._initiator, None
        if initiator is not None:
            initiator.close()
        if isinstance(self._handler, Comparison):
            self._handler.close()
        elif initiator is not None and self._handler is not None and not self._handler.changed:
            self._was_fruitless(RetryReason.BROKEN_OFF)
        self._connection.peer.stalled = False
        self._connection.coordinator.reconciliation_ended(self._connection)
        self._handler = None
        self._tell(None)
