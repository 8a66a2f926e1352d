"""All peer connections of one node: decides which are accepted, and forwards the changes of each to the others.

No sockets, threads or timers of its own: an event loop, or a simulator, calls `run` when `wake` asks for it,
and `tick` a few times a heartbeat.
"""

import logging
from collections.abc import Callable, Collection
from random import Random

from level_replicator.core.limits import (
    FEW_ORIGINS,
    MAX_ORIGINS_OF_PEERS,
    MAX_PEER_CONNECTIONS,
)
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.protocol.events import PeerIdentified
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase, Session
from level_replicator.replication.origin_guard import OriginGuard
from level_replicator.replication.peer_connection import PeerConnection, Transport
from level_replicator.replication.peers import Peer, PeerErrorCode, PeerEvent, PeerState, Visitors, error_code_of
from level_replicator.replication.puller import PullResult
from level_replicator.replication.refusal_limiter import RefusalLimiter
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")

_DUPLICATE_ORIGIN = (
    "two live nodes have the origin {origin}: one directory is a copy of the other. Stop one of them and open it once"
    " with level_replicator.new_origin, then start it again (or, if the peer was just restarted, wait: its old"
    " connection ends within a few heartbeats)"
)


class CoordinatorObserver:
    """Base of an object that waits for progress of the coordinator. Each method does nothing by default."""

    def vector_received(self, token: int, vector: Vector) -> None:
        """A peer has answered the vector query with this token."""

    def vector_moved(self) -> None:
        """A vector of a peer was adopted."""

    def connection_opened(self, connection: PeerConnection) -> None:
        """Both sides of a connection have accepted."""

    def connection_ended(self, connection: PeerConnection) -> None:
        """A connection has ended."""


