"""Accepts or refuses new connections, and limits their number and the time that they may take.

With keys a connection passes TLS, the rules of Trust, and `identify`, in this order. Only then is a session attached to
it, so no byte of a session is sent or handled before. Without keys, on loopback, the session is attached as soon as the
first bytes show whether a peer or a client has connected. The Unix socket is for clients only.
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
_LATE = "`identify` did not decide about it within the time limit"
_SILENT = "it did not complete the handshake within the time limit"
_REVOKED = "its key is not trusted any more"
_DISCONNECTED = "it was disconnected here"
_NO_PEERS = "the Unix socket is for clients"


@dataclass
class _PendingConnection:
    """A connection that is not open yet. `began_ms`: when it was made; `client`: whether a client, not a peer, has
    connected."""

    began_ms: int
    fingerprint: str | None = None
    client: bool = False


class Admission:
    """Admission of one node, on its event loop."""

    def __init__(self, coordinator: Coordinator, clients: ClientRegistry, security: NodeSecurity | None) -> None:
        self.security = security
        self._clients = clients
        self._coordinator = coordinator
        self._pending: dict[StreamTransport, _PendingConnection] = {}
        self._shut = False

    @property
    def pending(self) -> int:
        """Number of connections that are not open yet."""
        self._forget_open()
        return len(self._pending)

    # -- from the stream

    def arrived(self, stream: StreamTransport) -> None:
        if self._shut:
            stream.abort()
            return
        if stream.server is None:
            self._limit_pending(stream.network)
        else:
            stream.server.state = PeerState.HANDSHAKE
        pending = self._pending[stream] = _PendingConnection(self._coordinator.now_ms())
        if self.security is not None and not stream.local:
            stream.secure(self.security.contexts.channel(dialled=stream.server is not None))
        elif stream.server is not None:
            self._admit(stream, pending, read_only=stream.server.read_only)

    def introduced(self, stream: StreamTransport, *, client: bool) -> None:
        """The first bytes of a connection without TLS have arrived. `client`: whether they are those of a client."""
        pending = self._pending.get(stream)
        if pending is None:
            return
        pending.client = client
        if stream.local and not client:
            self._refuse(stream, _NO_PEERS, PeerErrorCode.PROTOCOL)
        else:
            self._admit(stream, pending, read_only=False)

    def authenticated(self, stream: StreamTransport, certificate: bytes, *, client: bool) -> None:
        """The other side has proved that it holds the key of this certificate (DER)."""
        pending = self._pending.get(stream)
        if pending is None:
            return
        pending.client = client
        assert self.security is not None
        trust = self.security.trust
        pending.fingerprint = fingerprint = fingerprint_of(certificate)
        if stream.server is not None:
            stream.server.fingerprint = fingerprint
            if trust.contradicts_pin(stream.server.address, fingerprint):
                self._refuse(stream, _PINNED, PeerErrorCode.PIN)
                return
        known = trust.knows(fingerprint)
        if self.security.identify_runner is not None:
            self._identify(stream, certificate, known=known)
        elif known:
            self._admit(stream, pending, read_only=trust.is_read_only(fingerprint))
        else:
            self._refuse(stream, _NOT_KNOWN, PeerErrorCode.UNTRUSTED)

    def failed(self, stream: StreamTransport, why: str) -> None:
        """The handshake has failed."""
        pending = self._pending.pop(stream, None)
        if pending is not None:
            self._coordinator.report_refusal(self._peer(stream, pending), why, PeerErrorCode.TLS)

    def left(self, stream: StreamTransport, why: str) -> None:
        pending = self._pending.pop(stream, None)
        if pending is not None and stream.connection is None and stream.server is not None:
            stream.server.state = PeerState.WAITING
            stream.server.last_error = f"{why} in the handshake"
            stream.server.last_error_code = PeerErrorCode.LOST

    # -- from the node

    def tick(self) -> None:
        """Enforce the time limit of handshakes. Sessions of peers enforce their own."""
        self._forget_open()
        now_ms = self._coordinator.now_ms()
        for stream, pending in list(self._pending.items()):
            if now_ms - pending.began_ms <= HANDSHAKE_TIMEOUT_MS:
                continue
            if stream.connection is None:
                if pending.fingerprint:
                    self._refuse(stream, _LATE, PeerErrorCode.REJECTED)
                else:
                    self._refuse(stream, _SILENT, PeerErrorCode.TIMEOUT)
            elif pending.client:
                stream.connection.end(ByeCode.TIMEOUT, _SILENT)

    def revoke(self, fingerprints: frozenset[str]) -> None:
        """Close all connections with these fingerprints at once."""
        for stream, pending in list(self._pending.items()):
            if stream.connection is None and pending.fingerprint in fingerprints:
                self._refuse(stream, _REVOKED, PeerErrorCode.UNTRUSTED)
        for connection in list(self._coordinator.connections):
            if connection.peer.fingerprint in fingerprints:
                connection.cut(_REVOKED)
                connection.peer.last_error_code = PeerErrorCode.UNTRUSTED
        self._clients.cut(fingerprints, _REVOKED)

    def disconnect(self, name: str) -> int:
        """Close all connections with this address, name, origin or fingerprint at once: of peers, of clients over the
        port, and pending ones. Returns their number."""
        waiting = [
            stream
            for stream, pending in self._pending.items()
            if stream.connection is None and not stream.local and self._peer(stream, pending).is_called(name)
        ]
        for stream in waiting:
            self._refuse(stream, _DISCONNECTED, PeerErrorCode.DISCONNECTED)
        return len(waiting) + self._coordinator.disconnect(name) + self._clients.disconnect(name)

    def shut(self) -> list[StreamTransport]:
        """Accept nothing more, and abort the pending connections. Returns their transports."""
        self._shut = True
        waiting = [stream for stream in self._pending if stream.connection is None]
        for stream in waiting:
            stream.abort()
        return waiting

    # -- decisions

    def _identify(self, stream: StreamTransport, certificate: bytes, *, known: bool) -> None:
        assert self.security is not None
        assert self.security.identify_runner is not None
        loop = asyncio.get_running_loop()
        answer = self.security.identify_runner.ask(
            PeerIdentity(
                certificate,
                stream.address,
                dialled=stream.server is not None,
                known=known,
                role="client" if self._pending[stream].client else "peer",
            ),
            stream.network,
        )

        def decided(decision: Decision) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._decided, stream, decision)

        answer.add_done_callback(lambda future: decided(future.result()))

    def _decided(self, stream: StreamTransport, decision: Decision) -> None:
        pending = self._pending.get(stream)
        if pending is None or stream.connection is not None or pending.fingerprint is None:
            return
        assert self.security is not None
        if decision.accepted:
            role = decision.read_only or self.security.trust.is_read_only(pending.fingerprint)
            self._admit(stream, pending, read_only=role)
        else:
            self._refuse(stream, decision.reason or _NOT_KNOWN, PeerErrorCode.REJECTED)

    def _admit(self, stream: StreamTransport, pending: _PendingConnection, *, read_only: bool) -> None:
        if pending.client:
            client = self._clients.admit(stream, fingerprint=pending.fingerprint, read_only=read_only)
            if client is None:
                del self._pending[stream]
            else:
                stream.attach(client)
            return
        peer = self._peer(stream, pending)
        peer.read_only = read_only
        stream.attach(self._coordinator.connect(stream, peer, began_ms=pending.began_ms))

    def _refuse(self, stream: StreamTransport, why: str, code: PeerErrorCode) -> None:
        """Refuse a connection: send the reason, and close."""
        pending = self._pending.pop(stream)
        if pending.client:
            self._clients.refuse(stream, why)
            return
        stream.send([encode(Bye(int(ByeCode.REJECTED), f"not accepted: {why}"))])
        stream.close()
        self._coordinator.report_refusal(self._peer(stream, pending), why, code)

    @staticmethod
    def _peer(stream: StreamTransport, pending: _PendingConnection) -> Peer:
        if stream.server is not None:
            return stream.server
        return Peer(stream.address, dialled=False, fingerprint=pending.fingerprint)

    # -- the number of pending connections

    def _limit_pending(self, network: str) -> None:
        self._forget_open()
        incoming = [stream for stream in self._pending if stream.server is None]
        same_network = [stream for stream in incoming if stream.network == network]
        for group, most in ((same_network, MAX_PENDING_PER_NETWORK), (incoming, MAX_PENDING_HANDSHAKES)):
            if len(group) >= most:
                self._evict(group[0])

    def _evict(self, stream: StreamTransport) -> None:
        if self._pending.pop(stream, None) is None:
            return
        if stream.connection is not None:
            stream.connection.cut("too many connections wait to be accepted")
        stream.abort()

    def _forget_open(self) -> None:
        for stream in [each for each in self._pending if each.connection is not None]:
            assert stream.connection is not None
            if stream.connection.ended or stream.connection.is_open:
                del self._pending[stream]
