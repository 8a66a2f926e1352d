"""One session tied to its transport and to the store. No sockets here: the transport is anything that takes bytes.

What arrives goes through the session to the store; what the store has for the peer is read from its
log as fast as the peer reads, and no faster.
"""

import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from level_replicator.core.entry import Entry
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
from level_replicator.storage.reconcile.resolver import News
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")


class Transport(Protocol):
    """Where bytes go. `full`: the peer has SEND_BUFFER_BYTES or more unread; `PeerConnection.drained` tells the end of
    that."""

    full: bool

    def send(self, frames: list[bytes]) -> None: ...

    def close(self) -> None:
        """Closes after what was sent has left. PeerConnection.lost follows."""

    def abort(self) -> None:
        """Closes, and what was sent and has not left stays here."""


class PeerHost(Protocol):
    """What a connection asks of the coordinator of all connections of the node. Each call names the connection."""

    store: Store
    random: Random

    @property
    def now_ms(self) -> Callable[[], int]:
        """A clock that does not jump."""

    @property
    def wall_ms(self) -> Callable[[], int]:
        """Milliseconds since 1970."""

    def has_output(self, connection: "PeerConnection") -> None:
        """Let the connection send soon."""

    def heard(self, connection: "PeerConnection") -> None:
        """The peer has said something."""

    def admit(self, connection: "PeerConnection", peer: PeerIdentified) -> None:
        """The peer has said who it is: accept it, or end the connection."""

    def connection_opened(self, connection: "PeerConnection") -> None: ...

    def connection_ended(
        self, connection: "PeerConnection", state: PeerState, text: str, code: ByeCode | None
    ) -> None: ...

    def told(self, token: int, vector: Vector) -> None:
        """The peer has answered a query for its vector."""

    def peer_has(self, connection: "PeerConnection", vector: Vector) -> bool: ...

    def peer_applied(self, connection: "PeerConnection", have: list[tuple[int, int, int]]) -> bool: ...

    def peer_histories(self, connection: "PeerConnection", told: HistoriesReceived) -> None: ...

    def has_our_histories(self, connection: "PeerConnection", vector: Vector) -> bool: ...

    def has_entries_of_our_histories(
        self, connection: "PeerConnection", entries: Iterable[tuple[int, Entry]]
    ) -> bool: ...

    def apply(self, connection: "PeerConnection", frame: EntriesReceived) -> bool: ...

    def take(self, connection: "PeerConnection", effect: RoundCompleted) -> None: ...

    def moved(self, connection: "PeerConnection", moved: Vector) -> None: ...

    def news(self, connection: "PeerConnection", news: News) -> None: ...

    def restamped(self, entries: int) -> None: ...

    def may_reconcile(self, connection: "PeerConnection") -> bool: ...

    def pulls_elsewhere(self, connection: "PeerConnection") -> bool: ...

    def reconciliation_began(self, connection: "PeerConnection", *, alone: bool) -> None: ...

    def reconciliation_ended(self, connection: "PeerConnection") -> None: ...


