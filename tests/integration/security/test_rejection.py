"""Not one byte of data passes in either direction before both sides have accepted, and no attack changes that."""

import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

import level_replicator as lrep
from level_replicator.core.entry import encode_entry
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    ByeCode,
    Entries,
    Hello,
    RoundStart,
    StartPull,
    Welcome,
    encode,
)
from level_replicator.testing.relay import Relay
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open, wait_connected
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B, C = print_of("A", "B", "C")
SECRET = b"a secret that must not pass" * 20
FORGED = encode_entry(1 << 20, b"forged", b"by a stranger")[0]
EARLY = b"".join(
    map(
        encode,
        [
            Hello(MAGIC, VERSION, 0xBAD, b"intruder"),
            Welcome(),
            StartPull(b"", []),
            RoundStart(encode_vector({0xBAD: 1 << 20}), 1),
            Entries(0xBAD, 0, 1 << 20, [FORGED], True),
        ],
    )
)
"""All messages of an accepted peer, sent before any decision."""


def address(node: LocalNode) -> tuple[str, int]:
    return "127.0.0.1", node.port


def dump(node: LocalNode) -> dict[bytes, bytes]:
    return dict(node.replica._node.store._state.rs.scan())


@pytest.fixture
def victim(master: Open) -> Iterator[LocalNode]:
    """Yield a node that trusts B, and assert that the test has not changed its contents."""
    node = master("A", trusted=[B])
    node.put(b"key", SECRET)
    before = dump(node)
    yield node
    wait_until(lambda: node.replica._node.coordinator.by_origin == {}, "the end of all links")
    assert node.contents() == {b"key": SECRET}
    assert dump(node) == before


def test_an_unknown_peer_receives_one_bye_and_is_not_read(victim: LocalNode) -> None:
    with SecureIntruder.dial(address(victim), context(pems("C"))) as intruder:
        intruder.handshake()
        intruder.send(EARLY)
        (bye,) = intruder.hear_all()
    assert isinstance(bye, Bye)
    assert bye.code == ByeCode.REJECTED
    assert SECRET[:8] not in bytes(intruder.heard)
    assert C not in bye.text


def test_no_byte_passes_before_a_decision(master: Open) -> None:
    waiting: list[lrep.PeerIdentity] = []
    node = master("A", identify=waiting.append)
    node.put(b"key", SECRET)
    before = dump(node)
    with SecureIntruder.dial(address(node), context(pems("C"))) as intruder:
        intruder.handshake()
        intruder.send(EARLY)
        wait_until(lambda: bool(waiting), "a question")
        (wire,) = node.replica._node.admission._pending
        assert wire.connection is None
        assert not wire._socket.is_reading()  # type: ignore[union-attr]
        waiting[0].reject("no")
        messages = intruder.hear_all()
    assert [type(message) for message in messages] == [Bye]
    assert dump(node) == before


def test_a_server_that_is_not_the_pinned_one_learns_nothing(tmp_path: Path) -> None:
    """It does not even learn which node dialled it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        folder = LocalNode(tmp_path / "b", {f"127.0.0.1:{port}": {"fingerprint": A}}, pems=pems("B"))
        folder.put(b"key", SECRET)
        try:
            sock, _ = listening.accept()
            with SecureIntruder(sock, context(pems("C"), method=SSL.TLS_SERVER_METHOD), dialled=False) as server:
                server.handshake()
                server.send(EARLY)
                (bye,) = server.hear_all()
            assert isinstance(bye, Bye)
            assert folder.origin.encode() not in bytes(server.heard)
            assert folder.contents() == {b"key": SECRET}
        finally:
            folder.close()


def test_early_data_of_an_accepted_peer_is_read_after_the_decision(master: Open) -> None:
    """The other side may have accepted first: no message is lost."""
    waiting: list[lrep.PeerIdentity] = []
    node = master("A", identify=waiting.append)
    with SecureIntruder.dial(address(node), context(pems("C"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        wait_until(lambda: bool(waiting), "a question")
        waiting[0].accept()
        assert isinstance(intruder.hear(), Hello)


def test_the_wire_shows_nothing_of_an_accepted_session(master: Open) -> None:
    a = master("A", trusted=[B])
    relay = Relay(a.port)
    relay.capture = True
    try:
        b = master("B", pems=pems("B"), trusted=[A], servers=None, port=None)
        b.close()
        b.servers = {relay.address: {"fingerprint": A}}
        b.open()
        a.put(b"a key to be kept secret", SECRET)
        b.put(b"another key", SECRET)
        wait_in_sync(a, b)
        captured = b"".join(bytes(half) for pair in relay.captured for half in pair)
        assert len(captured) > 2 * len(SECRET)
        for marker in (SECRET[:16], b"a key to be", b"another key", b"level-replicator", MAGIC.encode()):
            assert marker not in captured
    finally:
        b.close()
        relay.close()


# -- no path around


def _refused(victim: LocalNode, tls: SSL.Context, **options: Any) -> SecureIntruder:
    """In TLS 1.3 a client has finished before the server judges: the refusal comes with the first thing it reads."""
    with SecureIntruder.dial(address(victim), tls, **options) as intruder:
        try:
            intruder.handshake()
            intruder.send(EARLY)
            intruder.hear_all()
        except (SSL.Error, ConnectionError):
            pass
    assert bytes(intruder.heard) == b""
    return intruder


def test_a_peer_without_a_certificate_is_refused(victim: LocalNode) -> None:
    _refused(victim, context(None))


def test_an_older_tls_version_is_refused(victim: LocalNode) -> None:
    _refused(victim, context(pems("B"), version=SSL.TLS1_2_VERSION))


def test_a_certificate_with_the_names_of_another_is_refused(victim: LocalNode) -> None:
    """It has the names and the serial number of B's certificate, and another key."""
    forged = _certificate_like(pems("B")["cert"], load_key(pems("C")["private"]))
    with SecureIntruder.dial(address(victim), context({"cert": forged, "private": pems("C")["private"]})) as intruder:
        intruder.handshake()
        intruder.send(EARLY)
        (bye,) = intruder.hear_all()
    assert isinstance(bye, Bye)


