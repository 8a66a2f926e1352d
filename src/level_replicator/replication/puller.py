"""What we pull from a peer, over one link, and when it has to wait or to begin again."""

import logging
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from level_replicator.core.errors import RemoteProtocolError, ReplicationError
from level_replicator.core.limits import STALL_MS, WALK_STALL_MS
from level_replicator.core.reconcile_rules import stale
from level_replicator.core.version_vector import Vector, covers, newer, origin_name
from level_replicator.protocol.events import Answered, Apply, BeginWalk, Fill, Take
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.peers import PeerState
from level_replicator.replication.pull_backoff import PullBackoff, Why, situation_of
from level_replicator.storage.reconcile.comparison import Comparison, Difference
from level_replicator.storage.reconcile.initiator import Walk
from level_replicator.storage.reconcile.resolver import News, Settling

if TYPE_CHECKING:
    from level_replicator.replication.peer_connection import Link

_log = logging.getLogger("level_replicator.runtime")
_LOOKS = 20
"""How often it is looked whether a pull stands still, in STALL_MS."""


class Waits(Enum):
    """What a pull waits for."""

    ANOTHER = "another reconciliation of this node to end"
    OWN = "this node's reconciliation with the peer to end"
    PEER = "the peer's reconciliation with this node to end (the peer missed deletions)"
    ROUND = "the first round of the peer's log to end"
    CHANGES = "changes that the peer has"
    AGAIN = "a retry"


