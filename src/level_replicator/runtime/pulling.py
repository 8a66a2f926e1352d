"""What we pull from a peer, over one link, and when it has to wait or to begin again."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from level_replicator.core.effects import Answered, Apply, BeginWalk, Fill, Take
from level_replicator.core.errors import RemoteProtocolError, ReplicationError
from level_replicator.core.limits import PULL_AGAIN_CAP_MS, PULL_AGAIN_FIRST_MS, WALK_STALL_MS
from level_replicator.core.messages import ByeCode
from level_replicator.core.reconcile import stale
from level_replicator.core.versions import origin_name
from level_replicator.runtime.peers import PeerState
from level_replicator.storage.comparison import Comparison, Difference
from level_replicator.storage.settling import News, Settling
from level_replicator.storage.walk import Walk

if TYPE_CHECKING:
    from level_replicator.runtime.link import Link

_log = logging.getLogger("level_replicator.runtime")


class Pulling:
    """Of one link. `walking`: a walk of ours is under way on it.

    A pull that had to leave something doubtful out begins anew after a while: by then the peer, which missed tombstones
    that we have dropped, may have pulled from us. So does one that another walk has put off."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._held = True
        self._whole = True
        self._again_ms: int | None = None
        self._again_delay_ms = PULL_AGAIN_FIRST_MS
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
        self._held = False
        self._again_ms = None
        self._whole = True
        vector, resumable = store.vector_copy(), store.resumable(session.peer.origin)
        self._lines_told = store.keys
        session.want(vector, resumable, store.horizon, store.dropped, self._lines_told, walk=store.half_filled)
        self._link.hub.has_output(self._link)

    def hold(self) -> None:
        """Takes nothing more until `want`: a walk that must be alone is under way on another link."""
        if not self._held:
            self._held = True
            self._again_ms = None
            self._link.session.hold()
            self._link.hub.has_output(self._link)

    def release(self) -> None:
        """That walk is over."""
        if self._held:
            self.want()

    def _pull_again(self, *, soon: bool = False) -> None:
        """What comes of this pull until then is not looked at."""
        self._link.session.hold()
        delay_ms = PULL_AGAIN_FIRST_MS if soon else self._again_delay_ms
        self._again_ms = self._link.hub.now_ms() + delay_ms
        if not soon:
            self._again_delay_ms = min(2 * self._again_delay_ms, PULL_AGAIN_CAP_MS)

    def peer_moved(self) -> None:
        """The peer's vector moved. If it is not stale for us any more, nothing of its is doubtful."""
        if self._again_ms is None or self._held:
            return
        if not stale(self._link.session.push.peer_vector, self._link.hub.store.horizon):
            self._again_ms = self._link.hub.now_ms()

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that does not go on with a walk."""
        now_ms = self._link.hub.now_ms()
        if self._again_ms is not None and now_ms >= self._again_ms and not self._held:
            self.want()
        if self._walk is not None and now_ms - self._heard_ms > WALK_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with the walk", ByeCode.SILENT)

    # -- rounds

    def round_begins(self) -> None:
        self._whole = True

    def apply(self, frame: Apply) -> None:
        last = frame.take is not None
        if not self._whole:
            frame = replace(frame, take=None)
        self._whole = self._link.hub.apply(self._link, frame) and self._whole
        if last and not self._link.ended:
            self._round_ends()

    def take(self, effect: Take) -> None:
        if self._whole:
            self._link.hub.take(self._link, effect)
        self._round_ends()

    def _round_ends(self) -> None:
        if self._whole:
            self._again_delay_ms = PULL_AGAIN_FIRST_MS
        else:
            self._pull_again()

    # -- walks

    def begin_walk(self, peer: BeginWalk) -> None:
        link, hub = self._link, self._link.hub
        assert link.session.peer is not None
        if not hub.peer_has(link, peer.vector):
            return
        if peer.looking:
            self._walk, self._finds = hub.store.begin_comparison()
        elif not hub.may_walk(link):
            self._pull_again(soon=True)
            return
        else:
            self._walk, self._finds = hub.store.begin_walk(
                peer, link.session.peer.origin, self._news, hub.restamped, lines_told=self._lines_told
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
            self._heard_ms = self._link.hub.now_ms()
            self._walk.answered(answer)

    def filled(self, fill: Fill) -> None:
        if self._walk is not None:
            self._heard_ms = self._link.hub.now_ms()
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
        if finds.whole:
            link.hub.moved(link, finds.take())
            link.session.walked()
            link.session.pull.completed += 1
            self._again_delay_ms = PULL_AGAIN_FIRST_MS
        else:
            self._pull_again()
        link.hub.walk_ends(link)

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
        self._link.hub.walk_ends(self._link)
        self._finds = None
        self._tell(None)