def test_a_replayed_session_is_refused(victim: LocalNode) -> None:
    """It has B's certificate, and a signature by B's key, but of another handshake."""
    relay = Relay(victim.port)
    relay.capture = True
    try:
        with SecureIntruder.dial(("127.0.0.1", int(relay.address.rpartition(":")[2])), context(pems("B"))) as honest:
            honest.handshake()
            honest.say(Hello(MAGIC, VERSION, 0xBEE, b"honest"))
            assert isinstance(honest.hear(), Hello)
        wait_until(lambda: not victim.replica._node.coordinator.connections, "the end of the recorded session")
        recorded = bytes(honest.raw_out)
        with socket.create_connection(address(victim), 30) as replay:
            replay.sendall(recorded)
            heard = bytearray()
            while data := _recv(replay):
                heard += data
        assert MAGIC.encode() not in heard
    finally:
        relay.close()


def test_a_certificate_that_changes_between_two_sessions_is_refused(victim: LocalNode) -> None:
    with SecureIntruder.dial(address(victim), context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        assert isinstance(intruder.hear(), Hello)
    with SecureIntruder.dial(address(victim), context(pems("C"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        assert isinstance(intruder.hear(), Bye)


def test_no_session_is_resumed(victim: LocalNode) -> None:
    """The node gives no session ticket, and an offered session makes both sides prove their keys again."""
    tls = context(pems("B"))
    tls.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    with SecureIntruder.dial(address(victim), tls) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        assert isinstance(intruder.hear(), Hello)
        session = intruder.tls.get_session()
    wait_until(lambda: not victim.replica._node.coordinator.connections, "the end of the first session")
    asked: list[Any] = []
    admission = victim.replica._node.admission
    authenticated = admission.authenticated
    admission.authenticated = lambda wire, der, client: (asked.append(der), authenticated(wire, der, client=client))[1]  # type: ignore[method-assign]
    with SecureIntruder.dial(address(victim), tls, session=session) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        assert isinstance(intruder.hear(), Hello)
    assert len(asked) == 1


def test_plain_tcp_to_a_node_with_keys_is_refused(victim: LocalNode, tmp_path: Path) -> None:
    plain = LocalNode(tmp_path / "plain", [victim.address])
    try:
        wait_until(lambda: plain.replica.status()["peers"][0]["last_error"], "an error")
        assert "TLS" in plain.replica.status()["peers"][0]["last_error"]
        assert plain.replica.status()["peers"][0]["last_error_code"] == "tls"
        assert plain.contents() == {}
    finally:
        plain.close()


def test_a_node_with_keys_dials_plain_tcp(master: Open, tmp_path: Path) -> None:
    plain = LocalNode(tmp_path / "plain")
    try:
        b = master("B", {plain: {"fingerprint": A}})
        b.put(b"key", SECRET)
        wait_until(lambda: b.replica.status()["peers"][0]["last_error"], "an error")
        wait_until(lambda: "refused" in plain.event_kinds(), "a refusal")
        assert any("speaks TLS" in event.text for event in plain.events)
        assert plain.contents() == {}
    finally:
        plain.close()


# -- certificates


def load_key(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), None)


def _certificate_like(pem: str, key: Any) -> str:
    """Return a certificate with the same names and serial number, of another key."""
    model = x509.load_pem_x509_certificate(pem.encode())
    return _certificate(key, model.not_valid_before_utc, model.not_valid_after_utc, model.serial_number)


def _certificate(key: Any, begin: datetime.datetime, end: datetime.datetime, number: int = 7) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "level-replicator")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), number, begin, end)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _pems_of(key: Any, certificate: str) -> dict[str, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"private": private.decode(), "cert": certificate}


