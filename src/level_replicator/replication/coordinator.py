"""All links of one node: who is let in, and what one link brings for the others.

No sockets, threads or timers of its own: an event loop, or a simulator, calls `run` when `wake` asks for it,
and `tick` now and then.
"""

import logging
from collections.abc import Callable, Iterable
from random import Random

from level_replicator.core.entry import Entry
from level_replicator.core.epochs import Branches, divided, unknown_to
from level_replicator.core.limits import (
    FEW_ORIGINS,
    MAX_LINKS,
    MAX_ORIGINS_OF_PEERS,
    MAX_REMEMBERED_ORIGINS,
    MAX_REMEMBERED_PEERS,
    MIN_RENEWAL_INTERVAL_MS,
)
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.protocol.events import Apply, Judge, PeerHistories, Take
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase, Session
from level_replicator.replication.peer_connection import Link, Transport
from level_replicator.replication.peers import Peer, PeerEvent, PeerState
from level_replicator.replication.refusal_limiter import Notices
from level_replicator.storage.reconcile.resolver import News
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.runtime")

_TWIN = (
    "two live nodes have the origin {origin}: one directory is a copy of the other. Stop one of them and open it once"
    " with level_replicator.new_origin, then start it again (or, if the peer was just restarted, wait: its old"
    " connection ends within a few heartbeats)"
)


