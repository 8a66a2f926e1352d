"""`identify`: its argument, its decisions, and that everything but an accept in time is a rejection."""

import asyncio
import logging
import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography import x509

import level_replicator as lrep
from level_replicator.protocol.messages import Bye
from tests.harness.local_node import wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open, wait_connected
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B = print_of("A", "B")


def test_identify_receives_the_proved_identity(master: Open) -> None:
    asked: list[lrep.PeerIdentity] = []

    def identify(peer: lrep.PeerIdentity) -> None:
        asked.append(peer)
        peer.accept()

    a = master("A", identify=identify)
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    (peer,) = asked
    assert peer.fingerprint == B
    assert peer.certificate.strip() == pems("B")["cert"].strip()
    assert peer.public_key == pems("B")["public"]
    assert peer.address.startswith("127.0.0.1:")
    assert peer.not_after == x509.load_pem_x509_certificate(pems("B")["cert"].encode()).not_valid_after_utc
    assert (peer.known, peer.dialled) == (False, False)
    assert B in repr(peer)


def test_identify_is_asked_about_trusted_peers_on_both_sides(master: Open) -> None:
    asked: list[tuple[str, bool, bool]] = []

    async def identify(peer: lrep.PeerIdentity) -> None:
        await asyncio.sleep(0)
        asked.append((peer.fingerprint, peer.known, peer.dialled))
        peer.accept()

    a = master("A", identify=identify, trusted=[B])
    b = master("B", {a: {"fingerprint": A}}, identify=identify)
    wait_connected(a, b)
    assert sorted(asked) == sorted([(B, True, False), (A, True, True)])


def test_identify_may_reject_a_trusted_peer(master: Open) -> None:
    a = master("A", identify=lambda peer: peer.reject("not on Sundays"), trusted=[B])
    b = master("B", {a: {"fingerprint": A}})
    wait_until(lambda: "refused" in b.event_kinds(), "a refusal")
    assert "not on Sundays" in b.replica.status()["peers"][0]["last_error"]
    assert b.replica.status()["peers"][0]["last_error_code"] == "untrusted_there"


def test_identify_is_not_asked_about_a_server_that_is_not_the_pinned_one(master: Open) -> None:
    asked: list[Any] = []
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": B}}, identify=asked.append)
    wait_until(lambda: "refused" in b.event_kinds(), "a refusal")
    assert asked == []


def test_identify_may_decide_later_from_another_thread(master: Open) -> None:
    waiting: list[lrep.PeerIdentity] = []
    a = master("A", identify=waiting.append)
    b = master("B", {a: {"fingerprint": A}})
    b.put(b"b", b"2")
    wait_until(lambda: bool(waiting), "a question")
    assert a.contents() == {}
    waiting[0].accept()
    waiting[0].reject("too late")
    wait_in_sync(a, b)
    assert a.contents() == {b"b": b"2"}


def test_disconnect_ends_a_peer_that_waits_for_a_decision(master: Open) -> None:
    """An accept that comes too late admits no peer."""
    waiting: list[lrep.PeerIdentity] = []
    a = master("A", identify=waiting.append)
    a.put(b"a", b"1")
    b = master("B", {a: {"fingerprint": A}})
    wait_until(lambda: bool(waiting), "a question")
    assert a.replica.disconnect(B) == 1
    waiting[0].accept()
    wait_until(lambda: len(waiting) > 1, "another question")
    assert b.contents() == {}
    assert "connected" not in a.event_kinds()


def test_an_identify_that_blocks_delays_no_other_peer(master: Open) -> None:
    release = threading.Event()

    def identify(peer: lrep.PeerIdentity) -> None:
        if peer.fingerprint != B:
            release.wait()
        peer.accept()

    a = master("A", identify=identify)
    try:
        master("Ed", {a: {"fingerprint": A}})
        b = master("B", {a: {"fingerprint": A}})
        a.put(b"a", b"1")
        wait_in_sync(a, b)
    finally:
        release.set()


async def _raises(peer: lrep.PeerIdentity) -> None:
    peer.accept()
    raise OSError("no database of users")


def _raises_too(peer: lrep.PeerIdentity) -> None:
    peer.accept()
    raise SystemExit(1)


@pytest.mark.parametrize("identify", [_raises, _raises_too])
def test_an_identify_that_raises_rejects_even_after_an_accept(
    master: Open, identify: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "level_replicator"):
        a = master("A", identify=identify, trusted=[B])
        b = master("B", {a: {"fingerprint": A}})
        wait_until(lambda: "refused" in b.event_kinds(), "a refusal")
    assert "identify raised" in caplog.text
    assert a.replica.status()["peers"] == []


