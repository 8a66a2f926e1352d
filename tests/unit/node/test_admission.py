"""Which connections get a session: keys, pins, decisions of the application, and the limits of waiting connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.core.limits import HANDSHAKE_TIMEOUT_MS
from level_replicator.node import admission
from level_replicator.node.admission import Admission
from level_replicator.protocol.messages import Bye, ByeCode, decode
from level_replicator.replication.peers import Peer, PeerErrorCode, PeerState
from level_replicator.security.peer_identity import Decision, PeerIdentity
from level_replicator.security.trust import Pin, Trust

TRUSTED, PINNED, STRANGER = b"trusted certificate", b"pinned certificate", b"certificate of a stranger"
SERVER = "b:7001"


class _Session:
    """The session of an accepted connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.ended = self.is_open = False
        self.cuts: list[str] = []

    def cut(self, why: str) -> None:
        self.ended = True
        self.cuts.append(why)


class _Stream:
    """A connection without a socket."""

    def __init__(self, server: Peer | None = None, *, local: bool = False, network: str = "10.0.0.1") -> None:
        self.server = server
        self.local = local
        self.network = network
        self.address = f"{network}:5000"
        self.connection: Any = None
        self.sent: list[bytes] = []
        self.aborted = self.closed = False

    def secure(self, channel: object) -> None: ...

    def attach(self, connection: object) -> None:
        self.connection = connection

    def send(self, frames: list[bytes]) -> None:
        self.sent += frames

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def bye(self) -> Bye | None:
        message = decode(self.sent[0][4:]) if self.sent else None
        return message if isinstance(message, Bye) else None


class _Node:
    """Admission of a node with keys, or without."""

    def __init__(self, *, keys: bool = True, identify: bool = False) -> None:
        self.now_ms = 0
        self.refusals: list[PeerErrorCode] = []
        self.decisions: list[Future[Decision]] = []
        self.asked: list[PeerIdentity] = []
        self.sessions: dict[_Session, None] = {}
        coordinator: Any = SimpleNamespace(
            now_ms=lambda: self.now_ms,
            connect=self._connect,
            connections=self.sessions,
            report_refusal=lambda peer, why, code: self.refusals.append(code),
            disconnect=lambda name: 0,
        )
        clients: Any = SimpleNamespace(cut=lambda fingerprints, why: None, disconnect=lambda name: 0)
        trust = Trust({SERVER: Pin(frozenset([fingerprint_of(PINNED)]), read_only=True)}, [fingerprint_of(TRUSTED)])
        security: Any = SimpleNamespace(
            trust=trust,
            contexts=SimpleNamespace(channel=lambda dialled: None),
            identify_runner=SimpleNamespace(ask=self._ask) if identify else None,
        )
        self.trust = trust
        self.admission = Admission(coordinator, clients, security if keys else None)

    def _connect(self, stream: object, peer: Peer, *, began_ms: int) -> _Session:
        session = _Session(peer)
        self.sessions[session] = None
        return session

    def _ask(self, identity: PeerIdentity, network: str) -> Future[Decision]:
        self.asked.append(identity)
        self.decisions.append(Future())
        return self.decisions[-1]

    def arrive(self, certificate: bytes | None = None, **stream: Any) -> Any:
        """A connection has been made, and its TLS handshake is complete if a certificate is given."""
        connection: Any = _Stream(**stream)
        self.admission.arrived(connection)
        if certificate is not None:
            self.admission.authenticated(connection, certificate, client=False)
        return connection


def test_a_known_key_gets_a_session_and_an_unknown_one_a_reason() -> None:
    node = _Node()
    assert node.arrive(TRUSTED).connection.peer.fingerprint == fingerprint_of(TRUSTED)
    stranger = node.arrive(STRANGER)
    assert stranger.connection is None
    assert stranger.closed
    assert stranger.bye is not None
    assert stranger.bye.code == ByeCode.REJECTED
    assert node.refusals == [PeerErrorCode.UNTRUSTED]


def test_no_session_before_the_key_is_known() -> None:
    node = _Node()
    assert node.arrive().connection is None
    assert node.arrive(server=Peer(SERVER, dialled=True)).connection is None
    assert node.admission.pending == 2


def test_without_keys_a_dialled_server_gets_a_session_at_once() -> None:
    node = _Node(keys=False)
    server = Peer("127.0.0.1:7001", dialled=True, read_only=True)
    stream = node.arrive(server=server)
    assert stream.connection.peer is server
    assert server.read_only
    incoming = node.arrive()
    assert incoming.connection is None
    node.admission.introduced(incoming, client=False)
    assert incoming.connection is not None


def test_a_server_with_another_key_than_its_pin_is_refused_even_if_the_key_is_trusted() -> None:
    node = _Node()
    stream = node.arrive(TRUSTED, server=Peer(SERVER, dialled=True))
    assert stream.connection is None
    assert node.refusals == [PeerErrorCode.PIN]


def test_the_key_of_a_read_only_server_is_read_only_whichever_side_dials() -> None:
    node = _Node()
    assert node.arrive(PINNED, server=Peer(SERVER, dialled=True)).connection.peer.read_only
    assert node.arrive(PINNED).connection.peer.read_only
    assert not node.arrive(TRUSTED).connection.peer.read_only


