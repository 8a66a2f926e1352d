"""Connections that nobody has accepted yet: how many there may be, for how long, and who says yes.

With keys a connection goes through TLS, the rules of Trust, and `identify`, in this order; only then is it
attached, so until then no byte of a session passes, either way. Without keys, on loopback, it is attached when it has
said whether it is a peer or a client; over the Unix socket only clients come.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.core.limits import (
    HANDSHAKE_TIMEOUT_MS,
    MAX_PENDING_HANDSHAKES,
    MAX_PENDING_PER_NETWORK,
)
from level_replicator.node.client_registry import ClientRegistry
from level_replicator.node.stream import StreamTransport
from level_replicator.protocol.messages import Bye, ByeCode, encode
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peers import Peer, PeerErrorCode, PeerState
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.peer_identity import Decision, PeerIdentity

_NOT_KNOWN = "its key is not among those that are accepted here"
_PINNED = "its certificate is not the one that is pinned for this server"
_LATE = "nobody decided about it within the time limit"
_SILENT = "it did not say who it is within the time limit"
_REVOKED = "its key is not trusted any more"
_DISCONNECTED = "it was disconnected here"
_NO_PEERS = "the Unix socket is for clients"


@dataclass
class _PendingConnection:
    """A connection on its way in."""

    began_ms: int
    fingerprint: str | None = None
    client: bool = False


class Admission:
    """Of one node, on its event loop."""

    def __init__(self, coordinator: Coordinator, clients: ClientRegistry, security: NodeSecurity | None) -> None:
        self.security = security
        self._clients = clients
        self._coordinator = coordinator
        self._guests: dict[StreamTransport, _PendingConnection] = {}
        self._shut = False

    @property
    def pending(self) -> int:
        """Connections that are not open yet."""
        self._forget_open()
        return len(self._guests)

    # -- from the stream

    def arrived(self, stream: StreamTransport) -> None:
        if self._shut:
            stream.abort()
            return
        if stream.server is None:
            self._make_place(stream.network)
        else:
            stream.server.state = PeerState.HANDSHAKE
        guest = self._guests[stream] = _PendingConnection(self._coordinator.now_ms())
        if self.security is not None and not stream.local:
            stream.secure(self.security.contexts.channel(dialled=stream.server is not None))
        elif stream.server is not None:
            self._admit(stream, guest, read_only=stream.server.read_only)

    def introduced(self, stream: StreamTransport, *, client: bool) -> None:
        """Somebody without a key has said its first bytes."""
        guest = self._guests.get(stream)
        if guest is None:
            return
        guest.client = client
        if stream.local and not client:
            self._turn_away(stream, _NO_PEERS, PeerErrorCode.PROTOCOL)
        else:
            self._admit(stream, guest, read_only=False)

    def authenticated(self, stream: StreamTransport, certificate: bytes, *, client: bool) -> None:
        """The peer, or client, has proved to hold the key of this certificate, DER."""
        guest = self._guests.get(stream)
        if guest is None:
            return
        guest.client = client
        assert self.security is not None
        trust = self.security.trust
        guest.fingerprint = fingerprint = fingerprint_of(certificate)
        if stream.server is not None:
            stream.server.fingerprint = fingerprint
            if trust.contradicts_pin(stream.server.address, fingerprint):
                self._turn_away(stream, _PINNED, PeerErrorCode.PIN)
                return
        known = trust.knows(fingerprint)
        if self.security.identify_runner is not None:
            self._ask(stream, certificate, known=known)
        elif known:
            self._admit(stream, guest, read_only=trust.is_read_only(fingerprint))
        else:
            self._turn_away(stream, _NOT_KNOWN, PeerErrorCode.UNTRUSTED)

    def failed(self, stream: StreamTransport, why: str) -> None:
        """It did not get through TLS."""
        guest = self._guests.pop(stream, None)
        if guest is not None:
            self._coordinator.report_refusal(self._peer(stream, guest), why, PeerErrorCode.TLS)

    def left(self, stream: StreamTransport, why: str) -> None:
        guest = self._guests.pop(stream, None)
        if guest is not None and stream.connection is None and stream.server is not None:
            stream.server.state = PeerState.WAITING
            stream.server.last_error = f"{why} in the handshake"
            stream.server.last_error_code = PeerErrorCode.LOST

    # -- from the node

    def tick(self) -> None:
        """Enforce time limits. A peer's connection has its own."""
        self._forget_open()
        now_ms = self._coordinator.now_ms()
        for stream, guest in list(self._guests.items()):
            if now_ms - guest.began_ms <= HANDSHAKE_TIMEOUT_MS:
                continue
            if stream.connection is None:
                if guest.fingerprint:
                    self._turn_away(stream, _LATE, PeerErrorCode.REJECTED)
                else:
                    self._turn_away(stream, _SILENT, PeerErrorCode.TIMEOUT)
            elif guest.client:
                stream.connection.end(ByeCode.TIMEOUT, _SILENT)

    def revoke(self, fingerprints: frozenset[str]) -> None:
        """Whoever has one of these is cut off at once."""
        for stream, guest in list(self._guests.items()):
            if stream.connection is None and guest.fingerprint in fingerprints:
                self._turn_away(stream, _REVOKED, PeerErrorCode.UNTRUSTED)
        for connection in list(self._coordinator.connections):
            if connection.peer.fingerprint in fingerprints:
                connection.cut(_REVOKED)
                connection.peer.last_error_code = PeerErrorCode.UNTRUSTED
        self._clients.cut(fingerprints, _REVOKED)

    def disconnect(self, name: str) -> int:
        """Cuts off whoever has this address, name, origin or fingerprint: peers, clients of the port, and those about
        whom nobody has decided yet. How many connections that were."""
        waiting = [
            stream
            for stream, guest in self._guests.items()
            if stream.connection is None and not stream.local and self._peer(stream, guest).is_called(name)
        ]
        for stream in waiting:
            self._turn_away(stream, _DISCONNECTED, PeerErrorCode.DISCONNECTED)
        return len(waiting) + self._coordinator.disconnect(name) + self._clients.disconnect(name)

    def shut(self) -> list[StreamTransport]:
        """Nobody comes in any more. Those who were on their way."""
        self._shut = True
        waiting = [stream for stream in self._guests if stream.connection is None]
        for stream in waiting:
            stream.abort()
        return waiting

    # -- who comes in

    def _ask(self, stream: StreamTransport, certificate: bytes, *, known: bool) -> None:
        assert self.security is not None
        assert self.security.identify_runner is not None
        loop = asyncio.get_running_loop()
        answer = self.security.identify_runner.ask(
            PeerIdentity(
                certificate,
                stream.address,
                dialled=stream.server is not None,
                known=known,
                role="client" if self._guests[stream].client else "peer",
            ),
            stream.network,
        )

        def decided(decision: Decision) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._decided, stream, decision)

        answer.add_done_callback(lambda future: decided(future.result()))

    def _decided(self, stream: StreamTransport, decision: Decision) -> None:
        guest = self._guests.get(stream)
        if guest is None or stream.connection is not None or guest.fingerprint is None:
            return
        assert self.security is not None
        if decision.accepted:
            role = decision.read_only or self.security.trust.is_read_only(guest.fingerprint)
            self._admit(stream, guest, read_only=role)
        else:
            self._turn_away(stream, decision.reason or _NOT_KNOWN, PeerErrorCode.REJECTED)

    def _admit(self, stream: StreamTransport, guest: _PendingConnection, *, read_only: bool) -> None:
        if guest.client:
            client = self._clients.admit(stream, fingerprint=guest.fingerprint, read_only=read_only)
            if client is None:
                del self._guests[stream]
            else:
                stream.attach(client)
            return
        peer = self._peer(stream, guest)
        peer.read_only = read_only
        stream.attach(self._coordinator.connect(stream, peer, began_ms=guest.began_ms))

    def _turn_away(self, stream: StreamTransport, why: str, code: PeerErrorCode) -> None:
        """Tells it, which is all that it ever gets."""
        guest = self._guests.pop(stream)
        if guest.client:
            self._clients.refuse(stream, why)
            return
        stream.send([encode(Bye(int(ByeCode.REJECTED), f"not accepted: {why}"))])
        stream.close()
        self._coordinator.report_refusal(self._peer(stream, guest), why, code)

    @staticmethod
    def _peer(stream: StreamTransport, guest: _PendingConnection) -> Peer:
        if stream.server is not None:
            return stream.server
        return Peer(stream.address, dialled=False, fingerprint=guest.fingerprint)

    # -- how many

    def _make_place(self, network: str) -> None:
        self._forget_open()
        incoming = [stream for stream in self._guests if stream.server is None]
        neighbours = [stream for stream in incoming if stream.network == network]
        for crowd, most in ((neighbours, MAX_PENDING_PER_NETWORK), (incoming, MAX_PENDING_HANDSHAKES)):
            if len(crowd) >= most:
                self._evict(crowd[0])

    def _evict(self, stream: StreamTransport) -> None:
        if self._guests.pop(stream, None) is None:
            return
        if stream.connection is not None:
            stream.connection.cut("too many connections wait to be accepted")
        stream.abort()

    def _forget_open(self) -> None:
        for stream in [each for each in self._guests if each.connection is not None]:
            assert stream.connection is not None
            if stream.connection.ended or stream.connection.is_open:
                del self._guests[stream]