@pytest.mark.parametrize("years", [(-2, -1), (1, 2)], ids=["expired", "not valid yet"])
def test_dates_of_certificates_are_ignored(master: Open, years: tuple[int, int]) -> None:
    """SECURITY.md has the reason. An application that wants an expiry checks `peer.not_after`."""
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now + datetime.timedelta(days=365 * each) for each in years)
    key = ec.generate_private_key(ec.SECP256R1())
    theirs = _pems_of(key, _certificate(key, begin, end))
    ends: list[datetime.datetime] = []

    def identify(peer: lrep.PeerIdentity) -> None:
        ends.append(peer.not_after)
        peer.accept()

    a = master("A", identify=identify)
    b = master("B", {a: {"fingerprint": A}}, pems=theirs)
    wait_connected(a, b)
    assert ends == [end.replace(microsecond=0)]


def test_a_weak_key_of_the_other_side_is_refused(victim: LocalNode) -> None:
    key = rsa.generate_private_key(65_537, 1024)
    now = datetime.datetime.now(datetime.UTC)
    weak = _pems_of(key, _certificate(key, now, now + datetime.timedelta(days=9)))
    security = victim.replica._node.admission.security
    assert security is not None
    security.trust.trusted |= {lrep.fingerprint(weak)}
    _refused(victim, context(weak))


def _recv(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except ConnectionResetError:
        return b""


def test_a_certificate_chain_that_is_too_long_is_refused(victim: LocalNode) -> None:
    tls = context(pems("B"))
    key = rsa.generate_private_key(65_537, 4096)
    now = datetime.datetime.now(datetime.UTC)
    extra = x509.load_pem_x509_certificate(_certificate(key, now, now + datetime.timedelta(days=9)).encode())
    for _ in range(40):
        tls.add_extra_chain_cert(extra)
    _refused(victim, tls)
    wait_until(lambda: any("TLS handshake exceeds" in event.text for event in victim.events), "a refusal")


# -- garbage


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 5000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\xff" * 70_000],
    ids=["zeros", "http", "a huge record", "ones"],
)
def test_garbage_before_tls_ends_the_connection(victim: LocalNode, garbage: bytes) -> None:
    with socket.create_connection(address(victim), 30) as sock:
        try:
            sock.sendall(garbage)
        except ConnectionError:
            return
        while _recv(sock):
            pass


def test_garbage_within_the_handshake_ends_the_connection(victim: LocalNode) -> None:
    with SecureIntruder.dial(address(victim), context(pems("B"))) as intruder:
        with pytest.raises(SSL.WantReadError):
            intruder.tls.do_handshake()
        intruder._flush()
        assert intruder._fill()
        intruder.send_raw(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        while intruder._fill():
            pass


@pytest.mark.parametrize(
    "after", [b"\x17\x03\x03\x00\x20" + b"x" * 32, b"\x16\x03\x03\x00\x04\x00\x00\x00\x00", b"x" * 99]
)
def test_garbage_after_the_handshake_ends_the_connection(victim: LocalNode, after: bytes) -> None:
    """The garbage is a record without TLS, a renegotiation of an older TLS, or no record at all."""
    with SecureIntruder.dial(address(victim), context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        assert isinstance(intruder.hear(), Hello)
        intruder.send_raw(after)
        messages = intruder.hear_all()
    assert not any(isinstance(each, StartPull) for each in messages)
    wait_until(lambda: not victim.replica._node.coordinator.connections, "the end of the link")


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", (40_000).to_bytes(4, "big") + b"x" * 40_000])
def test_huge_frames_before_acceptance_are_not_read(victim: LocalNode, frame: bytes) -> None:
    with SecureIntruder.dial(address(victim), context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.send(frame)
        (bye,) = intruder.hear_all()
    assert isinstance(bye, Bye)
    assert bye.code == ByeCode.PROTOCOL


def test_a_connection_may_end_after_any_byte(victim: LocalNode) -> None:
    """The connection ends after each byte of a handshake, and of the messages that follow."""
    with SecureIntruder.dial(address(victim), context(pems("C"))) as whole:
        whole.handshake()
        whole.hear_all()
    recorded = bytes(whole.raw_out)
    for length in range(0, len(recorded), 97):
        with socket.create_connection(address(victim), 30) as sock:
            sock.sendall(recorded[:length])
            if length % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
    wait_until(lambda: victim.replica._node.admission.pending == 0, "the end of them all")
    assert not [each for each in threading.enumerate() if each.name.startswith("Thread-")]