def test_no_peer_over_the_unix_socket() -> None:
    node = _Node()
    stream = node.arrive(local=True)
    node.admission.introduced(stream, client=False)
    assert stream.connection is None
    assert node.refusals == [PeerErrorCode.PROTOCOL]


# -- decisions of the application


def _on_a_loop(scene: Callable[[_Node], Awaitable[None]]) -> None:
    errors: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await scene(_Node(identify=True))

    asyncio.run(run())
    assert errors == []


async def _decide(node: _Node, decision: Decision) -> None:
    node.decisions[-1].set_result(decision)
    await asyncio.sleep(0)


def test_the_application_decides_also_about_trusted_keys() -> None:
    async def scene(node: _Node) -> None:
        stream = node.arrive(TRUSTED)
        assert stream.connection is None
        assert node.asked[0].known
        await _decide(node, Decision(accepted=False, reason="not today"))
        assert stream.bye.text == "not accepted: not today"
        stranger = node.arrive(STRANGER)
        await _decide(node, Decision(accepted=True, read_only=True))
        assert stranger.connection.peer.read_only
        assert node.refusals == [PeerErrorCode.REJECTED]

    _on_a_loop(scene)


def test_a_decision_cannot_lift_read_only_from_a_pinned_key() -> None:
    async def scene(node: _Node) -> None:
        stream = node.arrive(PINNED)
        await _decide(node, Decision(accepted=True))
        assert stream.connection.peer.read_only

    _on_a_loop(scene)


@pytest.mark.parametrize("end", ["late", "revoked", "disconnected", "left"])
def test_a_decision_about_a_connection_that_has_ended_has_no_effect(end: str) -> None:
    async def scene(node: _Node) -> None:
        stream = node.arrive(TRUSTED)
        if end == "late":
            node.now_ms = HANDSHAKE_TIMEOUT_MS + 1
            node.admission.tick()
        elif end == "revoked":
            node.admission.revoke(node.trust.replace_trusted([]))
        elif end == "disconnected":
            assert node.admission.disconnect(fingerprint_of(TRUSTED)) == 1
        else:
            node.admission.left(stream, "the connection was lost")
        await _decide(node, Decision(accepted=True))
        assert stream.connection is None
        assert not node.sessions
        expected = {
            "late": [PeerErrorCode.REJECTED],
            "revoked": [PeerErrorCode.UNTRUSTED],
            "disconnected": [PeerErrorCode.DISCONNECTED],
            "left": [],
        }
        assert node.refusals == expected[end]

    _on_a_loop(scene)


# -- time and number


def test_a_connection_that_does_not_complete_its_handshake_is_closed() -> None:
    node = _Node()
    stream = node.arrive()
    node.now_ms = HANDSHAKE_TIMEOUT_MS
    node.admission.tick()
    assert not stream.closed
    node.now_ms += 1
    node.admission.tick()
    assert stream.closed
    assert node.refusals == [PeerErrorCode.TIMEOUT]
    assert node.admission.pending == 0


def test_a_revoked_key_loses_its_sessions() -> None:
    node = _Node()
    revoked, kept = node.arrive(TRUSTED), node.arrive(PINNED)
    node.admission.revoke(node.trust.replace_trusted([]))
    assert revoked.connection.ended
    assert revoked.connection.peer.last_error_code is PeerErrorCode.UNTRUSTED
    assert not kept.connection.ended


def test_above_the_limit_of_a_network_its_oldest_waiting_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING_PER_NETWORK", 2)
    node = _Node()
    other = node.arrive(network="10.0.0.2")
    dialled = node.arrive(server=Peer(SERVER, dialled=True))
    first, second, third = (node.arrive() for _ in range(3))
    assert [stream.aborted for stream in (other, dialled, first, second, third)] == [False, False, True, False, False]


def test_above_the_limit_of_the_node_the_oldest_waiting_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING_HANDSHAKES", 2)
    node = _Node()
    accepted = node.arrive(TRUSTED, network="10.0.0.9")
    accepted.connection.is_open = True
    first, second, third = (node.arrive(network=f"10.0.0.{number}") for number in range(3))
    assert [stream.aborted for stream in (accepted, first, second, third)] == [False, True, False, False]


def test_an_accepted_connection_counts_until_its_session_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING_PER_NETWORK", 1)
    node = _Node()
    silent = node.arrive(TRUSTED)
    node.arrive()
    assert silent.aborted
    assert silent.connection.cuts == ["too many connections wait to be accepted"]


def test_a_lost_handshake_is_recorded_with_the_server() -> None:
    node = _Node()
    server = Peer(SERVER, dialled=True)
    stream = node.arrive(server=server)
    assert server.state is PeerState.HANDSHAKE
    node.admission.left(stream, "the connection was lost")
    assert (server.state, server.last_error_code) == (PeerState.WAITING, PeerErrorCode.LOST)
    assert server.last_error == "the connection was lost in the handshake"


def test_a_node_that_stops_accepts_nothing() -> None:
    node = _Node()
    waiting, accepted = node.arrive(), node.arrive(TRUSTED)
    assert node.admission.shut() == [waiting]
    assert waiting.aborted
    assert not accepted.aborted
    assert node.arrive().aborted
