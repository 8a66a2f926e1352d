"""Peers that fall silent, on a virtual clock."""

import pytest

from level_replicator.core.limits import HANDSHAKE_TIMEOUT_MS, SILENCE_IN_HEARTBEATS
from level_replicator.protocol.messages import MAGIC, VERSION, Hello, Welcome, encode
from tests.conformance.protocol.stage import HEARTBEAT_MS, Stage

HELLO = encode(Hello(MAGIC, VERSION, 2, b"silent"))


@pytest.mark.parametrize("said", [b"", HELLO[:2], HELLO[:-1], HELLO], ids=["nothing", "half a length", "half", "Hello"])
def test_a_handshake_that_takes_too_long_is_ended(said: bytes) -> None:
    stage = Stage()
    a = stage.actor("A")
    link = stage.puppet(a).other.link
    assert link is not None
    for byte in said:
        stage.now_ms += 1
        link.received(bytes([byte]))
    stage.settle()
    stage.pass_time(HANDSHAKE_TIMEOUT_MS - len(said))
    stage.settle()
    assert link in a.coordinator.connections
    stage.pass_time(1)
    stage.settle()
    assert link not in a.coordinator.connections
    assert link.ended
    assert any("Bye(TIMEOUT" in line for line in stage.lines)


def test_an_open_connection_ends_after_some_silent_heartbeats() -> None:
    stage = Stage()
    a = stage.actor("A")
    link = stage.puppet(a).other.link
    assert link is not None
    link.received(HELLO + encode(Welcome()))
    stage.settle()
    stage.pass_time(SILENCE_IN_HEARTBEATS * HEARTBEAT_MS)
    assert link in a.coordinator.connections
    stage.pass_time(1)
    assert link not in a.coordinator.connections
    assert not a.coordinator.by_origin
