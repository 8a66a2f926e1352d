"""One session tied to its transport and to the store. No sockets here: the transport is anything that takes bytes.

What arrives goes through the session to the store; what the store has for the peer is read from its
log as fast as the peer reads, and no faster.
"""

import logging
from typing import TYPE_CHECKING, Protocol

from level_replicator.core.effects import (
    Apply,
    Asked,
    Effect,
    Farewell,
    Judge,
    Opened,
    PeerHas,
    PeerWants,
    Take,
    Told,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    FORWARD_DELAY_MS,
    FRAME_TARGET_BYTES,
    FRAME_TARGET_ENTRIES,
    FRAMES_PER_TURN,
    MAX_WAITING_ASKS,
    ROUND_INTERVAL_MS,
)
from level_replicator.core.messages import ByeCode
from level_replicator.core.session import Phase, Session
from level_replicator.core.versions import Vector
from level_replicator.runtime.peers import Peer, PeerState
from level_replicator.storage.feed import Feed, RoundReader
from level_replicator.storage.plyvel_engine import ENGINE_ERRORS

if TYPE_CHECKING:
    from level_replicator.runtime.hub import Hub

_log = logging.getLogger("level_replicator.runtime")


class Transport(Protocol):
    """Where bytes go. `full`: the peer has SEND_BUFFER_BYTES or more unread; `Link.drained` tells the end of that."""

    full: bool

    def send(self, frames: list[bytes]) -> None: ...

    def close(self) -> None:
        """Closes after what was sent has left. Link.lost follows."""


