"""Connects one session with its transport and the store. Contains no sockets: a Transport takes the bytes to send.

Received bytes go through the session to the puller or the pusher; the changes that a pull makes here go once to the
coordinator, which forwards them. The log is read for the peer as fast as the peer reads, and no faster.
"""

import logging
from collections.abc import Callable
from random import Random
from typing import Protocol

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import FRAMES_PER_TURN, MAX_WAITING_VECTOR_QUERIES
from level_replicator.core.version_vector import Vector
from level_replicator.protocol.events import (
    CompareRequested,
    EntriesReceived,
    EntriesRequested,
    Event,
    HistoriesReceived,
    PeerClosed,
    PeerIdentified,
    PeerReconciled,
    PeerVectorAdvanced,
    PullPaused,
    PullRequested,
    RangeAnswered,
    RangeEntriesReceived,
    RangesQueried,
    ReconcileStarted,
    RoundCompleted,
    SessionOpened,
    VectorReceived,
    VectorRequested,
)
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase, Session
from level_replicator.replication.history_exchange import HistoryExchange
from level_replicator.replication.origin_guard import OriginGuard
from level_replicator.replication.peers import Peer, PeerErrorCode, PeerState
from level_replicator.replication.puller import Puller, PullResult
from level_replicator.replication.pusher import Pusher
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.reconcile.comparison import Difference
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")


class Transport(Protocol):
    """Takes the bytes for the peer. `full`: the peer has SEND_BUFFER_BYTES or more unread; when this ends, the
    transport calls `PeerConnection.drained`."""

    full: bool

    def send(self, frames: list[bytes]) -> None: ...

    def close(self) -> None:
        """Close after all sent bytes have left. PeerConnection.lost follows."""

    def abort(self) -> None:
        """Close at once. Sent bytes that have not left are discarded."""


class PeerHost(Protocol):
    """The coordinator of all connections of the node, as one connection sees it. Each call names the connection."""

    store: Store
    random: Random
    guard: OriginGuard

    @property
    def now_ms(self) -> Callable[[], int]:
        """A clock that does not jump."""

    @property
    def wall_ms(self) -> Callable[[], int]:
        """Milliseconds since 1970."""

    def has_output(self, connection: "PeerConnection") -> None:
        """Let the connection send soon."""

    def bytes_received(self, connection: "PeerConnection") -> None:
        """Messages of the peer have been handled: enforce the limit on memory, and let the connection send soon."""

    def admit(self, connection: "PeerConnection", peer: PeerIdentified) -> None:
        """Accept the peer, whose origin and instance are known now, or end the connection."""

    def connection_opened(self, connection: "PeerConnection") -> None: ...

    def connection_ended(
        self, connection: "PeerConnection", state: PeerState, text: str, code: ByeCode | None
    ) -> None: ...

    def vector_received(self, token: int, vector: Vector) -> None:
        """The peer has answered a vector query of `wait_synced`."""

    def applied(self, connection: "PeerConnection", result: PullResult) -> None:
        """Forward the changes that the connection has brought to the other peers."""

    def may_reconcile(self, connection: "PeerConnection") -> bool:
        """Returns False while this node reconciles with another peer."""

    def pulls_elsewhere(self, connection: "PeerConnection") -> bool:
        """Returns True if a round of another peer is under way and makes progress."""

    def reconciliation_began(self, connection: "PeerConnection", *, alone: bool) -> None: ...

    def reconciliation_ended(self, connection: "PeerConnection") -> None: ...