class Coordinator:
    """Coordinates the peer connections of one node.

    now_ms, wall_ms  a clock that does not jump, and milliseconds since 1970
    wake      requests a call of `run` soon, on the same thread
    random    jitter of pulls that are retried
    on_event  receives the events of peers; observer: see CoordinatorObserver
    servers   records of the configured servers that this node dials
    """

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
        observer: CoordinatorObserver | None = None,
        servers: Collection[Peer] = (),
    ) -> None:
        self.store = store
        self.instance = instance
        self.random = random
        self.now_ms = now_ms
        self.wall_ms = wall_ms
        self.connections: dict[PeerConnection, None] = {}
        self.by_origin: dict[int, PeerConnection] = {}
        self.visitors = Visitors()
        self.refusals = RefusalLimiter()
        self.guard = OriginGuard(store, self.connections, now_ms=now_ms, report=on_event)
        self._observer = CoordinatorObserver() if observer is None else observer
        self._on_event = on_event
        self._servers = servers
        self._wake = wake
        self._max_drift_ms = max_drift_ms
        self._heartbeat_ms = heartbeat_ms
        self._reconciling_with: PeerConnection | None = None
        self._alone = False
        self._ready: dict[PeerConnection, None] = {}  # dicts, since the order of a set would differ from run to run

    # -- for the event loop

    def connect(self, transport: Transport, peer: Peer, *, began_ms: int | None = None) -> PeerConnection:
        """Begin a session with a peer that admission has accepted. `began_ms`: when its handshake began, if not now."""
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

    def report_refusal(self, peer: Peer, reason: str, code: PeerErrorCode) -> None:
        """Report that admission has refused a connection."""
        peer.state, peer.last_error, peer.last_error_code = PeerState.REFUSED, reason, code
        self._event("refused", peer, reason)

    def disconnect(self, name: str) -> int:
        """Close all connections with this address, name, origin or fingerprint. Returns their number."""
        connections = [connection for connection in self.connections if connection.peer.is_called(name)]
        for connection in connections:
            connection.cut("it was disconnected here")
        return len(connections)

    def run(self) -> int | None:
        """Let every connection send that has something to send.

        Returns the milliseconds until it should be called again; None: when `wake` asks for it."""
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
        """Enforce time limits and send heartbeats."""
        for connection in list(self.connections):
            connection.tick()

    def local_change(self) -> None:
        """Send new local writes to the peers, and notify readers of the changes feed."""
        self.store.notifier.ring()
        for connection in self.by_origin.values():
            self.has_output(connection)

    def has_local_work(self) -> bool:
        """Whether a peer is still to be sent writes of this node."""
        return any(
            connection.send_queue is not None
            and not connection.transport.full
            and self.store.rounds.has_own_work(connection.send_queue)
            for connection in self.by_origin.values()
        )

    def has_output(self, connection: PeerConnection) -> None:
        """Let the connection send in the next `run`."""
        if not self._ready:
            self._wake()
        self._ready[connection] = None

    def bytes_received(self, connection: PeerConnection) -> None:
        """See PeerHost."""
        if connection.origins > FEW_ORIGINS and sum(each.origins for each in self.connections) > MAX_ORIGINS_OF_PEERS:
            connection.end(ByeCode.BUSY, f"all peers together have named more than {MAX_ORIGINS_OF_PEERS} origins")
        else:
            self.has_output(connection)

    def end_connections(self) -> None:
        """End all connections after this node has got another origin. They begin again under the new one."""
        self.guard.end_connections()

    def stop(self) -> None:
        """End all connections, since the node stops."""
        for connection in list(self.connections):
            connection.end(ByeCode.STOPPING, "the node stops")

    # -- which connections are accepted

    def admit(self, connection: PeerConnection, peer: PeerIdentified) -> None:
        """Accept the peer, or end the connection: two nodes have one connection, and an origin has one live node."""
        connection.peer.origin, connection.peer.instance = peer.origin, peer.instance
        self._link_visitor(connection.peer)
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
                connection.end(ByeCode.DUPLICATE_CONNECTION, "the two nodes have another connection already")
                return
            other.end(ByeCode.DUPLICATE_CONNECTION, "another connection of the same two nodes replaces this one")
        if len(self.connections) > MAX_PEER_CONNECTIONS:
            connection.end(ByeCode.BUSY, f"this node has {MAX_PEER_CONNECTIONS} connections already, its limit")
            return
        self.by_origin[peer.origin] = connection
        if not connection.session.dialled:
            connection.peer = self.visitors.remember(connection.peer)
            connection.peer.server = self._server_of(connection.peer)
        if connection.histories.accept_peer():
            self.connection_opened(connection)

    def _link_visitor(self, server: Peer) -> None:
        """Note that the visitor with the origin of a configured server is this server. Any node can claim an origin:
        with keys both must have shown the same one."""
        visitor = self.visitors.get(server.origin)
        if server.dialled and visitor is not None and visitor.fingerprint == server.fingerprint:
            visitor.server = server

    def _server_of(self, visitor: Peer) -> Peer | None:
        """Returns the configured server that is the same node as a visitor; see _link_visitor."""
        for server in self._servers:
            if server.origin == visitor.origin and server.fingerprint == visitor.fingerprint:
                return server
        return None

    def connection_of(self, server: Peer) -> PeerConnection | None:
        """Returns the connection with a configured server, whichever side has dialed; None: there is none."""
        connection = self.by_origin.get(server.origin)
        return connection if connection is not None and connection.peer.configured is server else None

    def _replaces(self, new: PeerConnection, old: PeerConnection) -> bool:
        if new.session.dialled == old.session.dialled:
            # a peer that dials again has lost the old connection; if we dialled twice, one server has two names
            return not new.session.dialled
        if old.session.phase is Phase.OPEN:
            return False
        assert new.session.peer is not None
        # both nodes dialled at once: both keep the connection that the lower origin dialled
        return new.session.dialled == (self.store.origin < new.session.peer.origin)

    def connection_opened(self, connection: PeerConnection) -> None:
        """Both sides have accepted: exchange histories, and begin to pull."""
        connection.peer.state = PeerState.LIVE if connection.peer.read_only else PeerState.SCANNING
        connection.peer.last_error = connection.peer.last_error_code = None
        connection.peer.connections += 1
        connection.histories.begin()
        if not self._alone:
            connection.start_pull()
        self._event("connected", connection.peer, "connected")
        self._observer.connection_opened(connection)

    def connection_ended(self, connection: PeerConnection, state: PeerState, text: str, code: ByeCode | None) -> None:
        """Forget a connection. `state`: of the peer from now on; `code`: of the Bye, None without one."""
        self.connections.pop(connection, None)
        self._ready.pop(connection, None)
        self._link_visitor(connection.peer)  # the origin of a server that refuses a second connection is known now
        was_open = self.by_origin.get(connection.peer.origin) is connection
        if was_open:
            del self.by_origin[connection.peer.origin]
            vector = connection.session.push.peer_vector
            if vector or connection.send_queue is not None:  # else the peer has not sent its vector
                connection.peer.vector = dict(vector)
            self.visitors.forget_vectors()
        connection.peer.state = (
            PeerState.GONE if not connection.session.dialled and state is PeerState.WAITING else state
        )
        if code is not ByeCode.DUPLICATE_CONNECTION:
            connection.peer.last_error = text
            by_peer = connection.session.refusal is None
            connection.peer.last_error_code = error_code_of(code, from_peer=by_peer)
            if state in (PeerState.QUARANTINED, PeerState.REFUSED):
                self._event(state.value, connection.peer, text)
            elif was_open:
                self._event("disconnected", connection.peer, text)
        self._observer.connection_ended(connection)

    def _event(self, kind: str, peer: Peer, text: str) -> None:
        if kind == "refused" and not peer.dialled:
            if not self.refusals.may_report(self.now_ms()):
                return
            if unreported := self.refusals.take_unreported():
                text += f" (and {unreported} more before)"
        level = logging.WARNING if kind in ("quarantined", "refused") else logging.INFO
        origin = origin_name(peer.origin) if peer.origin else ""
        _log.log(level, "%s %s (origin %s): %s", kind, peer.label, origin or "unknown", text)
        self._on_event(PeerEvent(kind, peer.address, origin, text, peer.fingerprint))

    # -- changes that one connection brings for the others

    def applied(self, connection: PeerConnection, result: PullResult) -> None:
        """Forward the changes that a connection has brought to all other peers, and our new vector to all peers."""
        if result.news:
            for other in self.by_origin.values():
                if other is not connection:
                    for origin, intervals in result.news.items():
                        other.entries_applied(origin, intervals)
                    self.has_output(other)
        if result.restamped:
            text = "%d entries were re-stamped, since a peer may have missed them or the deletes before them"
            _log.info(text, result.restamped)
            self.local_change()
        if result.adopted is not None:
            self._vector_adopted(connection, result.adopted)

    def _vector_adopted(self, connection: PeerConnection, moved: Vector) -> None:
        if connection.peer.state in (PeerState.SCANNING, PeerState.RECONCILING):
            connection.peer.state = PeerState.LIVE
        if moved:
            self.store.notifier.ring()
            for other in self.by_origin.values():
                other.vector_moved(moved)
                self.has_output(other)
        self._observer.vector_moved()

    def vector_received(self, token: int, vector: Vector) -> None:
        """See PeerHost."""
        self._observer.vector_received(token, vector)

    # -- one reconciliation at a time

    def may_reconcile(self, connection: PeerConnection) -> bool:
        """See PeerHost."""
        return self._reconciling_with is None or self._reconciling_with is connection

    def pulls_elsewhere(self, connection: PeerConnection) -> bool:
        """See PeerHost."""
        others = (other for other in self.by_origin.values() if other is not connection)
        return any(other.session.pull.target is not None and not other.peer.stalled for other in others)

    def reconciliation_began(self, connection: PeerConnection, *, alone: bool) -> None:
        """`alone`: we missed tombstones that the peer has dropped. Until we have adopted its horizon no other peer may
        send us changes, which could bring back a key behind the reconciliation."""
        self._reconciling_with, self._alone = connection, alone
        if alone:
            for other in self.by_origin.values():
                if other is not connection and other.session.phase is Phase.OPEN:
                    other.pause_pull()

    def reconciliation_ended(self, connection: PeerConnection) -> None:
        """The reconciliation is complete, or has broken off: resume the pulls that waited for its end."""
        if self._reconciling_with is not connection:
            return
        self._reconciling_with, self._alone = None, False
        if self.store.bulk_loading:
            self.store.end_reconciliation()
            for other in self.by_origin.values():
                self.has_output(other)  # pulls of peers wait for the end of a bulk load
        for other in self.by_origin.values():
            if other is not connection and other.session.phase is Phase.OPEN:
                other.resume_pull()
