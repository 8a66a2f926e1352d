"""Many, slow and greedy peers: memory, descriptors and events stay bounded, and an honest peer is served meanwhile."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest

from level_replicator.core.entry import encode_entry
from level_replicator.core.limits import (
    FRAME_TARGET_BYTES,
    MAX_PENDING_HANDSHAKES,
    MAX_PENDING_PER_NETWORK,
    REFUSALS_REPORTED_PER_S,
    SEND_BUFFER_BYTES,
)
from level_replicator.core.version_vector import encode_vector
from level_replicator.node.stream import network_of
from level_replicator.protocol.client_messages import ALPN
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    AnyMessage,
    Bye,
    ByeCode,
    Entries,
    Hello,
    Message,
    RoundStart,
    StartPull,
    Welcome,
)
from level_replicator.replication.refusal_limiter import RefusalLimiter
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open, wait_connected
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B, C = print_of("A", "B", "C")


class Pair:
    """A victim that trusts B and C, and an honest B that is connected to it."""

    def __init__(self, master: Open) -> None:
        self.victim = master("A", trusted=[B, C])
        self.honest = master("B", {self.victim: {"fingerprint": A}})
        self.serial = 0
        wait_connected(self.victim, self.honest)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.victim.port

    def check_served(self) -> None:
        self.serial += 1
        self.victim.put(b"%d of the victim" % self.serial, b"")
        self.honest.put(b"%d of the honest" % self.serial, b"")
        wait_in_sync(self.victim, self.honest)

    def dial(self) -> SecureIntruder:
        """Accepted, with C's key."""
        intruder = SecureIntruder.dial(self.address, context(pems("C")))
        intruder.handshake()
        return intruder


@pytest.fixture
def pair(master: Open) -> Iterator[Pair]:
    """Yield the pair, and assert that the honest peer keeps its connection and is served afterwards."""
    pair = Pair(master)
    yield pair
    pair.check_served()
    assert pair.victim.peer(pair.honest)["connections"] == 1


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def enter(intruder: SecureIntruder, origin: int, instance: bytes = b"intruder") -> AnyMessage | None:
    """Do a handshake, and return the node's first message after its Welcome: a StartPull or a Bye."""
    intruder.say(Hello(MAGIC, VERSION, origin, instance))
    intruder.say(Welcome())
    while isinstance(message := intruder.hear(), Hello | Welcome):
        pass
    return message


def test_a_thousand_silent_connections_are_bounded(pair: Pair) -> None:
    admission = pair.victim.replica._node.admission
    before = descriptors()
    with ExitStack() as stack:
        for number in range(1_000):
            sock = stack.enter_context(socket.socket())
            sock.bind((f"127.1.{number % 40}.{1 + number % 7}", 0))
            sock.connect(pair.address)
        pair.check_served()
        wait_until(lambda: admission.pending <= MAX_PENDING_HANDSHAKES, "the bound")
        wait_until(lambda: descriptors() <= before + 1_000 + MAX_PENDING_HANDSHAKES + 10, descriptors)
        assert len(pair.victim.replica._node.coordinator.connections) == 1
        with pair.dial() as newcomer:
            assert isinstance(enter(newcomer, 0xBEE), StartPull)
    wait_until(lambda: admission.pending == 0, "the end of them all")


def test_pending_connections_from_one_address_are_bounded(pair: Pair) -> None:
    admission = pair.victim.replica._node.admission
    with ExitStack() as stack:
        for _ in range(3 * MAX_PENDING_PER_NETWORK):
            stack.enter_context(socket.create_connection(pair.address, 30, ("127.9.9.9", 0)))
        wait_until(lambda: admission.pending == MAX_PENDING_PER_NETWORK, lambda: admission.pending)
        other = stack.enter_context(socket.create_connection(pair.address, 30, ("127.9.9.8", 0)))
        wait_until(lambda: admission.pending == MAX_PENDING_PER_NETWORK + 1, lambda: admission.pending)
        other.close()


