"""Attempts of a peer to exhaust memory or connections: each is bounded, and the honest peer is served meanwhile."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from random import Random

import pytest

from level_replicator.core.entry import encode_entry
from level_replicator.core.limits import (
    FRAME_TARGET_BYTES,
    MAX_PENDING_PER_NETWORK,
    MAX_VECTOR_ORIGINS,
    MAX_WAITING_VECTOR_QUERIES,
    SEND_BUFFER_BYTES,
)
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    Bye,
    ByeCode,
    Entries,
    Message,
    ReconcileStart,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
)
from tests.integration.hostile.intruder import ORIGIN, Intruder
from tests.integration.hostile.masters import TIMEOUT_S, Masters, peak_memory_bytes


@pytest.mark.usefixtures("nothing_applied")
def test_vectors_that_name_ever_more_origins_are_bounded(masters: Masters) -> None:
    before = peak_memory_bytes()
    with Intruder(masters.victim.address) as intruder:
        intruder.enter()
        intruder.say(VectorUpdate(encode_vector(dict.fromkeys(range(1, MAX_VECTOR_ORIGINS + 1), 1))), VectorQuery(5))
        assert isinstance(intruder.hear(VectorReply), VectorReply)
        for round_ in range(1, 20):
            low = round_ * MAX_VECTOR_ORIGINS // 10
            intruder.say(VectorUpdate(encode_vector(dict.fromkeys(range(low, low + MAX_VECTOR_ORIGINS // 10 + 1), 1))))
        bye = intruder.farewell()
        assert bye is None or bye.code == ByeCode.PROTOCOL
    assert peak_memory_bytes() - before < 600_000_000


MADE_UP = encode_vector(dict.fromkeys(range(1, 200), 1))


def _takes_a_round() -> list[Message]:
    return [RoundStart(MADE_UP, 1), RoundEnd()]


def _takes_a_frame() -> list[Message]:
    return [RoundStart(MADE_UP, 1), Entries(5, 0, 1, [encode_entry(1, b"key", b"")[0]], True)]


def _takes_a_reconciliation() -> list[Message]:
    return [ReconcileStart(MADE_UP, b"", 0, 1)]


@pytest.mark.usefixtures("nothing_applied")
@pytest.mark.parametrize("said", [_takes_a_round, _takes_a_frame, _takes_a_reconciliation])
def test_a_vector_that_would_make_our_vector_too_long_is_refused(
    masters: Masters, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[Message]]
) -> None:
    """A node sends its vector to all peers, and peers refuse a vector that is longer than MAX_VECTOR_ORIGINS."""
    monkeypatch.setattr("level_replicator.storage.write.remote_applier.MAX_OWN_VECTOR_ORIGINS", 100)
    with Intruder(masters.victim.address) as intruder:
        intruder.enter()
        intruder.say(*said())
        bye = intruder.farewell()
        assert bye is not None
        assert bye.code == ByeCode.PROTOCOL
        assert "origins" in bye.text


@pytest.mark.parametrize(
    "said",
    [VectorUpdate(MADE_UP), StartPull(b"", [], MADE_UP), RoundStart(MADE_UP, 1)],
    ids=lambda message: type(message).__name__,
)
def test_many_connections_that_name_ever_more_origins_are_bounded(
    masters: Masters, monkeypatch: pytest.MonkeyPatch, said: Message
) -> None:
    """The connection that exceeds the common bound is cut off, and the honest one is not."""
    monkeypatch.setattr("level_replicator.replication.coordinator.MAX_ORIGINS_OF_PEERS", 1_000)
    monkeypatch.setattr("level_replicator.replication.coordinator.FEW_ORIGINS", 100)
    with ExitStack() as stack:
        for number in range(10):
            intruder = stack.enter_context(Intruder(masters.victim.address))
            intruder.enter(ORIGIN + number)
            intruder.say(said, VectorQuery(5))
            if isinstance(intruder.hear(Bye | VectorReply), Bye):  # type: ignore[arg-type]
                break
        assert number in (2, 3, 4, 5)  # a RoundStart counts twice
        masters.check_served()
        assert masters.honest_is_connected()


def test_vectors_of_departed_peers_are_bounded(masters: Masters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that returns under ever new origins does not make the node keep all the vectors that it sent."""
    monkeypatch.setattr("level_replicator.replication.peers.MAX_REMEMBERED_ORIGINS", 1_000)
    coordinator = masters.victim.node.coordinator
    for number in range(10):
        with Intruder(masters.victim.address) as intruder:
            intruder.enter(ORIGIN + number)
            intruder.say(VectorUpdate(encode_vector(dict.fromkeys(range(1, 301), 1))), VectorQuery(5))
            assert isinstance(intruder.hear(VectorReply), VectorReply)
        masters.victim.wait_until(lambda number=number: ORIGIN + number not in coordinator.by_origin)  # type: ignore[misc]
    kept = [peer.origin for peer in coordinator.visitors.all() if peer.vector]
    assert kept == [ORIGIN + 7, ORIGIN + 8, ORIGIN + 9]


