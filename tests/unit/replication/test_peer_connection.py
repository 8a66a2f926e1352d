"""One connection: flow control, limits, and the end of it."""

from __future__ import annotations

from level_replicator.core.limits import MAX_WAITING_VECTOR_QUERIES
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    ByeCode,
    Hello,
    Histories,
    StartPull,
    VectorQuery,
    Welcome,
)
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.peers import PeerState
from tests.conformance.protocol.stage import HEARTBEAT_MS, Actor, End, Stage


def _puppet(stage: Stage, actor: Actor, origin: int = 77) -> tuple[End, PeerConnection]:
    """A peer that says only what the test says, and its connection, which is open."""
    puppet = stage.puppet(actor)
    puppet.say(Hello(MAGIC, VERSION, origin, b"puppet", HEARTBEAT_MS))
    puppet.say(Welcome())
    stage.settle()
    (connection,) = actor.coordinator.connections
    stage.lines.clear()
    return puppet, connection


def _count(stage: Stage, text: str) -> int:
    return sum(text in line for line in stage.lines)


def test_nothing_is_sent_while_the_peer_does_not_read() -> None:
    stage = Stage()
    a = stage.actor("A")
    a.write(key="1")
    puppet, connection = _puppet(stage, a)
    puppet.other.full = True
    puppet.say(StartPull(b"", []))
    stage.settle()
    assert _count(stage, "A → ?") == 0
    puppet.other.full = False
    connection.drained()
    stage.settle()
    assert _count(stage, "Entries") == 1


def test_more_vector_queries_than_the_limit_end_the_connection() -> None:
    stage = Stage()
    puppet, connection = _puppet(stage, stage.actor("A"))
    puppet.other.full = True
    for token in range(MAX_WAITING_VECTOR_QUERIES):
        puppet.say(VectorQuery(token))
    stage.settle()
    assert not connection.ended
    puppet.say(VectorQuery(99))
    stage.settle()
    assert connection.session.refusal is not None
    assert connection.session.refusal.code == ByeCode.PROTOCOL


def test_a_peer_with_a_wrong_clock_is_quarantined_and_its_vector_is_not_kept() -> None:
    stage = Stage()
    puppet, connection = _puppet(stage, stage.actor("A"))
    puppet.say(StartPull(encode_vector({77: 1 << 62}), []))
    stage.settle()
    assert connection.peer.state is PeerState.QUARANTINED
    assert not connection.peer.vector


def test_bytes_that_are_no_message_end_the_connection_and_not_the_node() -> None:
    stage = Stage()
    a = stage.actor("A")
    _, connection = _puppet(stage, a)
    connection.received(b"\0\0\0\1\xff")
    assert connection.ended
    assert connection.session.refusal is not None
    assert connection.session.refusal.code == ByeCode.PROTOCOL
    assert not a.coordinator.connections


def test_a_failed_disk_is_reported_without_its_paths() -> None:
    stage = Stage()
    a = stage.actor("A")
    puppet, connection = _puppet(stage, a)
    a.store._state.fail("a write", OSError("/data/rs: no space left on device"))
    puppet.say(Histories([]))
    stage.settle()
    assert connection.session.refusal is not None
    assert connection.session.refusal.code == ByeCode.STORAGE
    assert "/data" not in connection.session.refusal.text


def test_a_cut_sends_not_one_byte_more() -> None:
    stage = Stage()
    a = stage.actor("A")
    puppet, connection = _puppet(stage, a)
    puppet.say(VectorQuery(1))
    stage.settle(1)
    connection.cut("its key was revoked")
    stage.settle()
    assert _count(stage, "A → ?") == 0
    assert connection.peer.last_error == "its key was revoked"


def test_a_bye_of_the_peer_decides_the_state_it_is_shown_in() -> None:
    stage = Stage()
    puppet, connection = _puppet(stage, stage.actor("A"))
    puppet.say(Bye(ByeCode.REJECTED, "not you"))
    stage.settle()
    assert connection.peer.state is PeerState.REFUSED
    assert connection.peer.last_error == "the peer says: not you"


def test_a_peer_that_knows_forgotten_writes_gives_the_node_a_new_origin_once_a_minute() -> None:
    stage = Stage()
    origins = iter([500, 501, 502, 503])
    a = stage.actor("A")
    a.store._random_bytes = lambda count: next(origins).to_bytes(count, "big")
    puppet, _ = _puppet(stage, a)
    puppet.say(StartPull(encode_vector({a.store.origin: 99}), []))
    stage.settle()
    assert a.store.origin == 500
    assert _count(stage, "event new_origin") == 1
    puppet, connection = _puppet(stage, a)
    puppet.say(StartPull(encode_vector({500: a.store.vector.get(500, 0) + 99}), []))
    stage.settle()
    assert a.store.origin == 500
    assert connection.session.refusal is not None
    assert connection.session.refusal.code == ByeCode.DUPLICATE_ORIGIN
