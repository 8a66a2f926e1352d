"""One session tied to its transport and to the store. No sockets here: the transport is anything that takes bytes.

What arrives goes through the session to the store; what the store has for the peer is read from its
log as fast as the peer reads, and no faster.
"""

import logging
from typing import TYPE_CHECKING, Protocol

from level_replicator.core.epochs import Histories
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import MAX_WAITING_VECTOR_QUERIES
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
from level_replicator.replication.peers import Peer, PeerState
from level_replicator.replication.puller import Puller
from level_replicator.replication.pusher import Pusher
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.feed.send_queue import SendQueue

if TYPE_CHECKING:
    from level_replicator.replication.coordinator import Coordinator

_log = logging.getLogger("level_replicator.runtime")


class Transport(Protocol):
    """Where bytes go. `full`: the peer has SEND_BUFFER_BYTES or more unread; `Link.drained` tells the end of that."""

    full: bool

    def send(self, frames: list[bytes]) -> None: ...

    def close(self) -> None:
        """Closes after what was sent has left. Link.lost follows."""

    def abort(self) -> None:
        """Closes, and what was sent and has not left stays here."""


class PeerConnection:
    """Of one connection, from its first byte to its end."""

    def __init__(self, coordinator: "Coordinator", session: Session, transport: Transport, peer: Peer) -> None:
        self.coordinator = coordinator
        self.session = session
        self.transport = transport
        self.peer = peer
        self.pusher = Pusher(self)
        self.puller = Puller(self)
        self.ended = False
        self._have: Vector = {}
        self._vector_queries: list[int] = []
        self.their_histories: Histories = {}
        self.their_epochs = 0
        self.names_agreed = False
        self._sent_histories: Histories = {}
        self._digest = b""

    @property
    def send_queue(self) -> SendQueue | None:
        """What the peer is still to be sent; None until it has wanted anything."""
        return self.pusher.send_queue

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted."""
        return self.session.phase is Phase.OPEN

    @property
    def origins(self) -> int:
        """How many are in the vectors of the peer that are kept here, and epochs in its histories."""
        session = self.session
        return (
            self.their_epochs
            + len(session.push.peer_vector)
            + len(self.pusher.peer_horizon)
            + len(session.pull.target or ())
        )

    # -- from the transport

    def received(self, data: bytes) -> None:
        """What arrived. Never raises for what a peer can do."""
        self.peer.bytes_in += len(data)
        try:
            for effect in self.session.receive(data, self.coordinator.now_ms(), self.coordinator.wall_ms()):
                self._perform(effect)
                if self.ended:
                    return
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        else:
            self.coordinator.heard(self)

    def drained(self) -> None:
        """The transport takes bytes again."""
        self.coordinator.has_output(self)

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if not self.ended:
            if self.session.dialled and self.session.phase is Phase.HELLO and self.peer.fingerprint is None:
                why += " before a word was said: does the peer expect TLS (`pems`)?"
            self._finish(PeerState.WAITING, why)

    def tick(self) -> None:
        try:
            self.session.tick(self.coordinator.now_ms())
            if self.session.phase is Phase.OPEN:
                self.puller.tick()
                self.pusher.tick()
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code), str(error))
        else:
            self.coordinator.has_output(self)

    def end(self, code: ByeCode, text: str) -> None:
        """Tells the peer why, and closes."""
        if self.ended:
            return
        self.session.refuse(code, text)
        self.flush()
        self._finish(_state_after(code), text, code)

    def cut(self, why: str) -> None:
        """Ends it at this instant: nothing more is sent, also not what waits to be."""
        if not self.ended:
            self.transport.abort()
            self.session.refuse(ByeCode.REJECTED, why)
            self.session.take_output(self.coordinator.now_ms())
            self._finish(PeerState.REFUSED, why, ByeCode.REJECTED)

    def _storage_failed(self, error: Exception) -> None:
        """What failed is for our own log: a peer need not know our paths."""
        _log.error("serving %s failed: %s", self.peer.address, error)
        self.end(ByeCode.STORAGE, "a LevelDB of the node failed: its log says how")

    def _finish(self, state: PeerState, text: str, code: ByeCode | None = None) -> None:
        self.ended = True
        self.pusher.close()
        self.transport.close()
        self.coordinator.connection_ended(self, state, text, code)
        self.puller.close()

    # -- effects of the session

    def _perform(self, effect: Event) -> None:
        match effect:
            case EntriesReceived():
                self.peer.entries_in += len(effect.entries)
                self.puller.apply(effect)
            case RoundCompleted():
                self.puller.take(effect)
            case PeerVectorAdvanced():
                if self.coordinator.peer_has(self, effect.vector):
                    if effect.feeding:
                        self.puller.round_begins()
                    self.puller.peer_moved()
            case PullRequested():
                if self.coordinator.peer_has(self, effect.vector) and self.coordinator.peer_applied(self, effect.have):
                    self.pusher.wanted(self._send_queue_of(effect), effect.horizon)
            case HistoriesReceived():
                self.coordinator.peer_histories(self, effect)
            case PullPaused():
                self.pusher.hold()
            case ReconcileStarted():
                self.puller.begin_reconciliation(effect)
            case RangeAnswered():
                self.puller.answered(effect)
            case RangeEntriesReceived():
                self.puller.filled(effect)
            case CompareRequested():
                self.pusher.compared()
            case RangesQueried():
                self.pusher.responder.query(effect.ranges)
            case EntriesRequested():
                self.pusher.responder.fetch(effect.keys, effect.digests)
            case PeerReconciled():
                self.pusher.reconcile_done()
            case PeerIdentified():
                self.coordinator.admit(self, effect)
            case SessionOpened():
                self.coordinator.connection_opened(self)
            case VectorRequested():
                self._vector_queries.append(effect.token)
                if len(self._vector_queries) > MAX_WAITING_VECTOR_QUERIES:
                    raise RemoteProtocolError("asks faster than it reads the answers")
            case VectorReceived():
                self.coordinator.told(effect.token, effect.vector)
            case PeerClosed():
                if self.session.peer is not None:
                    self.peer.origin, self.peer.instance = self.session.peer.origin, self.session.peer.instance
                code = ByeCode(effect.code) if effect.code in ByeCode.__members__.values() else ByeCode.PROTOCOL
                self._finish(_state_after(code), f"the peer says: {effect.text}", code)

    def _send_queue_of(self, wants: PullRequested) -> SendQueue:
        assert self.session.peer is not None
        return SendQueue(self.session.peer.origin, wants.have, lines=wants.lines, reconcile=wants.reconcile)

    # -- the histories of origins

    def accept(self) -> bool:
        """Accept the peer. Returns True if the session is open with that."""
        store = self.coordinator.store
        self._sent_histories, self._digest = store.histories, store.histories_digest()
        return self.session.welcome(self._digest)

    def begin_histories(self) -> None:
        """The session is open. If both sides know the same of the histories of origins, nothing is told."""
        store = self.coordinator.store
        if self._digest == self.session.peer_digest:
            self.names_agreed = True
            self.their_histories = self._sent_histories
            self.send_histories()
        else:
            self._sent_histories = store.histories
            self.session.histories(store.histories, store.branches)

    def send_histories(self) -> None:
        """Tell what has changed in our histories; to be called before a message that may depend on it."""
        told, histories = self._sent_histories, self.coordinator.store.histories
        if told is histories:
            return
        self._sent_histories = histories
        changed = {origin: history for origin, history in histories.items() if told.get(origin) != history}
        if changed:
            self.session.histories(changed, self.coordinator.store.branches)

    # -- to the peer

    def applied_elsewhere(self, origin: int, news: list[Interval]) -> None:
        """Another peer's changes are in the log."""
        self.pusher.applied_elsewhere(origin, news)

    def vector_moved(self, moved: Vector) -> None:
        """Our vector moved: the peer is told, and need not send us what we have."""
        self._have.update(moved)
        self.pusher.vector_moved(moved)

    def told_by_round(self, target: Vector) -> None:
        """What the round tells need not be told again; it leaves out what the peer knows itself."""
        if not self._have:
            return
        known = self.session.push.peer_vector
        for origin, stamp in target.items():
            if self._have.get(origin, 0) <= stamp and stamp > known.get(origin, 0):
                self._have.pop(origin, None)

    def pump(self) -> int | None:
        """Sends what there is, a few frames. Milliseconds until it wants to go on; None: when something happens."""
        wait = None
        try:
            if not self.ended and self.session.phase is Phase.OPEN and not self.transport.full:
                self.send_histories()
                wait = self.pusher.pump()
                if self.puller.reconciling:
                    wait = 0 if self.puller.pump() == 0 else wait
                self._answers()
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        self.flush()
        return wait

    def _answers(self) -> None:
        if self._have:
            have, self._have = self._have, {}
            self.session.send_vector_update(have)
        for token in self._vector_queries:
            self.session.reply_vector(token, self.coordinator.store.vector_copy())
        self._vector_queries.clear()

    def flush(self) -> None:
        frames = self.session.take_output(self.coordinator.now_ms())
        if frames:
            self.peer.bytes_out += sum(map(len, frames))
            self.transport.send(frames)


def _state_after(code: ByeCode) -> PeerState:
    if code is ByeCode.CLOCK:
        return PeerState.QUARANTINED
    if code in (ByeCode.STOPPING, ByeCode.DUPLICATE_CONNECTION, ByeCode.ORIGIN_CHANGED, ByeCode.TIMEOUT):
        return PeerState.WAITING
    return PeerState.REFUSED
