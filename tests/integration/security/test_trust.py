"""Admission by pins and by the trusted list, and revocation."""

import asyncio
import logging
import os
import socket
from pathlib import Path
from random import Random

import pytest

import level_replicator as lrep
from level_replicator.protocol.messages import MAGIC, VERSION, Hello, StartPull, Welcome
from level_replicator.security.trust import TrustedFile
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open, wait_connected
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B, C = print_of("A", "B", "C")


def test_two_nodes_that_trust_each_other_replicate(master: Open) -> None:
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": A}})
    a.put(b"a", b"1")
    b.put(b"b", b"2")
    wait_in_sync(a, b)
    assert a.contents() == b.contents() == {b"a": b"1", b"b": b"2"}
    assert (a.peer(b)["fingerprint"], b.peer(a)["fingerprint"]) == (B, A)
    assert (a.replica.status()["fingerprint"], b.replica.status()["fingerprint"]) == (A, B)
    wait_until(lambda: "connected" in a.event_kinds(), "the event of the connection")
    connected = [event for event in a.events if event.kind == "connected"]
    assert [event.fingerprint for event in connected] == [B]


@pytest.mark.parametrize("kind", ["Ed", "RSA of selfsigned"])
def test_other_kinds_of_keys_work(master: Open, kind: str) -> None:
    theirs = pems("Ed") if kind == "Ed" else Path(__file__).parent / "selfsigned_2048.json"
    a = master("A", trusted=[lrep.fingerprint(theirs)])
    b = master("B", {a: {"fingerprint": A}}, pems=theirs)
    b.put(b"b", b"2")
    wait_in_sync(a, b)
    assert a.contents() == {b"b": b"2"}


def test_an_unknown_peer_is_refused_and_receives_the_reason(master: Open) -> None:
    a = master("A", trusted=[B])
    a.put(b"secret", b"1")
    c = master("C", {a: {"fingerprint": A}})
    wait_until(lambda: "refused" in c.event_kinds() and "refused" in a.event_kinds(), "two refusals")
    (peer,) = c.replica.status()["peers"]
    assert peer["state"] == "refused"
    assert peer["last_error"].startswith("the peer says: not accepted: ")
    assert peer["last_error_code"] == "untrusted_there"
    assert c.contents() == {}
    assert a.replica.status()["peers"] == []
    assert {event.fingerprint for event in a.events} == {C}


def test_a_server_with_another_certificate_than_the_pinned_one_is_refused(master: Open) -> None:
    """This holds even if the trusted list has its key: the pin identifies this server."""
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": C}}, trusted=[A])
    wait_until(lambda: "refused" in b.event_kinds(), "a refusal")
    (peer,) = b.replica.status()["peers"]
    assert peer["fingerprint"] == A
    assert "not the one that is pinned" in peer["last_error"]
    assert peer["last_error_code"] == "pin"
    wait_until(lambda: "refused" in a.event_kinds(), "the other's word about it")


def test_a_server_without_a_pin_must_be_trusted(master: Open) -> None:
    a = master("A", trusted=[B, C])
    b = master("B", {a: {}}, trusted=[A])
    c = master("C", {a: {}}, trusted=[B])
    wait_connected(a, b)
    wait_until(lambda: "refused" in c.event_kinds(), "a refusal")
    assert c.replica.status()["peers"][0]["last_error_code"] == "untrusted"


def test_a_pinned_server_may_dial_us(master: Open) -> None:
    """A peer is known by its key in both directions of dialing."""
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    address = b.address
    a.close()
    a.servers = {address: {"fingerprint": B}}
    a._config["port"] = None
    a.open()
    a.put(b"a", b"1")
    wait_in_sync(a, b)
    assert b.contents() == {b"a": b"1"}


def test_a_server_may_have_several_pins(master: Open) -> None:
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": [C, A]}})
    a.put(b"a", b"1")
    wait_in_sync(a, b)


