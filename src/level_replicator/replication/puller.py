"""What we pull from a peer, over one connection, and when it has to wait or to begin again."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from random import Random
from typing import Protocol

from level_replicator.core.entry import Entry
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
from level_replicator.protocol.session import Session
from level_replicator.replication.peers import Peer, PeerState
from level_replicator.replication.pull_backoff import PullBackoff, RetryReason, situation_of
from level_replicator.storage.reconcile.comparison import Comparison, Difference
from level_replicator.storage.reconcile.initiator import Initiator
from level_replicator.storage.reconcile.resolver import News, Resolver
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")
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


class PullHost(Protocol):
    """What a puller asks of its connection."""

    session: Session
    peer: Peer
    ended: bool

    @property
    def store(self) -> Store: ...

    @property
    def random(self) -> Random: ...

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted."""

    @property
    def peer_horizon(self) -> Vector:
        """The horizon that the peer named when its last pull began."""

    def now_ms(self) -> int: ...

    def wants_output(self) -> None:
        """Let the connection send soon."""

    def send_histories(self) -> None: ...

    def apply(self, frame: EntriesReceived) -> bool:
        """Merge entries of the peer. Returns False if something doubtful was left out."""

    def take(self, effect: RoundCompleted) -> None:
        """Adopt the vector of a complete round."""

    def moved(self, moved: Vector) -> None:
        """Our vector has moved by what came from the peer."""

    def news(self, news: News) -> None:
        """Entries of the peer are in our log."""

    def restamped(self, entries: int) -> None:
        """So many entries have to travel again."""

    def peer_has(self, vector: Vector) -> bool:
        """Returns False if the connection ends because of what the peer knows."""

    def has_our_histories(self, vector: Vector) -> bool:
        """Returns False if the peer has something else than our histories say; then the connection ends."""

    def has_entries_of_our_histories(self, entries: Iterable[tuple[int, Entry]]) -> bool:
        """The same, of entries, each with its origin."""

    def may_reconcile(self) -> bool:
        """Returns False while this node reconciles with another peer."""

    def pulls_elsewhere(self) -> bool:
        """Returns True if a round of another peer is under way, and does not stand still."""

    def reconciliation_began(self, *, alone: bool) -> None: ...

    def reconciliation_ended(self) -> None: ...


