"""When a peer is sent a round, and when nothing."""

from __future__ import annotations

import pytest

from level_replicator.core.limits import RECONCILE_STALL_MS, ROUND_INTERVAL_MS
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    ByeCode,
    CompareStart,
    Fetch,
    Hello,
    Message,
    PausePull,
    RangeQuery,
    ReconcileDone,
    StartPull,
    VectorUpdate,
    Welcome,
)
from level_replicator.replication.peer_connection import PeerConnection
from tests.conformance.protocol.stage import HEARTBEAT_MS, Actor, End, Stage


class _Reader:
    """A, and a peer that pulls from it by hand. Both agree on histories, of which there are none."""

    def __init__(self, *, pulls: bool = True, **written: str) -> None:
        self.stage = Stage()
        self.a: Actor = self.stage.actor("A")
        self.puppet: End = self.stage.puppet(self.a)
        self.say(Hello(MAGIC, VERSION, 77, b"puppet", HEARTBEAT_MS))
        self.say(Welcome(histories=self.a.store.histories_digest()))
        (self.connection,) = self.a.coordinator.connections
        self.a.write(**written)
        if pulls:
            self.say(StartPull(b"", []))

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.puppet.say(message)
        self.stage.settle()

    def take(self) -> list[str]:
        """The names of the messages of A since the last call."""
        said = [line.split("  ")[1].split("(")[0] for line in self.stage.lines if line.startswith("A → ?")]
        self.stage.lines.clear()
        return [name.strip() for name in said]


def test_nothing_is_sent_before_the_peer_requests_a_pull() -> None:
    reader = _Reader(pulls=False, key="1")
    assert "Entries" not in reader.take()
    reader.say(StartPull(b"", []))
    assert reader.take() == ["RoundStart", "Entries"]


def test_a_paused_peer_is_sent_nothing_until_its_next_pull() -> None:
    reader = _Reader(key="1")
    reader.say(PausePull())
    reader.take()
    reader.a.write(key="2")
    reader.stage.settle()
    assert "Entries" not in reader.take()
    reader.say(StartPull(b"", []))
    assert "Entries" in reader.take()


def test_entries_that_the_peer_covers_are_not_sent() -> None:
    reader = _Reader(pulls=False, key="1")
    reader.take()
    reader.say(StartPull(encode_vector(reader.a.store.vector), []))
    assert reader.take() == ["RoundStart", "RoundEnd"]


def test_a_live_change_that_the_peer_has_from_elsewhere_costs_no_message() -> None:
    reader = _Reader(key="1")
    reader.take()
    reader.a.write(key="2")
    reader.puppet.say(VectorUpdate(encode_vector(reader.a.store.vector)))
    reader.stage.now_ms -= 1  # the update arrives first
    reader.connection.received(b"")
    while reader.stage.moving:
        reader.stage._arrive(*reader.stage.moving.popleft())
    reader.stage.settle()
    assert "Entries" not in reader.take()


def test_two_rounds_are_an_interval_apart() -> None:
    reader = _Reader(key="1")
    reader.take()
    reader.a.write(key="2")
    began_ms = reader.stage.now_ms
    reader.stage.settle()
    reader.a.write(key="3")
    reader.stage.settle()
    assert reader.take().count("Entries") == 2
    assert reader.stage.now_ms - began_ms >= ROUND_INTERVAL_MS


@pytest.mark.parametrize("message", [RangeQuery([(b"", b"", b"", 1)]), Fetch([b"k"], [b""])])
def test_a_query_outside_a_reconciliation_ends_the_connection(message: Message) -> None:
    reader = _Reader(key="1")
    reader.say(message)
    _assert_refused(reader.connection, ByeCode.PROTOCOL)


def test_a_peer_below_the_floor_reconciles_and_is_live_afterwards() -> None:
    reader = _Reader(pulls=False, key="1")
    reader.a.truncate()
    reader.take()
    reader.say(StartPull(b"", []))
    assert reader.take() == ["ReconcileStart"]
    reader.say(ReconcileDone())
    reader.a.write(key="2")
    reader.stage.settle()
    assert reader.take() == ["RoundStart", "Entries"]


def test_a_comparison_waits_for_the_reconciliation_and_there_is_one_at_a_time() -> None:
    reader = _Reader(pulls=False, key="1")
    reader.a.truncate()
    reader.take()
    reader.say(StartPull(b"", []), CompareStart())
    assert reader.take() == ["ReconcileStart"]
    reader.say(ReconcileDone())
    assert reader.take() == ["ReconcileStart"]
    reader.say(CompareStart())
    _assert_refused(reader.connection, ByeCode.PROTOCOL)


def test_a_peer_that_keeps_a_snapshot_for_nothing_is_cut_off() -> None:
    reader = _Reader(pulls=False, key="1")
    reader.a.truncate()
    reader.say(StartPull(b"", []))
    reader.stage.now_ms += RECONCILE_STALL_MS
    reader.connection.received(b"")  # it is alive
    reader.a.coordinator.tick()
    assert not reader.connection.ended
    reader.stage.now_ms += 1
    reader.a.coordinator.tick()
    _assert_refused(reader.connection, ByeCode.TIMEOUT)


def _assert_refused(connection: PeerConnection, code: ByeCode) -> None:
    assert connection.session.refusal is not None
    assert connection.session.refusal.code == code