class Pulling:
    """Of one link. `walking`: a walk of ours is under way on it.

    A pull that had to leave something doubtful out begins anew after a while: by then the peer, which missed tombstones
    that we have dropped, may have pulled from us. A walk begins later if the last one changed nothing and nothing has
    changed since (see PullBackoff), or when the one that is under way with another peer has ended."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._held = True
        self._queued = False
        self._whole = True
        self._brought = False
        self._again_ms: int | None = None
        self._situation = 0
        self._lacking = False
        self._waiting_since_ms: int | None = None
        self._waited_for: Waits | None = None
        self._lacks: Vector = {}
        self._look_at_ms = 0
        self._walk: Walk | None = None
        self._finds: Settling | Comparison | None = None
        self._heard_ms = 0
        self._lines_told = 0
        self._told: Callable[[Difference | None], None] | None = None

    @property
    def walking(self) -> bool:
        return self._walk is not None

    # -- when

    def want(self) -> None:
        """Begins a pull, or begins it anew. Of a read-only peer nothing is ever wanted."""
        store, session = self._link.hub.store, self._link.session
        if session.read_only:
            return
        assert session.peer is not None
        self._held = self._queued = False
        self._again_ms = None
        self._whole = True
        vector, resumable = store.vector_copy(), store.resumable(session.peer.origin)
        self._lines_told = store.keys
        self._link.tell_histories()
        walk = store.half_filled or bool(store.lost)
        session.want(vector, resumable, store.horizon, store.dropped, self._lines_told, walk=walk)
        self._link.hub.has_output(self._link)

    def hold(self) -> None:
        """Takes nothing more until `want`: a walk that must be alone is under way on another link."""
        if not self._held:
            self._held, self._queued = True, False
            self._again_ms = None
            self._link.session.hold()
            self._link.hub.has_output(self._link)

    def release(self) -> None:
        """That walk is over, or another one for whose end this pull waits."""
        if self._held or self._queued:
            self.want()

    @property
    def _backoff(self) -> PullBackoff:
        peer = self._link.peer
        if peer.pull_backoff is None:
            peer.pull_backoff = PullBackoff(self._link.hub.random)
        return peer.pull_backoff

    def _pull_again(self, at_ms: int) -> None:
        """What comes of this pull until then is not looked at."""
        self._link.session.hold()
        self._again_ms = at_ms

    def peer_moved(self) -> None:
        """The peer's vector moved. If it is not stale for us any more, nothing of its is doubtful."""
        if self._again_ms is None or self._held or self._backoff.why is not Why.DOUBT:
            return
        if not stale(self._link.session.push.peer_vector, self._link.hub.store.horizon):
            self._again_ms = self._link.hub.now_ms()

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that does not go on with a walk."""
        now_ms = self._link.hub.now_ms()
        if self._again_ms is not None and now_ms >= self._again_ms and not self._held:
            self.want()
        self._look_for_stall(now_ms)
        if self._walk is not None and now_ms - self._heard_ms > WALK_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with the walk", ByeCode.SILENT)

    # -- what it waits for

    def _waits_for(self) -> Waits | None:
        link = self._link
        session, store = link.session, link.hub.store
        if not link.is_open or session.read_only:
            return None
        if self._held or self._queued:
            return Waits.ANOTHER
        if self._again_ms is not None:
            return Waits.AGAIN
        if self._walk is not None and isinstance(self._finds, Settling):
            return Waits.OWN
        theirs = dict(session.push.peer_vector)  # `status` asks from another thread
        if covers(store.vector, theirs) and session.pull.completed:
            return None
        their_horizon = link.serving.peer_horizon
        must_pull_first = stale(theirs, store.horizon) and not stale(store.vector, their_horizon)
        if must_pull_first and not session.peer_takes_nothing:
            return Waits.PEER
        return Waits.CHANGES if session.pull.completed else Waits.ROUND

    @property
    def waits_for(self) -> str | None:
        """What this node waits for before it has what the peer has; None: nothing."""
        waits = self._waits_for()
        if waits is not Waits.AGAIN:
            return None if waits is None else waits.value
        left_ms = max(0, (self._again_ms or 0) - self._link.hub.now_ms())
        return f"{waits.value} in {left_ms / 1000:.1f} s, after {self._backoff.why.value}"

    @property
    def waiting_ms(self) -> int:
        """For how long it has waited, since something of the peer was taken over last; 0: it does not."""
        if self._waits_for() is None:
            return 0
        now_ms, since_ms = self._link.hub.now_ms(), self._waiting_since_ms
        return 0 if since_ms is None else max(0, now_ms - since_ms)

    def _progressed(self) -> None:
        """Something of the peer was taken over."""
        self._waiting_since_ms = None
        if self._link.peer.stalled:
            self._link.peer.stalled = False
            _log.info("the wait for %s is over: something of it was taken over, or it has nothing more", self._name())

    def _heard(self) -> None:
        """The peer has answered in a walk of ours. That is progress, but not if the walk is a repetition of others."""
        self._heard_ms = self._link.hub.now_ms()
        if not self._backoff.is_repetition(self._situation):
            self._progressed()

    def peer_goes_on(self) -> None:
        """The peer goes on with its own walk, for whose end this pull may have to wait."""
        if self._waits_for() is Waits.PEER:
            self._progressed()

    def _look_for_stall(self, now_ms: int) -> None:
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + STALL_MS // _LOOKS
        before, waits = self._waited_for, self._waits_for()
        self._waited_for = waits
        vector = self._link.hub.store.vector
        if waits is None or (waits is Waits.CHANGES and covers(vector, self._lacks)):
            # with steady changes something is always on its way, and what there was then may have come from elsewhere
            self._progressed()
        if waits is None:
            return
        if self._waiting_since_ms is None or (before is Waits.ANOTHER and waits is not before):
            self._waiting_since_ms = now_ms
            self._lacks = newer(self._link.session.push.peer_vector, vector)
        # a reconciliation of ours that does not end is told of with its own peer
        stalled = now_ms - self._waiting_since_ms >= STALL_MS and waits is not Waits.ANOTHER
        if stalled and not self._link.peer.stalled:
            self._link.peer.stalled = True
            text = "nothing of %s was taken over for %d s: this node waits for %s"
            _log.warning(text, self._name(), STALL_MS // 1000, self.waits_for)

    def _name(self) -> str:
        peer = self._link.peer
        return f"{peer.address} (origin {origin_name(peer.origin)})"

    # -- rounds

    def round_begins(self) -> None:
        self._whole = True
        self._brought = False

    def apply(self, frame: Apply) -> None:
        last = frame.take is not None
        self._brought = self._brought or bool(frame.entries)
        if not self._whole:
            frame = replace(frame, take=None)
        self._whole = self._link.hub.apply(self._link, frame) and self._whole
        if self._whole:
            self._progressed()
        if last and not self._link.ended:
            self._round_ends()

    def take(self, effect: Take) -> None:
        if self._whole:
            self._brought = self._brought or not covers(self._link.hub.store.vector, effect.vector)
            self._link.hub.take(self._link, effect)
        self._round_ends()

    def _round_ends(self) -> None:
        if self._whole:
            if self._brought:
                self._backoff.reset()
            self._progressed()
        else:
            self._pull_again(self._backoff.put_off(Why.DOUBT, self._link.hub.now_ms()))

    # -- walks

    def begin_walk(self, peer: BeginWalk) -> None:
        link, hub = self._link, self._link.hub
        assert link.session.peer is not None
        if not hub.peer_has(link, peer.vector):
            return
        if peer.looking:
            self._walk, self._finds = hub.store.begin_comparison()
        elif not hub.may_walk(link):
            link.session.hold()
            self._queued = True
            return
        else:
            store = hub.store
            self._situation = situation_of(store.vector, store.horizon, peer.vector, peer.horizon)
            not_before_ms = self._backoff.not_before(self._situation)
            if hub.now_ms() < not_before_ms:
                self._pull_again(not_before_ms)
                return
            if self._backoff.retries and store.walks_alone(peer.horizon) and hub.pulls_elsewhere(link):
                # one that fails again and again must not end the pulls of others again and again
                self._pull_again(self._backoff.put_off(self._backoff.why, hub.now_ms()))
                return
            self._lacking = False
            self._walk, self._finds = hub.store.begin_walk(
                peer,
                link.session.peer.origin,
                self._news,
                hub.restamped,
                lines_told=self._lines_told,
                peer_pulls=not link.session.peer_takes_nothing,
            )
            hub.walk_begins(link, alone=hub.store.filling or hub.store.is_stale(peer.horizon))
            link.peer.state = PeerState.RECONCILING
            _log.info("reconciling with %s (origin %s)", link.peer.address, origin_name(link.session.peer.origin))
        self._heard_ms = hub.now_ms()

    def _news(self, news: News) -> None:
        self._link.hub.news(self._link, news)

    def compare(self, told: Callable[[Difference | None], None]) -> None:
        """Asks for a walk that only looks; `told` of its outcome, None when the link ends before."""
        if self._told is not None:
            raise ReplicationError("a comparison with this peer is under way: wait for it")
        self._told = told
        self._link.session.compare()
        self._link.hub.has_output(self._link)

    def answered(self, answer: Answered) -> None:
        if self._walk is not None:
            self._heard()
            self._walk.answered(answer)

    def filled(self, fill: Fill) -> None:
        if self._walk is not None and self._link.hub.has_entries_of_our_histories(self._link, fill.entries):
            self._heard()
            self._lacking = self._lacking or bool(fill.lacking)
            self._link.peer.entries_in += len(fill.entries)
            self._walk.filled(fill)

    def pump(self) -> int | None:
        """A slice of our walk. 0: it has more to do; None: it waits for the peer, or there is none."""
        walk, session = self._walk, self._link.session
        if walk is None:
            return None
        if walk.has_work:
            requests = walk.step()
            if requests.probes:
                session.probe([(each.low, each.high, each.print, each.count) for each in requests.probes])
            if requests.fetch:
                session.fetch([key for key, _ in requests.fetch], [digest for _, digest in requests.fetch])
        if walk.done:
            self._finish_walk()
            return None
        return 0 if walk.has_work else None

    def _finish_walk(self) -> None:
        link, finds = self._link, self._finds
        walk, self._walk, self._finds = self._walk, None, None
        assert walk is not None
        walk.close()
        if isinstance(finds, Comparison):
            link.session.walked()
            finds.close()
            self._tell(finds.difference)
            return
        assert finds is not None
        if finds.whole and not link.hub.has_our_histories(link, finds.their_vector):
            return  # the connection has ended
        if finds.whole:
            link.hub.moved(link, finds.take())
            link.session.walked()
            link.session.pull.completed += 1
            if finds.changed:
                self._backoff.reset()
            else:
                self._was_fruitless(Why.FRUITLESS)
            self._progressed()
        else:
            self._pull_again(self._backoff.put_off(Why.LACKING if self._lacking else Why.DOUBT, link.hub.now_ms()))
            if not finds.changed:
                self._backoff.changed_nothing(self._situation)
        link.hub.walk_ends(link)

    def _was_fruitless(self, why: Why) -> None:
        self._backoff.put_off(why, self._link.hub.now_ms())
        self._backoff.changed_nothing(self._situation)

    def _tell(self, difference: Difference | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(difference)

    def close(self) -> None:
        """The link has ended."""
        walk, self._walk = self._walk, None
        if walk is not None:
            walk.close()
        if isinstance(self._finds, Comparison):
            self._finds.close()
        elif walk is not None and self._finds is not None and not self._finds.changed:
            self._was_fruitless(Why.BROKEN_OFF)
        self._link.peer.stalled = False
        self._link.hub.walk_ends(self._link)
        self._finds = None
        self._tell(None)