class Puller:
    """Of one connection. `reconciling`: a reconciliation of ours is under way on it.

    A pull that had to leave something doubtful out begins anew after a while: by then the peer, which missed tombstones
    that we have dropped, may have pulled from us. A reconciliation begins later if the last one changed nothing and
    nothing has changed since (see PullBackoff), or when the one that is under way with another peer has ended."""

    def __init__(self, host: PullHost) -> None:
        self._host = host
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

    def start(self) -> None:
        """Begins a pull, or begins it anew. Of a read-only peer nothing is ever wanted."""
        store, session = self._host.store, self._host.session
        if session.read_only:
            return
        assert session.peer is not None
        self._held = self._queued = False
        self._again_ms = None
        self._whole = True
        vector, resumable = store.vector_copy(), store.resumable(session.peer.origin)
        self._rows_told = store.keys
        self._host.send_histories()
        reconcile = store.bulk_load_incomplete or bool(store.lost)
        session.start_pull(vector, resumable, store.horizon, store.dropped, self._rows_told, reconcile=reconcile)
        self._host.wants_output()

    def pause(self) -> None:
        """Takes nothing more until `start`: a reconciliation that must be alone is under way on another
        connection."""
        if not self._held:
            self._held, self._queued = True, False
            self._again_ms = None
            self._host.session.pause_pull()
            self._host.wants_output()

    def release(self) -> None:
        """That reconciliation is over, or another one for whose end this pull waits."""
        if self._held or self._queued:
            self.start()

    @property
    def _backoff(self) -> PullBackoff:
        peer = self._host.peer
        if peer.pull_backoff is None:
            peer.pull_backoff = PullBackoff(self._host.random)
        return peer.pull_backoff

    def _pull_again(self, at_ms: int) -> None:
        """What comes of this pull until then is not looked at."""
        self._host.session.pause_pull()
        self._again_ms = at_ms

    def peer_moved(self) -> None:
        """The peer's vector moved. If it is not stale for us any more, nothing of its is doubtful."""
        if self._again_ms is None or self._held or self._backoff.why is not RetryReason.DOUBT:
            return
        if not stale(self._host.session.push.peer_vector, self._host.store.horizon):
            self._again_ms = self._host.now_ms()

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that does not go on with a reconciliation."""
        now_ms = self._host.now_ms()
        if self._again_ms is not None and now_ms >= self._again_ms and not self._held:
            self.start()
        self._look_for_stall(now_ms)
        if self._initiator is not None and now_ms - self._heard_ms > RECONCILE_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with the reconciliation", ByeCode.TIMEOUT)

    # -- what it waits for

    def _waits_for(self) -> WaitReason | None:
        host = self._host
        session, store = host.session, host.store
        if not host.is_open or session.read_only:
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
        their_horizon = host.peer_horizon
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
        left_ms = max(0, (self._again_ms or 0) - self._host.now_ms())
        return f"{waits.value} in {left_ms / 1000:.1f} s, after {self._backoff.why.value}"

    @property
    def waiting_ms(self) -> int:
        """For how long it has waited, since something of the peer was taken over last; 0: it does not."""
        if self._waits_for() is None:
            return 0
        now_ms, since_ms = self._host.now_ms(), self._waiting_since_ms
        return 0 if since_ms is None else max(0, now_ms - since_ms)

    def _progressed(self) -> None:
        """Something of the peer was taken over."""
        self._waiting_since_ms = None
        if self._host.peer.stalled:
            self._host.peer.stalled = False
            _log.info("the wait for %s is over: something of it was taken over, or it has nothing more", self._name())

    def _heard(self) -> None:
        """The peer has answered in a reconciliation of ours. That is progress, unless it is a repetition of others."""
        self._heard_ms = self._host.now_ms()
        if not self._backoff.is_repetition(self._situation):
            self._progressed()

    def peer_goes_on(self) -> None:
        """The peer goes on with its own reconciliation, for whose end this pull may have to wait."""
        if self._waits_for() is WaitReason.PEER:
            self._progressed()

    def _look_for_stall(self, now_ms: int) -> None:
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + STALL_MS // _LOOKS
        before, waits = self._waited_for, self._waits_for()
        self._waited_for = waits
        vector = self._host.store.vector
        if waits is None or (waits is WaitReason.CHANGES and covers(vector, self._lacks)):
            # with steady changes something is always on its way, and what there was then may have come from elsewhere
            self._progressed()
        if waits is None:
            return
        if self._waiting_since_ms is None or (before is WaitReason.ANOTHER and waits is not before):
            self._waiting_since_ms = now_ms
            self._lacks = newer(self._host.session.push.peer_vector, vector)
        # a reconciliation of ours that does not end is told of with its own peer
        stalled = now_ms - self._waiting_since_ms >= STALL_MS and waits is not WaitReason.ANOTHER
        if stalled and not self._host.peer.stalled:
            self._host.peer.stalled = True
            text = "nothing of %s was taken over for %d s: this node waits for %s"
            _log.warning(text, self._name(), STALL_MS // 1000, self.waits_for)

    def _name(self) -> str:
        peer = self._host.peer
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
        self._whole = self._host.apply(frame) and self._whole
        if self._whole:
            self._progressed()
        if last and not self._host.ended:
            self._round_ends()

    def take(self, effect: RoundCompleted) -> None:
        if self._whole:
            self._brought = self._brought or not covers(self._host.store.vector, effect.vector)
            self._host.take(effect)
        self._round_ends()

    def _round_ends(self) -> None:
        if self._whole:
            if self._brought:
                self._backoff.reset()
            self._progressed()
        else:
            self._pull_again(self._backoff.put_off(RetryReason.DOUBT, self._host.now_ms()))

    # -- reconciliations

    def begin_reconciliation(self, peer: ReconcileStarted) -> None:
        host = self._host
        assert host.session.peer is not None
        if not host.peer_has(peer.vector):
            return
        if peer.compare_only:
            self._initiator, self._handler = host.store.begin_comparison()
        elif not host.may_reconcile():
            host.session.pause_pull()
            self._queued = True
            return
        else:
            store = host.store
            self._situation = situation_of(store.vector, store.horizon, peer.vector, peer.horizon)
            not_before_ms = self._backoff.not_before(self._situation)
            if host.now_ms() < not_before_ms:
                self._pull_again(not_before_ms)
                return
            if self._backoff.retries and store.reconciles_alone(peer.horizon) and host.pulls_elsewhere():
                # one that fails again and again must not end the pulls of others again and again
                self._pull_again(self._backoff.put_off(self._backoff.why, host.now_ms()))
                return
            self._lacking = False
            self._initiator, self._handler = host.store.begin_reconciliation(
                peer,
                host.session.peer.origin,
                self._news,
                host.restamped,
                rows_told=self._rows_told,
                peer_pulls=not host.session.peer_takes_nothing,
            )
            host.reconciliation_began(alone=host.store.bulk_loading or host.store.is_stale(peer.horizon))
            host.peer.state = PeerState.RECONCILING
            _log.info("reconciling with %s (origin %s)", host.peer.address, origin_name(host.session.peer.origin))
        self._heard_ms = host.now_ms()

    def _news(self, news: News) -> None:
        self._host.news(news)

    def compare(self, told: Callable[[Difference | None], None]) -> None:
        """Ask for a comparison. `told` gets its outcome, or None if the connection ends before."""
        if self._told is not None:
            raise ReplicationError("a comparison with this peer is under way: wait for it")
        self._told = told
        self._host.session.compare()
        self._host.wants_output()

    def answered(self, answer: RangeAnswered) -> None:
        if self._initiator is not None:
            self._heard()
            self._initiator.answered(answer)

    def entries_received(self, received: RangeEntriesReceived) -> None:
        if self._initiator is not None and self._host.has_entries_of_our_histories(received.entries):
            self._heard()
            self._lacking = self._lacking or bool(received.lacking)
            self._host.peer.entries_in += len(received.entries)
            self._initiator.entries_received(received)

    def pump(self) -> int | None:
        """Run a slice of our reconciliation. 0: it has more to do; None: it waits for the peer, or there is none."""
        initiator, session = self._initiator, self._host.session
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
        host, handler = self._host, self._handler
        initiator, self._initiator, self._handler = self._initiator, None, None
        assert initiator is not None
        initiator.close()
        if isinstance(handler, Comparison):
            host.session.reconcile_done()
            handler.close()
            self._tell(handler.difference)
            return
        assert handler is not None
        if handler.whole and not host.has_our_histories(handler.their_vector):
            return  # the connection has ended
        if handler.whole:
            host.moved(handler.take())
            host.session.reconcile_done()
            host.session.pull.completed += 1
            if handler.changed:
                self._backoff.reset()
            else:
                self._was_fruitless(RetryReason.FRUITLESS)
            self._progressed()
        else:
            self._pull_again(
                self._backoff.put_off(RetryReason.LACKING if self._lacking else RetryReason.DOUBT, host.now_ms())
            )
            if not handler.changed:
                self._backoff.changed_nothing(self._situation)
        host.reconciliation_ended()

    def _was_fruitless(self, why: RetryReason) -> None:
        self._backoff.put_off(why, self._host.now_ms())
        self._backoff.changed_nothing(self._situation)

    def _tell(self, difference: Difference | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(difference)

    def close(self) -> None:
        """The connection has ended."""
        initiator, self._initiator = self._initiator, None
        if initiator is not None:
            initiator.close()
        if isinstance(self._handler, Comparison):
            self._handler.close()
        elif initiator is not None and self._handler is not None and not self._handler.changed:
            self._was_fruitless(RetryReason.BROKEN_OFF)
        self._host.peer.stalled = False
        self._host.reconciliation_ended()
        self._handler = None
        self._tell(None)