class PeerConnection:
    """A connection with one peer, from its first byte to its end."""

    def __init__(self, host: PeerHost, session: Session, transport: Transport, peer: Peer) -> None:
        self.host = host
        self.session = session
        self.transport = transport
        self.peer = peer
        self.ended = False
        self.histories = HistoryExchange(session, host.store)
        self.pusher = Pusher(session, host.store, lambda: self.peer, self.histories, now_ms=host.now_ms)
        self.puller = Puller(
            session, host.store, lambda: self.peer, self.histories, now_ms=host.now_ms, random=host.random
        )
        self._vector_queries: list[int] = []

    @property
    def send_queue(self) -> SendQueue | None:
        """The intervals that the peer is still to be sent; None until it has requested a pull."""
        return self.pusher.send_queue

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted."""
        return self.session.phase is Phase.OPEN

    @property
    def read_only(self) -> bool:
        """Whether this node takes no changes from the peer."""
        return self.session.read_only

    @property
    def origins(self) -> int:
        """How many origins are in the vectors of the peer that are kept here, and epochs in its histories."""
        session = self.session
        return (
            self.histories.peer_epochs
            + len(session.push.peer_vector)
            + len(session.peer_horizon)
            + len(session.pull.target or ())
        )

    # -- from the transport

    def received(self, data: bytes) -> None:
        """Handle received bytes. Never raises for what a peer can do."""
        self.peer.bytes_in += len(data)
        try:
            for event in self.session.receive(data, self.host.now_ms(), self.host.wall_ms()):
                self._handle(event)
                if self.ended:
                    return
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        else:
            self.host.bytes_received(self)

    def drained(self) -> None:
        """The transport takes bytes again."""
        self.host.has_output(self)

    def lost(self, why: str) -> None:
        """The transport has closed."""
        if not self.ended:
            expects_tls = self.session.dialled and self.session.phase is Phase.HELLO and self.peer.fingerprint is None
            if expects_tls:
                why += " before the peer sent a byte: does the peer expect TLS (`pems`)?"
            self._finish(PeerState.WAITING, why)
            if expects_tls:
                self.peer.last_error_code = PeerErrorCode.TLS

    # -- from the coordinator

    def tick(self) -> None:
        """Enforce time limits and send heartbeats."""
        try:
            self.session.tick(self.host.now_ms())
            if self.session.phase is Phase.OPEN:
                self.puller.tick()
                self.pusher.tick()
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code), str(error))
        else:
            self.host.has_output(self)

    def end(self, code: ByeCode, text: str) -> None:
        """Send the peer a Bye with the reason, and close."""
        if self.ended:
            return
        self.session.refuse(code, text)
        self.flush()
        self._finish(_state_after(code), text, code)

    def cut(self, why: str) -> None:
        """Close at this instant: nothing more is sent, not even bytes that wait to be sent."""
        if not self.ended:
            self.transport.abort()
            self.session.refuse(ByeCode.REJECTED, why)
            self.session.take_output(self.host.now_ms())
            self._finish(PeerState.REFUSED, why, ByeCode.REJECTED)

    def start_pull(self) -> None:
        """Begin to pull from the peer; see Puller.start."""
        self.puller.start()
        self.host.has_output(self)

    def pause_pull(self) -> None:
        """See Puller.pause."""
        self.puller.pause()
        self.host.has_output(self)

    def resume_pull(self) -> None:
        """See Puller.resume."""
        self.puller.resume()
        self.host.has_output(self)

    def compare(self, on_compared: Callable[[Difference | None], None]) -> None:
        """Compare the peer's index with ours; see Puller.compare."""
        self.puller.compare(on_compared)
        self.host.has_output(self)

    def _storage_failed(self, error: Exception) -> None:
        """End the connection. The error is only logged here, since it may contain paths of this machine."""
        _log.error("sending to %s failed: %s", self.peer.label, error)
        self.end(ByeCode.STORAGE, "a LevelDB of the node failed: see the log of the node")

    def _finish(self, state: PeerState, text: str, code: ByeCode | None = None) -> None:
        self.ended = True
        self.pusher.close()
        self.transport.close()
        self.host.connection_ended(self, state, text, code)
        self.puller.close()
        self.host.reconciliation_ended(self)

    # -- events of the session

    def _handle(self, event: Event) -> None:
        host = self.host
        match event:
            case EntriesReceived():
                self._apply_entries(event)
            case RoundCompleted():
                # since the round began a third node may have sent an epoch that this peer does not know
                if host.guard.agrees_on_vector(self, event.vector):
                    host.applied(self, self.puller.complete_round(event))
            case PeerVectorAdvanced():
                if host.guard.accepts_vector(self, event.vector):
                    if event.feeding:
                        self.puller.round_started()
                    self.puller.retry_if_not_doubtful()
            case PullRequested():
                accepts = host.guard.accepts_vector(self, event.vector)
                if accepts and host.guard.accepts_resume_intervals(self, event.have):
                    self.pusher.start(event)
            case HistoriesReceived():
                host.guard.histories_received(self, event)
            case PullPaused():
                self.pusher.pause()
            case ReconcileStarted():
                self._start_reconciliation(event)
            case RangeAnswered():
                self.puller.range_answered(event)
            case RangeEntriesReceived():
                if self.puller.reconciling and host.guard.agrees_on_entries(self, event.entries):
                    host.applied(self, self.puller.apply_range_entries(event))
            case CompareRequested():
                self.pusher.start_comparison()
            case RangesQueried():
                self.pusher.query_ranges(event.ranges)
                self.puller.peer_reconciles()
            case EntriesRequested():
                self.pusher.fetch(event.keys, event.digests)
                self.puller.peer_reconciles()
            case PeerReconciled():
                self.pusher.reconciliation_done()
            case PeerIdentified():
                host.admit(self, event)
            case SessionOpened():
                host.connection_opened(self)
            case VectorRequested():
                self._vector_queries.append(event.token)
                if len(self._vector_queries) > MAX_WAITING_VECTOR_QUERIES:
                    raise RemoteProtocolError(
                        f"more than {MAX_WAITING_VECTOR_QUERIES} vector queries are unanswered, since the peer does not"
                        " read the replies"
                    )
            case VectorReceived():
                host.vector_received(event.token, event.vector)
            case PeerClosed():
                if self.session.peer is not None:
                    self.peer.origin, self.peer.instance = self.session.peer.origin, self.session.peer.instance
                code = ByeCode(event.code) if event.code in ByeCode.__members__.values() else ByeCode.PROTOCOL
                self._finish(_state_after(code), f"the peer says: {event.text}", code)

    def _apply_entries(self, frame: EntriesReceived) -> None:
        host, peer, session = self.host, self.peer, self.session
        peer.entries_in += len(frame.entries)
        if not host.guard.accepts_entries(self, frame):
            return
        assert session.peer is not None
        if frame.entries and frame.origin == session.peer.origin and peer.state is PeerState.LIVE:
            # the peer has just written this: its clock, apart from the time that the entry took to arrive
            peer.clock_ahead_ms = (frame.entries[-1].stamp >> 16) - host.wall_ms()
        result = self.puller.apply_entries(frame)
        self.pusher.entries_received(frame)
        host.applied(self, result)

    def _start_reconciliation(self, event: ReconcileStarted) -> None:
        host = self.host
        if not host.guard.accepts_vector(self, event.vector):
            return
        began = self.puller.start_reconciliation(
            event, may_reconcile=host.may_reconcile(self), others_pull=host.pulls_elsewhere(self)
        )
        if began:
            alone = host.store.bulk_loading or host.store.is_stale(event.horizon)
            host.reconciliation_began(self, alone=alone)

    # -- to the peer

    def entries_applied(self, origin: int, news: list[Interval]) -> None:
        """Forward changes of another peer, which are in the log now."""
        self.pusher.queue_intervals(origin, news)

    def vector_moved(self, moved: Vector) -> None:
        """Send the peer the entries of our vector that moved."""
        self.pusher.queue_vector(moved)

    def pump(self) -> int | None:
        """Send a few frames. Returns the milliseconds until it has more to send; None: there is none
        before the next event."""
        wait = None
        try:
            if not self.ended and self.session.phase is Phase.OPEN and not self.transport.full:
                self.histories.send_changes()
                wait = self._push()
                if self.puller.reconciling:
                    wait = 0 if self._reconcile() else wait
                self.pusher.send_vector_update()
                for token in self._vector_queries:
                    self.session.reply_vector(token, self.host.store.vector_copy())
                self._vector_queries.clear()
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        self.flush()
        return wait

    def _push(self) -> int | None:
        """Serve the peer's pull, a few frames, while the transport takes them."""
        for _ in range(FRAMES_PER_TURN):
            if self.transport.full:
                return None
            wait = self.pusher.step()
            if wait != 0:
                return wait
            self.flush()
        return 0

    def _reconcile(self) -> bool:
        """Run a slice of our reconciliation. Returns whether it has more to do before the peer answers."""
        host, puller = self.host, self.puller
        host.applied(self, puller.step())
        if not puller.reconciled:
            return puller.has_work
        vector = puller.vector_to_adopt
        if vector is not None and not host.guard.agrees_on_vector(self, vector):
            return False  # the connection has ended
        host.applied(self, puller.finish_reconciliation())
        host.reconciliation_ended(self)
        return False

    def flush(self) -> None:
        frames = self.session.take_output(self.host.now_ms())
        if frames:
            self.peer.bytes_out += sum(map(len, frames))
            self.transport.send(frames)


def _state_after(code: ByeCode) -> PeerState:
    if code is ByeCode.CLOCK:
        return PeerState.QUARANTINED
    if code in (ByeCode.STOPPING, ByeCode.DUPLICATE_CONNECTION, ByeCode.ORIGIN_CHANGED, ByeCode.TIMEOUT):
        return PeerState.WAITING
    return PeerState.REFUSED
