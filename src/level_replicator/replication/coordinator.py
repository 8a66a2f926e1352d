"""All peer connections of one node: which are accepted, and what one brings for the others.

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
    MAX_ORIGINS_OF_PEERS,
    MAX_PEER_CONNECTIONS,
    MAX_REMEMBERED_ORIGINS,
    MAX_REMEMBERED_PEERS,
    MIN_ORIGIN_CHANGE_INTERVAL_MS,
)
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.protocol.events import EntriesReceived, HistoriesReceived, PeerIdentified, RoundCompleted
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase, Session
from level_replicator.replication.peer_connection import PeerConnection, Transport
from level_replicator.replication.peers import Peer, PeerEvent, PeerState
from level_replicator.replication.refusal_limiter import RefusalLimiter
from level_replicator.storage.reconcile.resolver import News
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")

_DUPLICATE_ORIGIN = (
    "two live nodes have the origin {origin}: one directory is a copy of the other. Stop one of them and open it once"
    " with level_replicator.new_origin, then start it again (or, if the peer was just restarted, wait: its old"
    " connection ends within a few heartbeats)"
)


class Coordinator:
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
        self.connections: dict[PeerConnection, None] = {}
        self.by_origin: dict[int, PeerConnection] = {}
        self.visitors: dict[int, Peer] = {}
        self.on_vector_received: Callable[[int, Vector], None] = lambda token, vector: None
        self.on_vector_moved: Callable[[], None] = lambda: None
        self.on_connection_ended: Callable[[PeerConnection, ByeCode | None], None] = lambda connection, code: None
        self.refusals = RefusalLimiter()
        self._on_event = on_event
        self._wake = wake
        self._max_drift_ms = max_drift_ms
        self._heartbeat_ms = heartbeat_ms
        self._origin_changed_ms: int | None = None
        self._reconciling_with: PeerConnection | None = None
        self._alone = False
        self._ready: dict[PeerConnection, None] = {}  # dicts, since the order of a set would differ from run to run

    # -- for the event loop

    def connect(self, transport: Transport, peer: Peer, *, began_ms: int | None = None) -> PeerConnection:
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
        connection = PeerConnection(self, session, transport, peer)
        self.connections[connection] = None
        self.has_output(connection)
        return connection

    def turned_away(self, peer: Peer, text: str) -> None:
        """A connection that was never accepted."""
        peer.state, peer.last_error = PeerState.REFUSED, text
        self._event("refused", peer, text)

    def disconnect(self, name: str) -> int:
        """Cuts off whoever has this address, name, origin or fingerprint. How many connections that were."""
        connections = [connection for connection in self.connections if connection.peer.is_called(name)]
        for connection in connections:
            connection.cut("it was disconnected here")
        return len(connections)

    def run(self) -> int | None:
        """Let every connection send that has something. Milliseconds until it should be called again; None: after a
        wake."""
        ready, self._ready = self._ready, {}
        soonest: int | None = None
        for connection in ready:
            if connection.ended:
                continue
            wait = connection.pump()
            if wait is None:
                continue
            self._ready[connection] = None
            soonest = wait if soonest is None else min(soonest, wait)
        return soonest

    def tick(self) -> None:
        """Heartbeats and time limits."""
        for connection in list(self.connections):
            connection.tick()

    def local_change(self) -> None:
        """Somebody wrote here."""
        self.store.notifier.ring()
        for connection in self.by_origin.values():
            self.has_output(connection)

    def has_local_work(self) -> bool:
        """Whether some peer is still to be sent what was written here."""
        return any(
            connection.send_queue is not None
            and not connection.transport.full
            and self.store.has_own_work(connection.send_queue)
            for connection in self.by_origin.values()
        )

    def has_output(self, connection: PeerConnection) -> None:
        if not self._ready:
            self._wake()
        self._ready[connection] = None

    def heard(self, connection: PeerConnection) -> None:
        """It has said something, which may have to be answered, or to be too much."""
        if connection.origins > FEW_ORIGINS and sum(each.origins for each in self.connections) > MAX_ORIGINS_OF_PEERS:
            connection.end(ByeCode.BUSY, f"all peers together have named more than {MAX_ORIGINS_OF_PEERS} origins")
        else:
            self.has_output(connection)

    def stop(self) -> None:
        """Says goodbye to everybody."""
        for connection in list(self.connections):
            connection.end(ByeCode.STOPPING, "the node stops")

    # -- who is let in

    def admit(self, connection: PeerConnection, peer: PeerIdentified) -> None:
        """One connection between two nodes, and one node of an origin."""
        connection.peer.origin, connection.peer.instance = peer.origin, peer.instance
        if peer.origin == self.store.origin:
            if peer.instance == self.instance:
                connection.end(ByeCode.SELF, "this address is the node itself: take it out of `servers`")
            else:
                connection.end(ByeCode.DUPLICATE_ORIGIN, _DUPLICATE_ORIGIN.format(origin=origin_name(peer.origin)))
            return
        other = self.by_origin.get(peer.origin)
        if other is not None:
            assert other.session.peer is not None
            if other.session.peer.instance != peer.instance or other.peer.fingerprint != connection.peer.fingerprint:
                connection.end(ByeCode.DUPLICATE_ORIGIN, _DUPLICATE_ORIGIN.format(origin=origin_name(peer.origin)))
                return
            if not self._replaces(connection, other):
                connection.end(ByeCode.DUPLICATE_CONNECTION, "another connection of the same two nodes stands")
                return
            other.end(ByeCode.DUPLICATE_CONNECTION, "another connection of the same two nodes takes over")
        if len(self.connections) > MAX_PEER_CONNECTIONS:
            connection.end(ByeCode.BUSY, f"{MAX_PEER_CONNECTIONS} connections already")
            return
        self.by_origin[peer.origin] = connection
        if not connection.session.dialled:
            self._remember_visitor(connection)
        if connection.accept():
            self.connection_opened(connection)

    def _replaces(self, new: PeerConnection, old: PeerConnection) -> bool:
        if new.session.dialled == old.session.dialled:
            # who dials again has lost the old connection; two names of one server are not that
            return not new.session.dialled
        if old.session.phase is Phase.OPEN:
            return False
        assert new.session.peer is not None
        # both dialled at once: both sides keep the one that the lower origin dialled
        return new.session.dialled == (self.store.origin < new.session.peer.origin)

    def _remember_visitor(self, connection: PeerConnection) -> None:
        """Counters of who dialled us go on over its connections."""
        known = self.visitors.pop(connection.peer.origin, None)
        if known is not None:
            known.bytes_in += connection.peer.bytes_in
            known.bytes_out += connection.peer.bytes_out
            known.address = connection.peer.address
            known.state = connection.peer.state
            known.instance = connection.peer.instance
            known.fingerprint, known.read_only = connection.peer.fingerprint, connection.peer.read_only
            connection.peer = known
        elif len(self.visitors) >= MAX_REMEMBERED_PEERS:
            self.visitors.pop(next(iter(self.visitors)))
        self.visitors[connection.peer.origin] = connection.peer

    def _forget_vectors(self) -> None:
        """Those of the visitors that came first, while there is too much of them."""
        known = sum(len(peer.vector or ()) for peer in self.visitors.values())
        for peer in self.visitors.values():
            if known <= MAX_REMEMBERED_ORIGINS:
                return
            known -= len(peer.vector or ())
            peer.vector = None

    def connection_opened(self, connection: PeerConnection) -> None:
        connection.peer.state = PeerState.LIVE if connection.peer.read_only else PeerState.SCANNING
        connection.peer.last_error = None
        connection.peer.connections += 1
        connection.begin_histories()
        if not self._alone:
            connection.puller.start()
        self._event("connected", connection.peer, "connected")

    def connection_ended(self, connection: PeerConnection, state: PeerState, text: str, code: ByeCode | None) -> None:
        self.connections.pop(connection, None)
        self._ready.pop(connection, None)
        was_open = self.by_origin.get(connection.peer.origin) is connection
        if was_open:
            del self.by_origin[connection.peer.origin]
            connection.peer.vector = dict(connection.session.push.peer_vector) or connection.peer.vector
            self._forget_vectors()
        connection.peer.state = (
            PeerState.GONE if not connection.session.dialled and state is PeerState.WAITING else state
        )
        if code is not ByeCode.DUPLICATE_CONNECTION:
            connection.peer.last_error = text
            if state in (PeerState.QUARANTINED, PeerState.REFUSED):
                self._event(state.value, connection.peer, text)
            elif was_open:
                self._event("disconnected", connection.peer, text)
        self.on_connection_ended(connection, code)

    def _event(self, kind: str, peer: Peer, text: str) -> None:
        if kind == "refused" and not peer.dialled:
            if not self.refusals.may_report(self.now_ms()):
                return
            if untold := self.refusals.take_unreported():
                text += f" (and {untold} more before)"
        level = logging.WARNING if kind in ("quarantined", "refused") else logging.INFO
        origin = origin_name(peer.origin) if peer.origin else ""
        _log.log(level, "%s %s (origin %s): %s", kind, peer.address, origin or "unknown", text)
        self._on_event(PeerEvent(kind, peer.address, origin, text, peer.fingerprint))

    # -- what one connection brings for all

    def apply(self, connection: PeerConnection, frame: EntriesReceived) -> bool:
        """False when something doubtful was left out."""
        assert connection.session.peer is not None
        if not self.has_entries_of_our_histories(connection, ((frame.origin, entry) for entry in frame.entries)):
            return True
        if frame.take is not None and not self.has_our_histories(connection, frame.take):
            return True
        if frame.origin == self.store.origin and self.store.forgot(frame.high):
            self._change_origin(connection)
            return True
        if frame.entries and frame.origin == connection.session.peer.origin and connection.peer.state is PeerState.LIVE:
            # what it has just written: its clock, but for the time that this took to come
            connection.peer.clock_ahead_ms = (frame.entries[-1].stamp >> 16) - self.wall_ms()
        session, source = connection.session, connection.session.peer.origin
        applied = self.store.apply(frame, source, session.round_vector, peer_pulls=not session.peer_takes_nothing)
        if connection.send_queue is not None:
            connection.send_queue.came_from_peer(frame)
        if applied.news:
            self.news(connection, applied.news)
        if applied.restamped:
            self.restamped(applied.restamped)
        if frame.take is not None and applied.whole:
            self.moved(connection, applied.moved)
        return applied.whole

    def news(self, connection: PeerConnection, news: News) -> None:
        """A connection brought something that the others may not have."""
        for other in self.by_origin.values():
            if other is not connection:
                for origin, intervals in news.items():
                    other.applied_elsewhere(origin, intervals)
                self.has_output(other)

    def take(self, connection: PeerConnection, effect: RoundCompleted) -> None:
        assert connection.session.peer is not None
        # since the round began a third node may have told of an epoch that this peer does not know
        if self.has_our_histories(connection, effect.vector):
            self.moved(connection, self.store.take(effect.vector, connection.session.peer.origin))

    def restamped(self, entries: int) -> None:
        """Merging with a peer made it necessary that these travel again, under new dots of ours."""
        _log.info("%d entries were re-stamped, since a peer may have missed them or the deletes before them", entries)
        self.local_change()

    # -- one reconciliation at a time

    def may_reconcile(self, connection: PeerConnection) -> bool:
        return self._reconciling_with is None or self._reconciling_with is connection

    def pulls_elsewhere(self, connection: PeerConnection) -> bool:
        """Returns True if a round of another peer is under way, and does not stand still."""
        others = (other for other in self.by_origin.values() if other is not connection)
        return any(other.session.pull.target is not None and not other.peer.stalled for other in others)

    def reconciliation_began(self, connection: PeerConnection, *, alone: bool) -> None:
        """`alone`: we missed tombstones that the peer has dropped. Until we have taken over its horizon nobody
        else may send us anything, which could bring back a key behind the reconciliation."""
        self._reconciling_with, self._alone = connection, alone
        if alone:
            for other in self.by_origin.values():
                if other is not connection and other.session.phase is Phase.OPEN:
                    other.puller.pause()

    def reconciliation_ended(self, connection: PeerConnection) -> None:
        if self._reconciling_with is not connection:
            return
        self._reconciling_with, self._alone = None, False
        if self.store.bulk_loading:
            self.store.end_reconciliation()
            for other in self.by_origin.values():
                self.has_output(other)  # which had to wait for it
        for other in self.by_origin.values():
            if other is not connection and other.session.phase is Phase.OPEN:
                other.puller.release()

    def moved(self, connection: PeerConnection, moved: Vector) -> None:
        if connection.peer.state in (PeerState.SCANNING, PeerState.RECONCILING):
            connection.peer.state = PeerState.LIVE
        if moved:
            self.store.notifier.ring()
            for other in self.by_origin.values():
                other.vector_moved(moved)
                self.has_output(other)
        self.on_vector_moved()

    def peer_has(self, connection: PeerConnection, vector: Vector) -> bool:
        """False when the peer knows more of our origin than we do: then this node goes on under a new one. Or when it
        shows that an origin was continued twice."""
        if not self.has_our_histories(connection, vector):
            return False
        if self.store.forgot(vector.get(self.store.origin, 0)):
            self._believe(connection)
            return False
        return True

    def peer_applied(self, connection: PeerConnection, have: list[tuple[int, int, int]]) -> bool:
        """As `peer_has`, of the parts of a scan of ours that the peer has applied before it broke off."""
        own = self.store.origin
        if any(origin == own and self.store.forgot(high) for origin, _, high in have):
            self._believe(connection)
            return False
        return True

    def peer_histories(self, connection: PeerConnection, told: HistoriesReceived) -> None:
        """A peer has told histories of origins: all it knows, at the beginning, or what changed."""
        if connection.session.read_only:
            # a peer that may change nothing here may not rename anything either
            if divided(told.histories, self.store.branches) != told.histories or told.branches.keys() - (
                self.store.branches.keys()
            ):
                connection.end(
                    ByeCode.DUPLICATE_ORIGIN,
                    "a read-only peer and this node do not call all origins the same, since one of"
                    " them was restored or copied: let the peer connect to a node that may take changes from it",
                )
            connection.names_agreed = connection.names_agreed or told.last
            return
        learned = self.store.learn_histories(told.histories, told.branches)
        ours = self.store.histories
        same = {origin: ours[origin] for origin, history in told.histories.items() if ours.get(origin) == history}
        connection.their_epochs += sum(len(history) for origin, history in told.histories.items() if origin not in same)
        connection.their_histories = {**connection.their_histories, **told.histories, **same}
        if learned.branches:
            self._branch(learned.branches)
        elif learned.forgot:
            self._believe(connection)
        elif told.last and learned.ready:
            connection.names_agreed = True
            self.has_output(connection)
        # else the peer renames its branches when it hears of ours, and connects again

    def has_entries_of_our_histories(self, connection: PeerConnection, entries: Iterable[tuple[int, Entry]]) -> bool:
        """As `has_our_histories`, of entries, each with its origin: their dots, and the writes that they carry."""
        if self.store.histories is connection.their_histories:
            return True
        newest: Vector = {}
        for origin, entry in entries:
            for stamp, of in ((entry.stamp, origin), entry.written_dot(origin)):
                newest[of] = max(stamp, newest.get(of, 0))
        return self.has_our_histories(connection, newest)

    def has_our_histories(self, connection: PeerConnection, vector: Vector) -> bool:
        """Whether what a peer has of some origins, up to these stamps, is what our histories say.

        A peer tells its histories before all that depends on them. So whoever has stamps above the start of an epoch
        that it does not know has something else than what we know of: a fork."""
        histories, theirs = self.store.histories, connection.their_histories
        if histories is theirs or connection.session.read_only:
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
        for each in list(self.connections):
            each.end(
                ByeCode.ORIGIN_CHANGED, "an origin was continued twice, and its branches have new names: connect again"
            )

    def _believe(self, connection: PeerConnection) -> None:
        if connection.peer.read_only:
            # a peer that may change nothing here is not to give this node a new origin either
            connection.end(
                ByeCode.DUPLICATE_ORIGIN,
                "a read-only peer knows more of this node than it remembers: if its directory was restored, open it"
                " once with level_replicator.new_origin",
            )
            return
        self._change_origin(connection)

    def _change_origin(self, connection: PeerConnection) -> None:
        """Believes a peer that we forgot something; but not again and again, which would be at the others' cost."""
        now_ms = self.now_ms()
        if self._origin_changed_ms is not None and now_ms - self._origin_changed_ms < MIN_ORIGIN_CHANGE_INTERVAL_MS:
            connection.end(
                ByeCode.DUPLICATE_ORIGIN, "it claims to know writes of this node that it does not remember, once more"
            )
            return
        self._origin_changed_ms = now_ms
        old = self.store.origin
        self.store.change_origin()
        text = (
            f"a peer knows more of our origin {origin_name(old)} than we do, so this directory is older than what it"
            f" was: it goes on as origin {origin_name(self.store.origin)}"
        )
        _log.warning("%s", text)
        self._on_event(PeerEvent("renewed", "", origin_name(self.store.origin), text))
        self.begin_anew()

    def begin_anew(self) -> None:
        """Our origin is another one: whoever is connected has to connect again."""
        for each in list(self.connections):
            each.end(ByeCode.ORIGIN_CHANGED, "this node has a new origin: connect again")

    def told(self, token: int, vector: Vector) -> None:
        self.on_vector_received(token, vector)
