"""Pulls the changes of one peer over one connection: rounds of its log, or a reconciliation with its index.

Each call returns the changes that it made here as a PullResult. The caller hands it to the coordinator, which forwards
it to the other peers.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from level_replicator.core.errors import RemoteProtocolError, ReplicationError
from level_replicator.core.limits import RECONCILE_STALL_MS
from level_replicator.core.reconcile_rules import is_stale
from level_replicator.core.version_vector import Vector, covers, origin_name
from level_replicator.protocol.events import (
    EntriesReceived,
    RangeAnswered,
    RangeEntriesReceived,
    ReconcileStarted,
    RoundCompleted,
)
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase, Session
from level_replicator.replication.history_exchange import HistoryExchange
from level_replicator.replication.peers import Peer, PeerState
from level_replicator.replication.pull_backoff import PullBackoff, RetryReason, situation_of
from level_replicator.replication.stall_detector import StallDetector, WaitReason
from level_replicator.storage.reconcile.comparison import Comparison, Difference
from level_replicator.storage.reconcile.initiator import Initiator, News
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")


@dataclass(frozen=True, slots=True)
class PullResult:
    """Changes that one step of a pull made on this node.

    news       origin → intervals of stamps that are new in our log, to be forwarded to the other peers
    restamped  entries that got a new dot of ours, and so have to travel to all peers
    adopted    vector entries that moved when a vector of the peer was adopted; None: none was adopted
    """

    news: News = field(default_factory=dict)
    restamped: int = 0
    adopted: Vector | None = None


class Puller:
    """State of one connection. `peer`: the peer as it is known now; `now_ms`: a clock that does not jump.

    A pull that had to leave something doubtful out begins anew after a while: by then the peer, which missed tombstones
    that we have dropped, may have pulled from us. A reconciliation begins later if the last one changed nothing and
    nothing has changed since (see PullBackoff), or when the one that is under way with another peer has ended."""

    def __init__(
        self,
        session: Session,
        store: Store,
        peer: Callable[[], Peer],
        histories: HistoryExchange,
        *,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._session = session
        self._store = store
        self._peer = peer
        self._histories = histories
        self._now_ms = now_ms
        self._random = random
        self._stalls = StallDetector(session, store, peer, now_ms)
        self._paused = True
        self._queued = False
        self._whole = True
        self._changed = False
        self._retry_ms: int | None = None
        self._situation = 0
        self._lacking = False
        self._initiator: Initiator | None = None
        self._handler: Resolver | Comparison | None = None
        self._answered_ms = 0
        self._rows_at_start = 0
        self._on_compared: Callable[[Difference | None], None] | None = None

    # -- when a pull begins

    def start(self) -> None:
        """Begin a pull, in place of any earlier one. Nothing is pulled from a read-only peer."""
        store, session = self._store, self._session
        if session.read_only:
            return
        assert session.peer is not None
        self._paused = self._queued = False
        self._retry_ms = None
        self._whole = True
        vector, resumable = store.vector_copy(), store.resumable(session.peer.origin)
        self._rows_at_start = store.keys
        self._histories.send_changes()
        reconcile = store.bulk_load_incomplete or bool(store.lost)
        session.start_pull(vector, resumable, store.horizon, store.dropped, self._rows_at_start, reconcile=reconcile)

    def pause(self) -> None:
        """Take no more changes until `start` or `resume`, since a reconciliation with another peer must be alone."""
        if not self._paused:
            self._paused, self._queued = True, False
            self._retry_ms = None
            self._session.pause_pull()

    def resume(self) -> None:
        """Start again after the reconciliation with another peer for whose end this pull waits."""
        if self._paused or self._queued:
            self.start()

    def retry_if_not_doubtful(self) -> None:
        """Retry a pull that was put off for doubt if the peer, whose vector moved, is no longer stale for us."""
        if self._retry_ms is None or self._paused or self._backoff.why is not RetryReason.DOUBT:
            return
        if not is_stale(self._session.push.peer_vector, self._store.horizon):
            self._retry_ms = self._now_ms()

    def tick(self) -> None:
        """Begin a retry that is due, and look for stalls. Call it a few times a heartbeat.

        Raises RemoteProtocolError if the peer does not answer in a reconciliation for RECONCILE_STALL_MS."""
        now_ms = self._now_ms()
        if self._retry_ms is not None and now_ms >= self._retry_ms and not self._paused:
            self.start()
        self._stalls.check(self._wait_reason, lambda: self.waits_for)
        if self._initiator is not None and now_ms - self._answered_ms > RECONCILE_STALL_MS:
            raise RemoteProtocolError("the peer does not continue the reconciliation", ByeCode.TIMEOUT)

    @property
    def _backoff(self) -> PullBackoff:
        peer = self._peer()
        if peer.pull_backoff is None:
            peer.pull_backoff = PullBackoff(self._random)
        return peer.pull_backoff

    def _retry_at(self, at_ms: int) -> None:
        """Begin the pull again at this time. Messages of the current pull that still arrive are ignored."""
        self._session.pause_pull()
        self._retry_ms = at_ms

    # -- waiting

    def _wait_reason(self) -> WaitReason | None:
        session, store = self._session, self._store
        if session.phase is not Phase.OPEN or session.read_only:
            return None
        if self._paused or self._queued:
            return WaitReason.ANOTHER
        if self._retry_ms is not None:
            return WaitReason.AGAIN
        if self._initiator is not None and isinstance(self._handler, Resolver):
            return WaitReason.OWN
        theirs = dict(session.push.peer_vector)  # `status` asks from another thread
        if covers(store.vector, theirs) and session.pull.completed:
            return None
        must_pull_first = is_stale(theirs, store.horizon) and not is_stale(store.vector, session.peer_horizon)
        if must_pull_first and not session.peer_takes_nothing:
            return WaitReason.PEER
        return WaitReason.CHANGES if session.pull.completed else WaitReason.ROUND

    @property
    def waits_for(self) -> str | None:
        """Reason, as text, why this node does not have all changes of the peer yet; None: it does not wait."""
        reason = self._wait_reason()
        if reason is not WaitReason.AGAIN:
            return None if reason is None else reason.value
        left_ms = max(0, (self._retry_ms or 0) - self._now_ms())
        return f"{reason.value} in {left_ms / 1000:.1f} s, after {self._backoff.why.value}"

    @property
    def waiting_ms(self) -> int:
        """Milliseconds of waiting since changes of the peer were applied last; 0: it does not wait."""
        return 0 if self._wait_reason() is None else self._stalls.waiting_ms

    def peer_reconciles(self) -> None:
        """Record progress of the peer's reconciliation with us, if this pull waits for its end."""
        if self._wait_reason() is WaitReason.PEER:
            self._stalls.progressed()

    # -- rounds

    def round_started(self) -> None:
        self._whole = True
        self._changed = False

    def apply_entries(self, frame: EntriesReceived) -> PullResult:
        """Apply a frame of entries of a round. Raises StorageError."""
        session, last = self._session, frame.adopt is not None
        assert session.peer is not None
        self._changed = self._changed or bool(frame.entries)
        if not self._whole:
            frame = replace(frame, adopt=None)
        applied = self._store.apply(
            frame, session.peer.origin, session.round_vector, peer_pulls=not session.peer_takes_nothing
        )
        self._whole = applied.whole and self._whole
        if self._whole:
            self._stalls.progressed()
        if last:
            self._round_ended()
        adopted = applied.moved if frame.adopt is not None and applied.whole else None
        return PullResult(applied.news, applied.restamped, adopted)

    def complete_round(self, event: RoundCompleted) -> PullResult:
        """Adopt the vector of a round that ended without another entry, unless something was left out of the round.
        Raises StorageError."""
        adopted = None
        if self._whole:
            assert self._session.peer is not None
            self._changed = self._changed or not covers(self._store.vector, event.vector)
            adopted = self._store.adopt_vector(event.vector, self._session.peer.origin)
        self._round_ended()
        return PullResult(adopted=adopted)

    def _round_ended(self) -> None:
        if self._whole:
            if self._changed:
                self._backoff.reset()
            self._stalls.progressed()
        else:
            self._retry_at(self._backoff.put_off(RetryReason.DOUBT, self._now_ms()))

    # -- reconciliations

    @property
    def reconciling(self) -> bool:
        """Whether a reconciliation, or a comparison, of ours is under way."""
        return self._initiator is not None

    @property
    def has_work(self) -> bool:
        """Whether `step` would do something before the peer answers."""
        return self._initiator is not None and self._initiator.has_work

    @property
    def reconciled(self) -> bool:
        """Whether the reconciliation under way has nothing left to do but `finish_reconciliation`."""
        return self._initiator is not None and self._initiator.done

    @property
    def vector_to_adopt(self) -> Vector | None:
        """The peer's vector that `finish_reconciliation` would adopt; None: it would adopt none."""
        handler = self._handler
        return handler.their_vector if isinstance(handler, Resolver) and handler.whole else None

    def start_reconciliation(self, event: ReconcileStarted, *, may_reconcile: bool, others_pull: bool) -> bool:
        """Begin the reconciliation, or comparison, for which the peer holds a snapshot, or put it off.

        `may_reconcile`: no other reconciliation of this node is under way; `others_pull`: a round of another peer is.
        Returns True if a reconciliation has begun, which may change this node. Raises StorageError."""
        store, session, peer = self._store, self._session, self._peer()
        assert session.peer is not None
        if event.compare_only:
            self._initiator, self._handler = store.begin_comparison()
            self._answered_ms = self._now_ms()
            return False
        if not may_reconcile:
            session.pause_pull()
            self._queued = True
            return False
        self._situation = situation_of(store.vector, store.horizon, event.vector, event.horizon)
        not_before_ms = self._backoff.not_before(self._situation)
        if self._now_ms() < not_before_ms:
            self._retry_at(not_before_ms)
            return False
        if self._backoff.retries and store.reconciles_alone(event.horizon) and others_pull:
            # a reconciliation that fails repeatedly must not interrupt the pulls from other peers each time
            self._retry_at(self._backoff.put_off(self._backoff.why, self._now_ms()))
            return False
        self._lacking = False
        self._initiator, self._handler = store.begin_reconciliation(
            event,
            session.peer.origin,
            rows_at_request=self._rows_at_start,
            peer_pulls=not session.peer_takes_nothing,
        )
        self._answered_ms = self._now_ms()
        peer.state = PeerState.RECONCILING
        _log.info("reconciling with %s (origin %s)", peer.label, origin_name(session.peer.origin))
        return True

    def compare(self, on_compared: Callable[[Difference | None], None]) -> None:
        """Request a comparison. `on_compared` is called with its result, or None if the connection ends before.

        Raises ReplicationError if a comparison with this peer is under way."""
        if self._on_compared is not None:
            raise ReplicationError("a comparison with this peer is under way: wait for it")
        self._on_compared = on_compared
        self._session.compare()

    def range_answered(self, answer: RangeAnswered) -> None:
        """Handle the peer's answer to a range query. Raises RemoteProtocolError."""
        if self._initiator is not None:
            self._peer_answered()
            self._initiator.answered(answer)

    def apply_range_entries(self, event: RangeEntriesReceived) -> PullResult:
        """Apply entries that the peer has sent in a reconciliation. Raises StorageError."""
        if self._initiator is None:
            return PullResult()
        self._peer_answered()
        self._lacking = self._lacking or bool(event.lacking)
        self._peer().entries_in += len(event.entries)
        merged = self._initiator.entries_received(event)
        return PullResult(merged.news, merged.restamped)

    def step(self) -> PullResult:
        """Run a slice of our reconciliation, and send its queries. Raises StorageError."""
        initiator, session = self._initiator, self._session
        if initiator is None or not initiator.has_work:
            return PullResult()
        requests = initiator.step()
        if requests.queries:
            session.query_ranges(requests.queries)
        if requests.fetch:
            session.fetch([key for key, _ in requests.fetch], [digest for _, digest in requests.fetch])
        return PullResult(restamped=requests.restamped)

    def finish_reconciliation(self) -> PullResult:
        """End a reconciliation that is `reconciled`: adopt the peer's vector, or retry later if something was left out.
        Raises StorageError."""
        handler, session = self._handler, self._session
        initiator, self._initiator, self._handler = self._initiator, None, None
        assert initiator is not None
        assert handler is not None
        initiator.close()
        if isinstance(handler, Comparison):
            session.reconcile_done()
            handler.close()
            self._report_comparison(handler.difference)
            return PullResult()
        if not handler.whole:
            reason = RetryReason.LACKING if self._lacking else RetryReason.DOUBT
            self._retry_at(self._backoff.put_off(reason, self._now_ms()))
            if not handler.changed:
                self._backoff.changed_nothing(self._situation)
            return PullResult()
        adopted = handler.adopt_vector()
        session.reconcile_done()
        session.pull.completed += 1
        if handler.changed:
            self._backoff.reset()
        else:
            self._put_off_repetition(RetryReason.FRUITLESS)
        self._stalls.progressed()
        return PullResult(adopted=adopted)

    def close(self) -> None:
        """End the reconciliation or comparison under way, since the connection has ended."""
        initiator, self._initiator = self._initiator, None
        if initiator is not None:
            initiator.close()
        if isinstance(self._handler, Comparison):
            self._handler.close()
        elif initiator is not None and self._handler is not None and not self._handler.changed:
            self._put_off_repetition(RetryReason.BROKEN_OFF)
        self._peer().stalled = False
        self._handler = None
        self._report_comparison(None)

    def _peer_answered(self) -> None:
        """Record an answer in our reconciliation. It counts as progress unless the last reconciliation was the same."""
        self._answered_ms = self._now_ms()
        if not self._backoff.is_repetition(self._situation):
            self._stalls.progressed()

    def _put_off_repetition(self, why: RetryReason) -> None:
        self._backoff.put_off(why, self._now_ms())
        self._backoff.changed_nothing(self._situation)

    def _report_comparison(self, difference: Difference | None) -> None:
        on_compared, self._on_compared = self._on_compared, None
        if on_compared is not None:
            on_compared(difference)