class PeerConnection:
    """Of one connection, from its first byte to its end."""

    def __init__(self, host: PeerHost, session: Session, transport: Transport, peer: Peer) -> None:
        self.host = host
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

    # -- for puller and pusher

    @property
    def store(self) -> Store:
        return self.host.store

    @property
    def random(self) -> Random:
        return self.host.random

    @property
    def full(self) -> bool:
        return self.transport.full

    @property
    def peer_horizon(self) -> Vector:
        return self.pusher.peer_horizon

    def now_ms(self) -> int:
        return self.host.now_ms()

    def wants_output(self) -> None:
        self.host.has_output(self)

    def peer_goes_on(self) -> None:
        self.puller.peer_goes_on()

    def peer_has(self, vector: Vector) -> bool:
        return self.host.peer_has(self, vector)

    def has_our_histories(self, vector: Vector) -> bool:
        return self.host.has_our_histories(self, vector)

    def has_entries_of_our_histories(self, entries: Iterable[tuple[int, Entry]]) -> bool:
        return self.host.has_entries_of_our_histories(self, entries)

    def apply(self, frame: EntriesReceived) -> bool:
        return self.host.apply(self, frame)

    def take(self, effect: RoundCompleted) -> None:
        self.host.take(self, effect)

    def moved(self, moved: Vector) -> None:
        self.host.moved(self, moved)

    def news(self, news: News) -> None:
        self.host.news(self, news)

    def restamped(self, entries: int) -> None:
        self.host.restamped(entries)

    def may_reconcile(self) -> bool:
        return self.host.may_reconcile(self)

    def pulls_elsewhere(self) -> bool:
        return self.host.pulls_elsewhere(self)

    def reconciliation_began(self, *, alone: bool) -> None:
        self.host.reconciliation_began(self, alone=alone)

    def reconciliation_ended(self) -> None:
        self.host.reconciliation_ended(self)

    # -- from the transport

    def received(self, data: bytes) -> None:
        """What arrived. Never raises for what a peer can do."""
        self.peer.bytes_in += len(data)
        try:
            for effect in self.session.receive(data, self.host.now_ms(), self.host.wall_ms()):
                self._perform(effect)
                if self.ended:
                    return
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        else:
            self.host.heard(self)

    def drained(self) -> None:
        """The transport takes bytes again."""
        self.wants_output()

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if not self.ended:
            if self.session.dialled and self.session.phase is Phase.HELLO and self.peer.fingerprint is None:
                why += " before a word was said: does the peer expect TLS (`pems`)?"
            self._finish(PeerState.WAITING, why)

    def tick(self) -> None:
        try:
            self.session.tick(self.host.now_ms())
            if self.session.phase is Phase.OPEN:
                self.puller.tick()
                self.pusher.tick()
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code), str(error))
        else:
            self.wants_output()

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
            self.session.take_output(self.host.now_ms())
            self._finish(PeerState.REFUSED, why, ByeCode.REJECTED)

    def _storage_failed(self, error: Exception) -> None:
        """What failed is for our own log: a peer need not know our paths."""
        _log.error("sending to %s failed: %s", self.peer.address, error)
        self.end(ByeCode.STORAGE, "a LevelDB of the node failed: its log says how")

    def _finish(self, state: PeerState, text: str, code: ByeCode | None = None) -> None:
        self.ended = True
        self.pusher.close()
        self.transport.close()
        self.host.connection_ended(self, state, text, code)
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
                if self.peer_has(effect.vector):
                    if effect.feeding:
                        self.puller.round_begins()
                    self.puller.peer_moved()
            case PullRequested():
                if self.peer_has(effect.vector) and self.host.peer_applied(self, effect.have):
                    self.pusher.wanted(self._send_queue_of(effect), effect.horizon)
            case HistoriesReceived():
                self.host.peer_histories(self, effect)
            case PullPaused():
                self.pusher.hold()
            case ReconcileStarted():
                self.puller.begin_reconciliation(effect)
            case RangeAnswered():
                self.puller.answered(effect)
            case RangeEntriesReceived():
                self.puller.entries_received(effect)
            case CompareRequested():
                self.pusher.compared()
            case RangesQueried():
                self.pusher.responder.query(effect.ranges)
            case EntriesRequested():
                self.pusher.responder.fetch(effect.keys, effect.digests)
            case PeerReconciled():
                self.pusher.reconcile_done()
            case PeerIdentified():
                self.host.admit(self, effect)
            case SessionOpened():
                self.host.connection_opened(self)
            case VectorRequested():
                self._vector_queries.append(effect.token)
                if len(self._vector_queries) > MAX_WAITING_VECTOR_QUERIES:
                    raise RemoteProtocolError("asks faster than it reads the answers")
            case VectorReceived():
                self.host.told(effect.token, effect.vector)
            case PeerClosed():
                if self.session.peer is not None:
                    self.peer.origin, self.peer.instance = self.session.peer.origin, self.session.peer.instance
                code = ByeCode(effect.code) if effect.code in ByeCode.__members__.values() else ByeCode.PROTOCOL
                self._finish(_state_after(code), f"the peer says: {effect.text}", code)

    def _send_queue_of(self, wants: PullRequested) -> SendQueue:
        assert self.session.peer is not None
        return SendQueue(self.session.peer.origin, wants.have, rows=wants.rows, reconcile=wants.reconcile)

    # -- the histories of origins

    def accept(self) -> bool:
        """Accept the peer. Returns True if the session is open with that."""
        store = self.host.store
        self._sent_histories, self._digest = store.histories, store.histories_digest()
        return self.session.welcome(self._digest)

    def begin_histories(self) -> None:
        """The session is open. If both sides know the same of the histories of origins, nothing is told."""
        store = self.host.store
        if self._digest == self.session.peer_digest:
            self.names_agreed = True
            self.their_histories = self._sent_histories
            self.send_histories()
        else:
            self._sent_histories = store.histories
            self.session.histories(store.histories, store.branches)

    def send_histories(self) -> None:
        """Tell what has changed in our histories; to be called before a message that may depend on it."""
        told, histories = self._sent_histories, self.host.store.histories
        if told is histories:
            return
        self._sent_histories = histories
        changed = {origin: history for origin, history in histories.items() if told.get(origin) != history}
        if changed:
            self.session.histories(changed, self.host.store.branches)

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
            self.session.reply_vector(token, self.host.store.vector_copy())
        self._vector_queries.clear()

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
