"""Logs at level INFO and above hold no key, no value, no fingerprint, and nothing of a private key."""

import logging
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.protocol.messages import MAGIC, VERSION, Bye, ByeCode, Hello
from level_replicator.security.trust import TrustedFile
from tests.harness.local_node import wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open, wait_connected
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B, C = print_of("A", "B", "C")
KEY, VALUE = b"a key of the user", b"a value of the user"


def test_logs_of_a_whole_life_hold_no_secrets(master: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{B}\n")
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    c = master("C", {a: {"fingerprint": A}})
    d = master("Ed", {a: {"fingerprint": C}})
    a.put(KEY, VALUE)
    wait_in_sync(a, b)
    for node in (c, d):
        wait_until(lambda node=node: "refused" in node.event_kinds(), "a refusal")  # type: ignore[misc]
    a.replica.truncate()
    b.replica.delete(KEY)
    wait_in_sync(a, b)
    trusted.write_text("nonsense\n")
    wait_until(lambda: "refused" in b.event_kinds(), "the end of b")
    a.close()
    with plyvel.DB(str(a.folder / "db")) as db:
        db.put(KEY + b" around", VALUE)
        db.put(KEY + bytes(1024 * 1024), b"too large")
    trusted.write_text("")
    a.open()
    a.replica.verify(repair=True)
    a.close()
    text = "\n".join(record.getMessage() for record in caplog.records)
    text += "\n".join(str(record.exc_info) for record in caplog.records if record.exc_info)
    assert "refused" in text
    assert "line 1" in text
    assert "not written through the replica" in text
    secrets = [line for name in "ABC" for line in pems(name)["private"].splitlines()]
    for word in (KEY.decode(), VALUE.decode(), A[7:], B[7:], C[7:], A[7:].upper(), *secrets):
        assert word not in text


def test_files_are_read_again_after_a_failure(
    master: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise no peer could be revoked any more."""
    trusted = tmp_path / "trusted"
    trusted.write_text(B)
    a = master("A", trusted=trusted)
    b = master("B", {a: {"fingerprint": A}})
    wait_connected(a, b)
    with monkeypatch.context() as patch:

        def fails(_self: TrustedFile) -> None:
            raise MemoryError("for once")

        patch.setattr(TrustedFile, "reload", fails)
        wait_until(lambda: "will be tried again" in caplog.text, "a complaint")
    trusted.write_text("")
    wait_until(lambda: "refused" in b.event_kinds(), "the end of b")


def test_events_name_the_fingerprint(master: Open) -> None:
    """Events are for the program, which decides whom to admit; logs do not name fingerprints."""
    a = master("A", trusted=[B])
    master("C", {a: {"fingerprint": A}})
    wait_until(lambda: "refused" in a.event_kinds(), "a refusal")
    event = next(event for event in a.events if event.kind == "refused")
    assert isinstance(event, lrep.PeerEvent)
    assert event.fingerprint == C
    assert C not in event.text


def test_texts_of_a_peer_are_logged_as_one_line_of_plain_text(master: Open, caplog: pytest.LogCaptureFixture) -> None:
    """A peer can write neither a line of its own nor escape codes into the log of a node."""
    caplog.set_level(logging.INFO)
    a = master("A", trusted=[B])
    with SecureIntruder.dial(("127.0.0.1", a.port), context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.say(Hello(MAGIC, VERSION, 0xBAD, b"intruder"))
        intruder.say(Bye(int(ByeCode.REJECTED), "no\n2026-01-01 CRITICAL forged\r\x1b[2J\x9b2J\u2028\u202eend"))
        intruder.hear_all()
    wait_until(lambda: "refused" in a.event_kinds(), "its farewell")
    (text,) = [event.text for event in a.events if event.kind == "refused"]
    assert "CRITICAL forged" in text
    assert text.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