def test_no_decision_in_time_is_a_rejection(master: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level_replicator.node.admission.HANDSHAKE_TIMEOUT_MS", 100)
    late: list[lrep.PeerIdentity] = []
    a = master("A", identify=late.append, trusted=[B])
    a.put(b"a", b"1")
    b = master("B", {a: {"fingerprint": A}})
    wait_until(lambda: "refused" in b.event_kinds(), "a refusal")
    for peer in late:
        peer.accept()
    assert "time limit" in b.replica.status()["peers"][0]["last_error"]
    assert b.contents() == {}


def test_open_identify_calls_are_bounded(master: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that did not return in time still count, since their threads still run."""
    monkeypatch.setattr("level_replicator.security.identify.MAX_IDENTIFY_CALLS", 1)
    release = threading.Event()

    def identify(peer: lrep.PeerIdentity) -> None:
        release.wait()
        peer.accept()

    a = master("A", identify=identify)
    try:
        one = master("Ed", {a: {"fingerprint": A}})
        two = master("B", {a: {"fingerprint": A}})
        wait_until(lambda: "refused" in one.event_kinds() | two.event_kinds(), "a refusal")
    finally:
        release.set()
    wait_in_sync(a, one, two)


def test_unknown_peers_leave_room_for_trusted_ones(master: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusted peers are admitted while calls for unknown peers block, and one address cannot take all the calls."""
    for name, most in (("CALLS", 3), ("STRANGERS", 2), ("STRANGERS_PER_NETWORK", 1)):
        monkeypatch.setattr(f"level_replicator.security.identify.MAX_IDENTIFY_{name}", most)
    release, asked = threading.Event(), threading.Semaphore(0)

    def identify(peer: lrep.PeerIdentity) -> None:
        if peer.known:
            peer.accept()
            return
        asked.release()
        release.wait()
        peer.reject("a stranger")

    a = master("A", identify=identify, trusted=[B])
    with ExitStack() as stack:
        stack.callback(release.set)

        def stranger(host: str) -> SecureIntruder:
            sock = socket.create_connection(("127.0.0.1", a.port), 30, (host, 0))
            intruder = stack.enter_context(SecureIntruder(sock, context(pems("C"))))
            intruder.handshake()
            return intruder

        waiting = [stranger("127.9.9.1")]
        assert asked.acquire(timeout=60)
        for host in ("127.9.9.1", "127.9.9.2", "127.9.9.3"):
            intruder = stranger(host)
            if host == "127.9.9.2":
                waiting.append(intruder)
                assert asked.acquire(timeout=60)
                continue
            (bye,) = intruder.hear_all()
            assert isinstance(bye, Bye)
            assert "too many" in bye.text
        b = master("B", {a: {"fingerprint": A}})
        b.put(b"b", b"2")
        wait_in_sync(a, b)
        release.set()
        for intruder in waiting:
            (bye,) = intruder.hear_all()
            assert isinstance(bye, Bye)
            assert "a stranger" in bye.text
    wait_until(lambda: not a.replica._node.admission.security.identify_runner._strangers, "the end of all calls")  # type: ignore[union-attr]


def test_arguments_of_accept() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    der = x509.load_pem_x509_certificate(pems("A")["cert"].encode()).public_bytes(Encoding.DER)
    peer = lrep.PeerIdentity(der, "there:1", dialled=True, known=False)
    with pytest.raises(TypeError, match="read_only"):
        peer.accept(read_only="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        peer.accept(True)  # type: ignore[misc]
    assert not peer.decision.done()
    peer.reject("x" * 10_000)
    assert len(peer.decision.result().reason) == 200


def test_a_reason_that_quotes_a_stranger_is_one_line() -> None:
    peer = lrep.PeerIdentity(b"", "there:1", dialled=False, known=False)
    peer.reject("unknown: CN=x\nforged line\x1b[2J")
    assert peer.decision.result().reason == "unknown: CN=x?forged line?[2J"


def test_close_does_not_wait_for_identify(master: Open) -> None:
    begun = threading.Event()

    async def identify(_peer: lrep.PeerIdentity) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    a = master("A", identify=identify)
    master("B", {a: {"fingerprint": A}})
    assert begun.wait(60)
    a.close()
