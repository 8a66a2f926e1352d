"""Which connections are accepted, and to whom the changes of one are forwarded."""

from __future__ import annotations

import pytest

from level_replicator.core.limits import FORWARD_DELAY_MS
from level_replicator.protocol.messages import MAGIC, VERSION, ByeCode, Hello
from level_replicator.replication import coordinator, peers
from level_replicator.replication.peers import Peer, PeerState, Visitors
from tests.conformance.protocol.stage import Actor, End, Stage


def _count(stage: Stage, text: str) -> int:
    return sum(text in line for line in stage.lines)


def _star() -> tuple[Stage, Actor, Actor, Actor]:
    """A in the middle, connected with B and C."""
    stage = Stage()
    a, b, c = (stage.actor(name) for name in "ABC")
    for other in (b, c):
        stage.connect(a, other)
        stage.settle()
    stage.lines.clear()
    return stage, a, b, c


def test_a_change_is_forwarded_to_the_others_and_not_back() -> None:
    stage, _, b, c = _star()
    b.write(key="1")
    stage.settle()
    assert c.contents() == {"key": "1"}
    assert _count(stage, "A → C  Entries") == 1
    assert _count(stage, "A → B  Entries") == 0


def test_a_forwarded_change_waits_for_the_forward_delay() -> None:
    stage, _, b, _ = _star()
    b.write(key="1")
    while not _count(stage, "B → A  Entries"):
        stage.settle(1)
    arrived_ms = stage.now_ms
    while not _count(stage, "A → C  Entries"):
        stage.settle(1)
    assert stage.now_ms - arrived_ms >= FORWARD_DELAY_MS


def test_one_connection_between_two_nodes() -> None:
    stage = Stage()
    a, b = stage.pair()
    stage.connect(a, b)
    stage.connect(b, a)
    stage.settle()
    assert len(a.coordinator.connections) == len(b.coordinator.connections) == 1
    assert a.coordinator.by_origin[b.store.origin].session.dialled, "the lower origin's stays"


def test_a_peer_that_dials_again_replaces_its_connection() -> None:
    stage = Stage()
    a, b = stage.pair()
    first = stage.connect(a, b)[1].link
    stage.settle()
    second = stage.connect(a, b)[1].link
    stage.settle()
    assert first is not None
    assert first.ended
    assert b.coordinator.by_origin[a.store.origin] is second


def _dial(stage: Stage, actor: Actor, *, origin: int, instance: bytes, fingerprint: str | None = None) -> End:
    puppet, end = stage._ends("?", actor.name)
    end.link = actor.coordinator.connect(end, Peer("?", dialled=False, fingerprint=fingerprint))
    puppet.say(Hello(MAGIC, VERSION, origin, instance))
    stage.settle()
    return end


@pytest.mark.parametrize(
    ("origin", "instance", "fingerprint", "code"),
    [
        (1, b"run of A", None, ByeCode.SELF),
        (1, b"a copy", None, ByeCode.DUPLICATE_ORIGIN),
        (77, b"another run", None, ByeCode.DUPLICATE_ORIGIN),
        (77, b"first", "another key", ByeCode.DUPLICATE_ORIGIN),
    ],
)
def test_duplicates_are_refused(origin: int, instance: bytes, fingerprint: str | None, code: ByeCode) -> None:
    stage = Stage()
    a = stage.actor("A")
    first = _dial(stage, a, origin=77, instance=b"first")
    second = _dial(stage, a, origin=origin, instance=instance, fingerprint=fingerprint)
    assert first.link is not None
    assert second.link is not None
    assert not first.link.ended
    assert second.link.session.refusal is not None
    assert second.link.session.refusal.code == code


def test_more_connections_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "MAX_PEER_CONNECTIONS", 1)
    stage = Stage()
    a = stage.actor("A")
    _dial(stage, a, origin=77, instance=b"first")
    second = _dial(stage, a, origin=78, instance=b"second").link
    assert second is not None
    assert second.session.refusal is not None
    assert second.session.refusal.code == ByeCode.BUSY


def test_a_node_that_stops_says_so() -> None:
    stage = Stage()
    a, b = stage.pair()
    stage.connect(a, b)
    stage.settle()
    link = b.coordinator.by_origin[a.store.origin]
    a.coordinator.stop()
    stage.settle()
    assert link.ended
    assert link.peer.state is PeerState.GONE
    assert link.peer.last_error == "the peer says: the node stops"


def test_disconnect_closes_the_connections_of_that_name() -> None:
    _, a, _, _ = _star()
    assert a.coordinator.disconnect("B") == 1
    assert a.coordinator.disconnect("B") == 0
    assert [link.peer.address for link in a.coordinator.connections] == ["C"]


def test_counters_of_a_visitor_continue_over_its_connections() -> None:
    visitors = Visitors()
    first = visitors.remember(Peer("old address", dialled=False, origin=7, bytes_in=3))
    again = visitors.remember(Peer("new address", dialled=False, origin=7, bytes_in=4))
    assert again is first
    assert (again.address, again.bytes_in) == ("new address", 7)


def test_the_first_visitor_is_forgotten_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_REMEMBERED_PEERS", 2)
    visitors = Visitors()
    for origin in (1, 2, 3):
        visitors.remember(Peer("", dialled=False, origin=origin))
    assert [peer.origin for peer in visitors.all()] == [2, 3]


def test_vectors_of_the_first_visitors_are_forgotten_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_REMEMBERED_ORIGINS", 3)
    visitors = Visitors()
    for origin in (1, 2):
        visitors.remember(Peer("", dialled=False, origin=origin, vector={1: 1, 2: 2}))
    visitors.forget_vectors()
    assert [peer.vector for peer in visitors.all()] == [None, {1: 1, 2: 2}]