class Link:
    """Of one connection, from its first byte to its end."""

    def __init__(self, hub: "Hub", session: Session, transport: Transport, peer: Peer) -> None:
        self.hub = hub
        self.session = session
        self.transport = transport
        self.peer = peer
        self.feed: Feed | None = None
        self.ended = False
        self._reader: RoundReader | None = None
        self._have: Vector = {}
        self._asks: list[int] = []
        self._quiet_until_ms = 0
        self._forward_at_ms: int | None = None

    # -- from the transport

    def received(self, data: bytes) -> None:
        """What arrived. Never raises for what a peer can do."""
        self.peer.bytes_in += len(data)
        try:
            for effect in self.session.receive(data, self.hub.now_ms(), self.hub.wall_ms()):
                self._perform(effect)
                if self.ended:
                    return
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        else:
            self.hub.has_output(self)

    def drained(self) -> None:
        """The transport takes bytes again."""
        self.hub.has_output(self)

    def lost(self, why: str) -> None:
        """The connection is gone."""
        if not self.ended:
            self._finish(PeerState.WAITING, why)

    def tick(self) -> None:
        try:
            self.session.tick(self.hub.now_ms())
        except RemoteProtocolError as error:
            self.end(ByeCode(error.code), str(error))
        else:
            self.hub.has_output(self)

    def end(self, code: ByeCode, text: str) -> None:
        """Tells the peer why, and closes."""
        if self.ended:
            return
        self.session.refuse(code, text)
        self._flush()
        self._finish(_state_after(code), text, code)

    def _storage_failed(self, error: Exception) -> None:
        """What failed is for our own log: a peer need not know our paths."""
        _log.error("serving %s failed: %s", self.peer.address, error)
        self.end(ByeCode.STORAGE, "a LevelDB of the node failed: its log says how")

    def _finish(self, state: PeerState, text: str, code: ByeCode | None = None) -> None:
        self.ended = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self.transport.close()
        self.hub.link_ended(self, state, text, code)

    # -- effects of the session

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Apply():
                self.peer.entries_in += len(effect.entries)
                self.hub.apply(self, effect)
            case Take():
                self.hub.take(self, effect)
            case PeerHas():
                self.hub.peer_has(self, effect.vector)
            case PeerWants():
                if self.hub.peer_has(self, effect.vector) and self.hub.peer_applied(self, effect.have):
                    assert self.session.peer is not None
                    self.feed = Feed(self.session.peer.origin, effect.have)
            case Judge():
                self.hub.judge(self, effect)
            case Opened():
                self.hub.link_opened(self)
            case Asked():
                self._asks.append(effect.token)
                if len(self._asks) > MAX_WAITING_ASKS:
                    raise RemoteProtocolError("asks faster than it reads the answers")
            case Told():
                self.hub.told(effect.token, effect.vector)
            case Farewell():
                if self.session.peer is not None:
                    self.peer.origin = self.session.peer.origin
                code = ByeCode(effect.code) if effect.code in ByeCode.__members__.values() else ByeCode.PROTOCOL
                self._finish(_state_after(code), f"the peer says: {effect.text}", code)

    # -- to the peer

    def applied_elsewhere(self, origin: int, news: list[Interval]) -> None:
        """Another peer's changes are in the log: forwarded in a while, unless the peer says that it has them."""
        if self.feed is not None:
            self.feed.applied(origin, news)
            self._forward_soon()

    def vector_moved(self, moved: Vector) -> None:
        """Our vector moved: the peer is told, and need not send us what we have."""
        self._have.update(moved)
        if self.feed is not None:
            known = self.session.push.peer_vector
            news = [origin for origin, stamp in moved.items() if stamp > known.get(origin, 0)]
            if news:
                self.feed.moved(news)
                self._forward_soon()

    def _forward_soon(self) -> None:
        if self._forward_at_ms is None:
            self._forward_at_ms = self.hub.now_ms() + FORWARD_DELAY_MS

    def pump(self) -> int | None:
        """Sends what there is, a few frames. Milliseconds until it wants to go on; None: when something happens."""
        wait = None
        try:
            if not self.ended and self.session.phase is Phase.OPEN and not self.transport.full:
                wait = self._rounds()
                self._answers()
        except ENGINE_ERRORS as error:
            self._storage_failed(error)
        self._flush()
        return wait

    def _rounds(self) -> int | None:
        feed = self.feed
        if feed is None:
            return None
        for _ in range(FRAMES_PER_TURN):
            if self.transport.full:
                return None
            if self._reader is None:
                wait = self._wait_for_round(feed)
                if wait != 0:
                    return wait
                if not self._begin_round(feed):
                    return None
            self._send_some()
            self._flush()
        return 0

    def _wait_for_round(self, feed: Feed) -> int | None:
        """0: begin now; None: there is nothing to send."""
        store, now_ms = self.hub.store, self.hub.now_ms()
        if not store.has_work(feed):
            self._forward_at_ms = None
            return None
        begin_ms = self._quiet_until_ms
        if self._forward_at_ms is not None and not store.has_own_work(feed):
            begin_ms = max(begin_ms, self._forward_at_ms)
        return max(0, begin_ms - now_ms)

    def _begin_round(self, feed: Feed) -> bool:
        push = self.session.push
        self._forward_at_ms = None
        reader, target, work = self.hub.store.open_round(feed, push.peer_vector)
        first = push.completed == 0
        message = push.begin(target, work)
        if not first and not message.vector and push.next_read() is None:
            push.level()  # all of it reached the peer another way: not worth a word
            reader.close()
            return False
        self._reader = reader
        for origin, stamp in target.items():
            # what the round tells need not be told again; it leaves out what the peer knows itself
            if self._have.get(origin, 0) <= stamp and stamp > push.peer_vector.get(origin, 0):
                self._have.pop(origin, None)
        self.session.send(message)
        return True

    def _send_some(self) -> None:
        push, reader = self.session.push, self._reader
        assert reader is not None
        read = push.next_read()
        if read is None:
            self.session.send(push.level())
        else:
            records, reached = reader.read(read, FRAME_TARGET_ENTRIES, FRAME_TARGET_BYTES)
            message = push.read(read, records, reached)
            if message is not None:
                self.session.send(message)
                self.peer.entries_out += len(records)
        if not push.under_way:
            reader.close()
            self._reader = None
            self._quiet_until_ms = self.hub.now_ms() + ROUND_INTERVAL_MS

    def _answers(self) -> None:
        if self._have:
            have, self._have = self._have, {}
            self.session.have(have)
        for token in self._asks:
            self.session.tell(token, self.hub.store.vector_copy())
        self._asks.clear()

    def _flush(self) -> None:
        frames = self.session.take_output(self.hub.now_ms())
        if frames:
            self.peer.bytes_out += sum(map(len, frames))
            self.transport.send(frames)


def _state_after(code: ByeCode) -> PeerState:
    if code is ByeCode.CLOCK:
        return PeerState.QUARANTINED
    if code in (ByeCode.STOPPING, ByeCode.DUPLICATE, ByeCode.RENEWED, ByeCode.SILENT):
        return PeerState.WAITING
    return PeerState.REFUSED