@pytest.mark.usefixtures("nothing_applied")
def test_silent_connections_from_one_address_are_bounded(masters: Masters) -> None:
    """The connection that has waited longest is ended, so that the next honest one is accepted."""
    admission = masters.victim.node.admission
    with ExitStack() as stack:
        silent = [stack.enter_context(Intruder(masters.victim.address)) for _ in range(MAX_PENDING_PER_NETWORK)]
        masters.victim.wait_until(lambda: admission.pending == MAX_PENDING_PER_NETWORK)
        one_more = stack.enter_context(Intruder(masters.victim.address))
        assert silent[0].farewell() is None
        one_more.enter()
        assert admission.pending == MAX_PENDING_PER_NETWORK - 1
    masters.victim.wait_until(lambda: admission.pending == 0)


def test_silent_connections_from_many_addresses_are_bounded(masters: Masters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level_replicator.node.admission.MAX_PENDING_HANDSHAKES", 20)
    admission = masters.victim.node.admission
    with ExitStack() as stack:
        silent = [stack.enter_context(Intruder(masters.victim.address, source=f"127.0.7.{n}")) for n in range(1, 21)]
        masters.victim.wait_until(lambda: admission.pending == 20)
        one_more = stack.enter_context(Intruder(masters.victim.address, source="127.0.7.99"))
        assert silent[0].farewell() is None
        one_more.enter()


def test_a_peer_that_never_reads_is_sent_no_more_than_a_buffer(masters: Masters) -> None:
    victim = masters.victim
    noise = Random(1)
    for number in range(300):
        victim.put(b"large %d" % number, noise.randbytes(64 * 1024))
    most = SEND_BUFFER_BYTES + 2 * FRAME_TARGET_BYTES
    with Intruder(victim.address, receive_buffer=4_096) as intruder:
        intruder.enter()
        intruder.say(StartPull(b"", []))
        coordinator = victim.node.coordinator
        victim.wait_until(lambda: coordinator.by_origin[ORIGIN].transport.full)
        assert SEND_BUFFER_BYTES <= victim.write_buffers()[0] <= most
        for number in range(20):
            victim.put(b"more %d" % number, noise.randbytes(64 * 1024))
        masters.check_served()
        assert victim.write_buffers()[0] <= most
        intruder.say(*(VectorQuery(number) for number in range(17)))
        victim.wait_until(lambda: ORIGIN not in coordinator.by_origin)
    masters.check_served()


def test_a_peer_that_never_reads_loses_its_socket_with_its_link(masters: Masters) -> None:
    """This holds also when too little is waiting for the connection to count as full."""
    victim = masters.victim
    with Intruder(victim.address, receive_buffer=4_096) as intruder:
        intruder.enter()
        intruder.say(StartPull(b"", []))
        coordinator = victim.node.coordinator
        victim.wait_until(lambda: coordinator.by_origin[ORIGIN].transport.full)
        wire = coordinator.by_origin[ORIGIN].transport
        intruder.send(b"\xff\xff\xff\xff")
        victim.wait_until(lambda: wire.closed.done())  # type: ignore[attr-defined]
    assert ORIGIN not in coordinator.by_origin


def test_many_simultaneous_waits_are_not_taken_for_a_flood(masters: Masters) -> None:
    node = masters.honest.node

    async def wait_all() -> list[bool]:
        return await asyncio.gather(
            *(node.sync_waiter.wait(node.coordinator, TIMEOUT_S) for _ in range(20 * MAX_WAITING_VECTOR_QUERIES))
        )

    assert all(node.call(wait_all()).result())