def test_addresses_that_count_as_one_network() -> None:
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth0")
    assert network_of("?") == "?"


@pytest.mark.parametrize("said", ["nothing", "half a ClientHello", "a handshake and no Hello"])
def test_a_slow_handshake_is_ended_in_time(pair: Pair, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr("level_replicator.node.admission.HANDSHAKE_TIMEOUT_MS", 200)
    monkeypatch.setattr("level_replicator.protocol.session.HANDSHAKE_TIMEOUT_MS", 200)
    with SecureIntruder.dial(pair.address, context(pems("C"))) as slow:
        if said == "half a ClientHello":
            slow.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        if said == "a handshake and no Hello":
            slow.handshake()
            (bye,) = slow.hear_all()
            assert isinstance(bye, Bye)
        while slow._fill():
            pass
        assert slow.ended


def test_a_flood_of_strangers_is_not_a_flood_of_events(pair: Pair) -> None:
    before = len(pair.victim.events)
    for _ in range(60):
        with SecureIntruder.dial(pair.address, context(pems("Stranger"))) as stranger:
            stranger.handshake()
            stranger.hear_all()
    pair.check_served()
    refused = [event for event in pair.victim.events[before:] if event.kind == "refused"]
    assert 0 < len(refused) < 60


def test_a_flood_of_strange_clients_is_not_a_flood_of_log_lines(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that claims to be a client costs no more than one that claims to be a peer."""
    tls = context(pems("Stranger"))
    tls.set_alpn_protos([ALPN])
    with caplog.at_level(logging.INFO, "level_replicator"):
        for _ in range(60):
            with SecureIntruder.dial(pair.address, tls) as stranger:
                stranger.handshake()
                while stranger._more():
                    pass
        pair.check_served()
    told = [record for record in caplog.records if "was not accepted" in record.getMessage()]
    assert 0 < len(told) < 60


def test_reports_of_refusals_are_bounded_per_second() -> None:
    notices = RefusalLimiter()
    assert [notices.may_report(500) for _ in range(20)].count(True) == REFUSALS_REPORTED_PER_S
    assert notices.may_report(1_500)
    assert notices.take_unreported() == 20 - REFUSALS_REPORTED_PER_S
    assert notices.take_unreported() == 0


# -- accepted ones


def test_a_peer_that_claims_the_origin_of_a_connected_one_is_refused(pair: Pair) -> None:
    """Its instance, which all peers know, does not help: only the key identifies a peer."""
    honest = pair.honest.replica._node
    with pair.dial() as intruder:
        bye = enter(intruder, honest.store.origin, honest.coordinator.instance)
    assert isinstance(bye, Bye)
    assert bye.code == ByeCode.DUPLICATE_ORIGIN


def test_a_peer_that_claims_the_origin_of_an_absent_one(master: Open) -> None:
    """The absent peer is kept out only while the other stays connected, and can still be dialled."""
    honest = master("B", trusted=[A])
    victim = master("A", {honest: {"fingerprint": B}}, trusted=[C])
    wait_connected(victim, honest)
    origin, port = honest.replica._node.store.origin, honest.port
    honest.close()
    wait_until(lambda: victim.replica._node.coordinator.by_origin == {}, "the end of the link")
    with SecureIntruder.dial(("127.0.0.1", victim.port), context(pems("C"))) as intruder:
        intruder.handshake()
        assert isinstance(enter(intruder, origin), StartPull)
        honest._config["port"] = port
        honest.open()
        wait_until(lambda: "refused" in honest.event_kinds(), lambda: honest.events)
    victim.put(b"key", b"value")
    wait_in_sync(victim, honest)


def _say_all(intruder: SecureIntruder, *messages: Message) -> Bye:
    intruder.say(*messages)
    while not isinstance(message := intruder.hear(), Bye):
        assert message is not None
    return message


def test_forged_stamps_of_the_future_are_quarantined(pair: Pair) -> None:
    """Entries of another origin and of its own are both quarantined, and nothing is applied."""
    future = (1 << 63) - 1
    record = encode_entry(future, b"forged", b"")[0]
    for origin in (0xBAD, pair.honest.replica._node.store.origin, pair.victim.replica._node.store.origin):
        with pair.dial() as intruder:
            want = enter(intruder, 0xBAD)
            assert isinstance(want, StartPull)
            forged = Entries(origin, 0, future, [record], True)
            bye = _say_all(intruder, RoundStart(encode_vector({7: 7}), want.pull), forged)
            assert bye.code in (ByeCode.CLOCK, ByeCode.DUPLICATE_ORIGIN)
    assert b"forged" not in pair.victim.contents()


def test_forged_entries_under_known_dots_are_not_applied(pair: Pair) -> None:
    """A forged entry has another value, or a new key, under a dot of the victim or of the honest peer."""
    pair.victim.put(b"ours", b"true")
    pair.honest.put(b"theirs", b"true")
    wait_in_sync(pair.victim, pair.honest)
    store = pair.victim.replica._node.store
    own, other = store.origin, pair.honest.replica._node.store.origin
    vector = store.vector_copy()
    with pair.dial() as intruder:
        want = enter(intruder, 0xBAD)
        assert isinstance(want, StartPull)
        intruder.say(
            RoundStart(encode_vector({0xBAD: 1}), want.pull),
            Entries(own, 0, vector[own], [encode_entry(vector[own], b"never written", b"false")[0]], False),
            Entries(other, 0, vector[other], [encode_entry(vector[other], b"theirs", b"false")[0]], True),
        )
        wait_until(lambda: store.vector_copy().get(0xBAD) == 1, "the end of the round")
    assert b"never written" not in pair.victim.contents()
    assert pair.victim.contents()[b"theirs"] == b"true"
    assert pair.victim.replica.verify().sound


def test_a_peer_that_never_reads_is_sent_a_bounded_amount(pair: Pair) -> None:
    noise = Random(1)
    for number in range(200):
        pair.victim.put(b"large %d" % number, noise.randbytes(64 * 1024))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(pair.address)
    coordinator = pair.victim.replica._node.coordinator
    with SecureIntruder(sock, context(pems("C"))) as intruder:
        intruder.handshake()
        assert isinstance(enter(intruder, 0xBAD), StartPull)
        intruder.say(StartPull(b"", [], b"", 0, 1))
        wait_until(lambda: coordinator.by_origin[0xBAD].transport.full, "a full buffer")
        pair.check_served()
        wire = coordinator.by_origin[0xBAD].transport
        waiting = wire._socket.get_write_buffer_size()  # type: ignore[attr-defined]
        assert waiting <= SEND_BUFFER_BYTES + 3 * FRAME_TARGET_BYTES
    wait_until(lambda: 0xBAD not in coordinator.by_origin, "its end")


def test_a_flood_of_frames_leaves_other_peers_their_turn(pair: Pair) -> None:
    """The peer sends as fast as it can, and other peers are still served."""
    with pair.dial() as intruder:
        assert isinstance(enter(intruder, 0xBAD), StartPull)
        for _ in range(50):
            intruder.say(*(RoundStart(b"", 99) for _ in range(200)))
            if intruder.ended:
                break
        pair.check_served()


def test_two_nodes_with_one_key_are_still_two(master: Open, pair: Pair, tmp_path: object) -> None:
    """One key for two nodes is allowed: the key decides about trust, and the origin identifies the node."""
    other = LocalNode(pair.victim.folder.parent / "B too", {pair.victim.address: {"fingerprint": A}}, pems=pems("B"))
    try:
        other.put(b"from the other", b"")
        wait_in_sync(other, pair.victim, pair.honest)
    finally:
        other.close()