class Hub:
    """`now_ms`: a clock that does not jump; `wall_ms`: since 1970; `wake`: asks for `run` soon, on the same thread;
    `random`: the jitter of pulls that are begun again."""

    def __init__(
        self,
        store: Store,
        *,
        instance: bytes,
        now_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        wake: Callable[[], None],
        max_drift_ms: int,
        heartbeat_ms: int,
        random: Random,
        on_event: Callable[[PeerEvent], None] = lambda event: None,
    ) -> None:
        self.store = store
        self.instance = instance
        self.random = random
        self.now_ms = now_ms
        self.wall_ms = wall_ms
        self.links: dict[Link, None] = {}
        self.by_origin: dict[int, Link] = {}
        self.visitors: dict[int, Peer] = {}
        self.on_told: Callable[[int, Vector], None] = lambda token, vector: None
        self.on_moved: Callable[[], None] = lambda: None
        self.on_link_ended: Callable[[Link, ByeCode | None], None] = lambda link, code: None
        self.notices = Notices()
        self._on_event = on_event
        self._wake = wake
        self._max_drift_ms = max_drift_ms
        self._heartbeat_ms = heartbeat_ms
        self._renewed_ms: int | None = None
        self._walker: Link | None = None
        self._alone = False
        self._ready: dict[Link, None] = {}  # dicts, since the order of a set would differ from run to run

    # -- for the event loop

    def connect(self, transport: Transport, peer: Peer, *, began_ms: int | None = None) -> Link:
        """A connection stands, with a peer that we accept. `began_ms`: when its handshake began, if not now."""
        session = Session(
            origin=self.store.origin,
            instance=self.instance,
            dialled=peer.dialled,
            now_ms=self.now_ms() if began_ms is None else began_ms,
            max_drift_ms=self._max_drift_ms,
            heartbeat_ms=self._heartbeat_ms,
            read_only=peer.read_only,
        )
        peer.state = PeerState.HANDSHAKE
        link = Link(self, session, transport, peer)
        self.links[link] = None
        self.has_output(link)
        return link

    def turned_away(self, peer: Peer, text: str) -> None:
        """A connection that never became a link."""
        peer.state, peer.last_error = PeerState.REFUSED, text
        self._event("refused", peer, text)

    def disconnect(self, name: str) -> int:
        """Cuts off whoever has this address, name, origin or fingerprint. How many connections that were."""
        links = [link for link in self.links if link.peer.is_called(name)]
        for link in links:
            link.cut("it was disconnected here")
        return len(links)

    def run(self) -> int | None:
        """Lets every link send that has something. Milliseconds until it should be called again; None: after a wake."""
        ready, self._ready = self._ready, {}
        soonest: int | None = None
        for link in ready:
            if link.ended:
                continue
            wait = link.pump()
            if wait is None:
                continue
            self._ready[link] = None
            soonest = wait if soonest is None else min(soonest, wait)
        return soonest

    def tick(self) -> None:
        """Heartbeats and time limits."""
        for link in list(self.links):
            link.tick()

    def local_change(self) -> None:
        """Somebody wrote here."""
        self.store.signal.ring()
        for link in self.by_origin.values():
            self.has_output(link)

    def has_local_work(self) -> bool:
        """Whether some peer is still to be sent what was written here."""
        return any(
            link.feed is not None and not link.transport.full and self.store.has_own_work(link.feed)
            for link in self.by_origin.values()
        )

    def has_output(self, link: Link) -> None:
        if not self._ready:
            self._wake()
        self._ready[link] = None

    def heard(self, link: Link) -> None:
        """It has said something, which may have to be answered, or to be too much."""
        if link.origins > FEW_ORIGINS and sum(each.origins for each in self.links) > MAX_ORIGINS_OF_PEERS:
            link.end(ByeCode.BUSY, f"all peers together have named more than {MAX_ORIGINS_OF_PEERS} origins")
        else:
            self.has_output(link)

    def stop(self) -> None:
        """Says goodbye to everybody."""
        for link in list(self.links):
            link.end(ByeCode.STOPPING, "the node stops")

    # -- who is let in

    def judge(self, link: Link, peer: Judge) -> None:
        """One connection between two nodes, and one node of an origin."""
        link.peer.origin, link.peer.instance = peer.origin, peer.instance
        if peer.origin == self.store.origin:
            if peer.instance == self.instance:
                link.end(ByeCode.SELF, "this address is the node itself: take it out of `servers`")
            else:
                link.end(ByeCode.TWIN, _TWIN.format(origin=origin_name(peer.origin)))
            return
        other = self.by_origin.get(peer.origin)
        if other is not None:
            assert other.session.peer is not None
            if other.session.peer.instance != peer.instance or other.peer.fingerprint != link.peer.fingerprint:
                link.end(ByeCode.TWIN, _TWIN.format(origin=origin_name(peer.origin)))
                return
            if not self._replaces(link, other):
                link.end(ByeCode.DUPLICATE, "another connection of the same two nodes stands")
                return
            other.end(ByeCode.DUPLICATE, "another connection of the same two nodes takes over")
        if len(self.links) > MAX_LINKS:
            link.end(ByeCode.BUSY, f"{MAX_LINKS} connections already")
            return
        self.by_origin[peer.origin] = link
        if not link.session.dialled:
            self._remember_visitor(link)
        if link.accept():
            self.link_opened(link)

    def _replaces(self, new: Link, old: Link) -> bool:
        if new.session.dialled == old.session.dialled:
            # who dials again has lost the old connection; two names of one server are not that
            return not new.session.dialled
        if old.session.phase is Phase.OPEN:
            return False
        assert new.session.peer is not None
        # both dialled at once: both sides keep the one that the lower origin dialled
        return new.session.dialled == (self.store.origin < new.session.peer.origin)

    def _remember_visitor(self, link: Link) -> None:
        """Counters of who dialled us go on over its connections."""
        known = self.visitors.pop(link.peer.origin, None)
        if known is not None:
            known.bytes_in += link.peer.bytes_in
            known.bytes_out += link.peer.bytes_out
            known.address = link.peer.address
            known.state = link.peer.state
            known.instance = link.peer.instance
            known.fingerprint, known.read_only = link.peer.fingerprint, link.peer.read_only
            link.peer = known
        elif len(self.visitors) >= MAX_REMEMBERED_PEERS:
            self.visitors.pop(next(iter(self.visitors)))
        self.visitors[link.peer.origin] = link.peer

    def _forget_vectors(self) -> None:
        """Those of the visitors that came first, while there is too much of them."""
        known = sum(len(peer.vector or ()) for peer in self.visitors.values())
        for peer in self.visitors.values():
            if known <= MAX_REMEMBERED_ORIGINS:
                return
            known -= len(peer.vector or ())
            peer.vector = None

    def link_opened(self, link: Link) -> None:
        link.peer.state = PeerState.LIVE if link.peer.read_only else PeerState.SCANNING
        link.peer.last_error = None
        link.peer.connections += 1
        link.begin_histories()
        if not self._alone:
            link.pulling.want()
        self._event("connected", link.peer, "connected")

    def link_ended(self, link: Link, state: PeerState, text: str, code: ByeCode | None) -> None:
        self.links.pop(link, None)
        self._ready.pop(link, None)
        was_open = self.by_origin.get(link.peer.origin) is link
        if was_open:
            del self.by_origin[link.peer.origin]
            link.peer.vector = dict(link.session.push.peer_vector) or link.peer.vector
            self._forget_vectors()
        link.peer.state = PeerState.GONE if not link.session.dialled and state is PeerState.WAITING else state
        if code is not ByeCode.DUPLICATE:
            link.peer.last_error = text
            if state in (PeerState.QUARANTINED, PeerState.REFUSED):
                self._event(state.value, link.peer, text)
            elif was_open:
                self._event("disconnected", link.peer, text)
        self.on_link_ended(link, code)

    def _event(self, kind: str, peer: Peer, text: str) -> None:
        if kind == "refused" and not peer.dialled:
            if not self.notices.may_tell(self.now_ms()):
                return
            if untold := self.notices.take_untold():
                text += f" (and {untold} more before)"
        level = logging.WARNING if kind in ("quarantined", "refused") else logging.INFO
        origin = origin_name(peer.origin) if peer.origin else ""
        _log.log(level, "%s %s (origin %s): %s", kind, peer.address, origin or "unknown", text)
        self._on_event(PeerEvent(kind, peer.address, origin, text, peer.fingerprint))

    # -- what one link brings for all

    def apply(self, link: Link, frame: Apply) -> bool:
        """False when something doubtful was left out."""
        assert link.session.peer is not None
        if not self.has_entries_of_our_histories(link, ((frame.origin, entry) for entry in frame.entries)):
            return True
        if frame.take is not None and not self.has_our_histories(link, frame.take):
            return True
        if frame.origin == self.store.origin and self.store.forgot(frame.high):
            self._renew(link)
            return True
        if frame.entries and frame.origin == link.session.peer.origin and link.peer.state is PeerState.LIVE:
            # what it has just written: its clock, but for the time that this took to come
            link.peer.clock_ahead_ms = (frame.entries[-1].stamp >> 16) - self.wall_ms()
        session, source = link.session, link.session.peer.origin
        applied = self.store.apply(frame, source, session.round_vector, peer_pulls=not session.peer_takes_nothing)
        if link.feed is not None:
            link.feed.came_from_peer(frame)
        if applied.news:
            self.news(link, applied.news)
        if applied.restamped:
            self.restamped(applied.restamped)
        if frame.take is not None and applied.whole:
            self.moved(link, applied.moved)
        return applied.whole

    def news(self, link: Link, news: News) -> None:
        """A link brought something that the others may not have."""
        for other in self.by_origin.values():
            if other is not link:
                for origin, intervals in news.items():
                    other.applied_elsewhere(origin, intervals)
                self.has_output(other)

    def take(self, link: Link, effect: Take) -> None:
        assert link.session.peer is not None
        # since the round began a third node may have told of an epoch that this peer does not know
        if self.has_our_histories(link, effect.vector):
            self.moved(link, self.store.take(effect.vector, link.session.peer.origin))

    def restamped(self, entries: int) -> None:
        """Merging with a peer made it necessary that these travel again, under new dots of ours."""
        _log.info("%d entries were re-stamped, since a peer may have missed them or the deletes before them", entries)
        self.local_change()

    # -- one walk at a time

    def may_walk(self, link: Link) -> bool:
        return self._walker is None or self._walker is link

    def pulls_elsewhere(self, link: Link) -> bool:
        """Returns True if a round of another peer is under way, and does not stand still."""
        others = (other for other in self.by_origin.values() if other is not link)
        return any(other.session.pull.target is not None and not other.peer.stalled for other in others)

    def walk_begins(self, link: Link, *, alone: bool) -> None:
        """`alone`: we missed tombstones that the peer has dropped. Until we have taken over its horizon nobody
        else may send us anything, which could bring back a key behind the walk."""
        self._walker, self._alone = link, alone
        if alone:
            for other in self.by_origin.values():
                if other is not link and other.session.phase is Phase.OPEN:
                    other.pulling.hold()

    def walk_ends(self, link: Link) -> None:
        if self._walker is not link:
            return
        self._walker, self._alone = None, False
        if self.store.filling:
            self.store.end_walk()
            for other in self.by_origin.values():
                self.has_output(other)  # which had to wait for it
        for other in self.by_origin.values():
            if other is not link and other.session.phase is Phase.OPEN:
                other.pulling.release()

    def moved(self, link: Link, moved: Vector) -> None:
        if link.peer.state in (PeerState.SCANNING, PeerState.RECONCILING):
            link.peer.state = PeerState.LIVE
        if moved:
            self.store.signal.ring()
            for other in self.by_origin.values():
                other.vector_moved(moved)
                self.has_output(other)
        self.on_moved()

    def peer_has(self, link: Link, vector: Vector) -> bool:
        """False when the peer knows more of our origin than we do: then this node goes on under a new one. Or when it
        shows that an origin was continued twice."""
        if not self.has_our_histories(link, vector):
            return False
        if self.store.forgot(vector.get(self.store.origin, 0)):
            self._believe(link)
            return False
        return True

    def peer_applied(self, link: Link, have: list[tuple[int, int, int]]) -> bool:
        """As `peer_has`, of the parts of a scan of ours that the peer has applied before it broke off."""
        own = self.store.origin
        if any(origin == own and self.store.forgot(high) for origin, _, high in have):
            self._believe(link)
            return False
        return True

    def peer_histories(self, link: Link, told: PeerHistories) -> None:
        """A peer has told histories of origins: all it knows, at the beginning, or what changed."""
        if link.session.read_only:
            # a peer that may change nothing here may not rename anything either
            if divided(told.histories, self.store.branches) != told.histories or told.branches.keys() - (
                self.store.branches.keys()
            ):
                link.end(
                    ByeCode.TWIN,
                    "a read-only peer and this node do not call all origins the same, since one of"
                    " them was restored or copied: let the peer connect to a node that may take changes from it",
                )
            link.names_agreed = link.names_agreed or told.last
            return
        learned = self.store.learn_histories(told.histories, told.branches)
        ours = self.store.histories
        same = {origin: ours[origin] for origin, history in told.histories.items() if ours.get(origin) == history}
        link.their_epochs += sum(len(history) for origin, history in told.histories.items() if origin not in same)
        link.their_histories = {**link.their_histories, **told.histories, **same}
        if learned.branches:
            self._branch(learned.branches)
        elif learned.forgot:
            self._believe(link)
        elif told.last and learned.ready:
            link.names_agreed = True
            self.has_output(link)
        # else the peer renames its branches when it hears of ours, and connects again

    def has_entries_of_our_histories(self, link: Link, entries: Iterable[tuple[int, Entry]]) -> bool:
        """As `has_our_histories`, of entries, each with its origin: their dots, and the writes that they carry."""
        if self.store.histories is link.their_histories:
            return True
        newest: Vector = {}
        for origin, entry in entries:
            for stamp, of in ((entry.stamp, origin), entry.written_dot(origin)):
                newest[of] = max(stamp, newest.get(of, 0))
        return self.has_our_histories(link, newest)

    def has_our_histories(self, link: Link, vector: Vector) -> bool:
        """Whether what a peer has of some origins, up to these stamps, is what our histories say.

        A peer tells its histories before all that depends on them. So whoever has stamps above the start of an epoch
        that it does not know has something else than what we know of: a fork."""
        histories, theirs = self.store.histories, link.their_histories
        if histories is theirs or link.session.read_only:
            return True
        branches = {}
        for origin, stamp in vector.items():
            history = histories.get(origin)
            if history is None or stamp <= history[0][1] or theirs.get(origin) is history:
                continue
            unknown = unknown_to(theirs.get(origin, ()), history)
            if unknown is not None and stamp > unknown[1]:
                branches[unknown[0]] = unknown[1]
        if branches:
            self._branch(branches)
        return not branches

    def _branch(self, branches: Branches) -> None:
        """Origins were continued twice: what one continuation wrote is an origin of its own from here on."""
        old = self.store.origin
        self.store.branch(branches)
        if self.store.origin != old:
            text = (
                f"our origin {origin_name(old)} was continued by another directory, too, so one of them was restored or"
                f" copied: what was written here since goes on as origin {origin_name(self.store.origin)}"
            )
            _log.warning("%s", text)
            self._on_event(PeerEvent("renewed", "", origin_name(self.store.origin), text))
        for each in list(self.links):
            each.end(ByeCode.RENEWED, "an origin was continued twice, and its branches have new names: connect again")

    def _believe(self, link: Link) -> None:
        if link.peer.read_only:
            # a peer that may change nothing here is not to give this node a new origin either
            link.end(
                ByeCode.TWIN,
                "a read-only peer knows more of this node than it remembers: if its directory was restored, open it"
                " once with level_replicator.new_origin",
            )
            return
        self._renew(link)

    def _renew(self, link: Link) -> None:
        """Believes a peer that we forgot something; but not again and again, which would be at the others' cost."""
        now_ms = self.now_ms()
        if self._renewed_ms is not None and now_ms - self._renewed_ms < MIN_RENEWAL_INTERVAL_MS:
            link.end(ByeCode.TWIN, "it claims to know writes of this node that it does not remember, once more")
            return
        self._renewed_ms = now_ms
        old = self.store.origin
        self.store.renew()
        text = (
            f"a peer knows more of our origin {origin_name(old)} than we do, so this directory is older than what it"
            f" was: it goes on as origin {origin_name(self.store.origin)}"
        )
        _log.warning("%s", text)
        self._on_event(PeerEvent("renewed", "", origin_name(self.store.origin), text))
        self.begin_anew()

    def begin_anew(self) -> None:
        """Our origin is another one: whoever is connected has to connect again."""
        for each in list(self.links):
            each.end(ByeCode.RENEWED, "this node has a new origin: connect again")

    def told(self, token: int, vector: Vector) -> None:
        self.on_told(token, vector)