def test_a_trusted_file_is_read_again(master: Open, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(f"# the trusted peers\n\n{B}  the laptop\n")
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    c = master("C", {a: {"fingerprint": A}})
    a.put(b"1", b"for b")
    wait_in_sync(a, b)
    wait_until(lambda: "refused" in c.event_kinds(), "a refusal")
    trusted.write_text(f"{C}\n")
    wait_until(lambda: "refused" in b.event_kinds(), "the end of b")
    a.put(b"2", b"not for b")
    wait_in_sync(a, c)
    assert c.contents() == a.contents() == {b"1": b"for b", b"2": b"not for b"}
    assert b.contents() == {b"1": b"for b"}


def test_a_revoked_peer_that_does_not_read_receives_no_further_byte(master: Open, tmp_path: Path) -> None:
    """Data that waits for it in the node's buffers is dropped."""
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    (link,) = a.replica._node.coordinator.connections
    aborted: list[bool] = []
    wire = link.transport
    abort = wire.abort

    def noted() -> None:
        aborted.append(link.ended)
        abort()

    wire.abort = noted  # type: ignore[method-assign]
    trusted.write_text("")
    wait_until(lambda: link.ended, "the end of the link")
    assert aborted[0] is False, "first the socket goes, then the words"


def test_a_file_with_a_mistake_trusts_the_other_lines(
    master: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{B}\n{C}\n")
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    c = master("C", {a: {"fingerprint": A}})
    wait_connected(a, b)
    wait_connected(a, c)
    with caplog.at_level(logging.INFO, "level_replicator"):
        trusted.write_text(f"{B}\n{C[:-1]}\n")
        wait_until(lambda: "refused" in c.event_kinds(), "the end of c")
    a.put(b"1", b"")
    wait_connected(a, b)
    assert "line 2" in caplog.text
    assert C[:-1] not in caplog.text


def test_data_in_the_kernel_is_not_sent_to_a_revoked_peer(master: Open, tmp_path: Path) -> None:
    """The kernel holds megabytes for a peer that does not read: they must not arrive afterwards."""
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    a = master("A", trusted=trusted)
    noise = Random(1)
    for number in range(100):
        a.put(b"large %d" % number, noise.randbytes(64 * 1024))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", a.port))
    with SecureIntruder(sock, context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"), Welcome(), StartPull(b"", [], b"", 0, 1))
        coordinator = a.replica._node.coordinator
        wait_until(
            lambda: 0xBAD in coordinator.by_origin and coordinator.by_origin[0xBAD].transport.full, "a full buffer"
        )
        trusted.write_text("")
        wait_until(lambda: not coordinator.connections, "the end of the link")
        heard = len(intruder.raw_in)
        while intruder._fill():
            pass
        assert len(intruder.raw_in) - heard < 64 * 1024, "no more than what had come to its machine"


def test_a_trusted_file_that_everybody_may_write_causes_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    trusted.chmod(0o644)
    assert TrustedFile(trusted).load() == {B}
    assert caplog.text == ""
    trusted.chmod(0o646)
    file = TrustedFile(trusted)
    assert file.load() == {B}
    assert "chmod o-w" in caplog.text
    assert B not in caplog.text
    caplog.clear()
    trusted.write_text(C)
    assert file.reload() == ({C}, [])
    assert "chmod o-w" in caplog.text


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_a_comment_ends_with_its_line(tmp_path: Path, separator: str) -> None:
    """A line is a line for grep and editors: other separators of Python's `splitlines` do not end it."""
    trusted = tmp_path / "trusted"
    trusted.write_bytes(f"# was: {separator}{B}\r\n{C}  the laptop{separator}{B}\r\n".encode())
    assert TrustedFile(trusted).load() == {C}


def test_a_deleted_trusted_file_trusts_nobody(master: Open, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    trusted.unlink()
    wait_until(lambda: "refused" in b.event_kinds(), "the end of b")
    trusted.write_text(B)
    a.put(b"1", b"")
    wait_in_sync(a, b)


def test_a_pin_is_valid_without_the_trusted_list(master: Open, tmp_path: Path) -> None:
    """To revoke a server, remove it from the list and from `servers`."""
    trusted = tmp_path / "trusted"
    trusted.write_text(A)
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": A}}, trusted=trusted)
    wait_connected(a, b)
    trusted.write_text(C)
    wait_until(lambda: b.replica._node.admission.security.trust.trusted == {C}, "the new list")  # type: ignore[union-attr]
    a.put(b"1", b"")
    wait_in_sync(a, b)
    assert b.peer(a)["connections"] == 1


def test_a_key_is_replaced_while_both_nodes_run(master: Open, tmp_path: Path) -> None:
    """Peers first trust the new fingerprint as well, then the key file is replaced, then they drop the old one."""
    keys, trusted = tmp_path / "pems.json", tmp_path / "trusted"
    lrep_write(keys, "B")
    trusted.write_text(f"{B}\n{C}\n")
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}}, pems=keys)
    wait_connected(a, b)
    lrep_write(keys, "C")
    wait_until(lambda: b.replica.status()["fingerprint"] == C, "the new key")
    assert a.peer(b)["fingerprint"] == B, "what stands is not disturbed"
    trusted.write_text(C)
    wait_until(lambda: a.peer(b)["fingerprint"] == C and a.peer(b)["state"] == "live", lambda: a.replica.status())
    a.put(b"1", b"")
    wait_in_sync(a, b)


def test_a_key_file_that_becomes_invalid_leaves_the_old_key_in_use(
    master: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "pems.json"
    lrep_write(keys, "B")
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": A}}, pems=keys)
    wait_connected(a, b)
    keys.write_text(keys.read_text()[:300])
    wait_until(lambda: "continues with its present key" in caplog.text, "a complaint")
    assert "BEGIN" not in caplog.text
    a.replica.disconnect(B)
    a.put(b"1", b"")
    wait_in_sync(a, b)
    assert b.replica.status()["fingerprint"] == B


def test_disconnect_ends_a_peer(master: Open) -> None:
    a = master("A", trusted=[B])
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    wait_until(lambda: a.peer(b)["state"] == "live", "a live link")
    assert a.replica.disconnect("nobody") == 0
    assert a.replica.disconnect(B) == 1
    wait_until(lambda: b.peer(a)["connections"] == 2, "another connection")
    assert b.replica.disconnect(a.address) == 1
    with pytest.raises(lrep.ConfigError):
        a.replica.disconnect(b)  # type: ignore[arg-type]


def lrep_write(path: Path, name: str) -> None:
    """Replace a key file atomically, as an administrator does."""
    import json

    new = path.with_suffix(".new")
    new.write_text(json.dumps(pems(name)))
    new.chmod(0o600)
    new.replace(path)


def test_a_pipe_in_place_of_the_trusted_file_trusts_nobody(master: Open, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    trusted.unlink()
    os.mkfifo(trusted)
    wait_until(lambda: "refused" in b.event_kinds(), "the end of b")


def test_nodes_replicate_over_ipv6(master: Open) -> None:
    a = master("A", trusted=[B], host="::1")
    other = LocalNode(a.folder.parent / "B", {f"[::1]:{a.port}": {"fingerprint": A}}, pems=pems("B"))
    try:
        a.put(b"1", b"")
        wait_in_sync(a, other)
    finally:
        other.close()


def test_two_nodes_that_dial_at_once_and_decide_slowly_keep_one_connection(master: Open) -> None:
    """They end with one connection, and neither keeps ending the connection of the other."""

    async def identify(peer: lrep.PeerIdentity) -> None:
        await asyncio.sleep(0.05 if peer.dialled else 0.02)
        peer.accept()

    a = master("A", identify=identify)
    port = a.port
    a.close()
    b = master("B", identify=identify)
    b_port = b.port
    b.close()
    for one, own, other in ((a, port, b_port), (b, b_port, port)):
        one._config["port"] = own
        one.servers = {f"127.0.0.1:{other}": {}}
    a.open()
    b.open()
    a.put(b"a", b"")
    b.put(b"b", b"")
    wait_in_sync(a, b)
    wait_connected(a, b)
    assert len(a.replica._node.coordinator.by_origin) == len(b.replica._node.coordinator.by_origin) == 1


def test_a_node_that_dials_itself_reports_it(master: Open) -> None:
    a = master("A", trusted=[A])
    address = a.address
    a.close()
    a._config["port"] = int(address.rpartition(":")[2])
    a.servers = {address.replace("127.0.0.1", "127.1"): {}}
    a.open()
    wait_until(lambda: "refused" in a.event_kinds(), "a refusal")
    assert any("itself" in event.text for event in a.events)
