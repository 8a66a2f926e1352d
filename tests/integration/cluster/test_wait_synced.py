"""wait_synced: which peers are waited for, and for how long."""

import math
import socket
import time
from collections.abc import Callable

import pytest

import level_replicator as lrep
from level_replicator.testing.relay import Relay
from tests.harness.local_node import LocalNode
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]
SLOW_S = 0.3


def test_a_server_that_is_not_connected_yet_is_waited_for(master: Make, relay: MakeRelay) -> None:
    near, far = master("near"), master("far", heartbeat=5.0)
    near.put(b"near", b"value")
    far.put(b"far", b"value")
    wire = relay(far.port)
    wire.delay_s = SLOW_S
    b = master("b", [near.address, wire.address], heartbeat=5.0)
    assert b.replica.wait_synced(60)
    assert b.contents() == {b"near": b"value", b"far": b"value"}


def test_a_server_that_is_back_is_dialed_soon(master: Make, relay: MakeRelay) -> None:
    near, far = master("near"), master("far")
    far.put(b"far", b"value")
    wire = relay(far.port)
    wire.cut()
    b = master("b", [near.address, wire.address])
    dialer = b.replica._node.dialers[1]
    wait_until(lambda: dialer.attempts_ended >= 1, "an attempt")
    ended = dialer.attempts_ended
    dialer._backoff._cap_s = dialer._backoff._first_s = 3600.0
    wait_until(lambda: dialer.attempts_ended > ended, "an attempt")
    time.sleep(1.0)  # the delay after it may still have been a short one
    wire.heal()
    assert b.replica.wait_synced(60)
    assert b.contents() == {b"far": b"value"}


def test_a_server_that_refuses_is_not_waited_for(master: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    near = master("near")
    near.put(b"near", b"value")
    b = master("b", [near.address, f"127.0.0.1:{port}"])
    assert b.replica.wait_synced(60)
    assert b.contents() == {b"near": b"value"}
    assert b.replica.wait_synced(60), "the wait has no effect on later ones"


def test_a_server_that_does_not_answer_is_waited_for_up_to_the_timeout(master: Make) -> None:
    near = master("near")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        b = master("b", [near.address, f"127.0.0.1:{silent.getsockname()[1]}"])
        wait_until(lambda: b.peer(near)["state"] == "live", "live")
        assert not b.replica.wait_synced(0.2)
        assert b.replica.wait_synced(60, peers=1), "one is in sync"


def test_wait_synced_with_a_number_of_peers(master: Make) -> None:
    a, b = master("a"), master("b")
    a.put(b"a", b"value")
    b.put(b"b", b"value")
    c = master("c", [a.address])
    assert c.replica.wait_synced(60, peers=1)
    assert c.contents() == {b"a": b"value"}
    assert not c.replica.wait_synced(0.1, peers=2)
    visitor = master("visitor", [c.address])
    visitor.put(b"visitor", b"value")
    assert c.replica.wait_synced(60, peers=2), "peers that dial this node count"
    assert c.contents()[b"visitor"] == b"value"


@pytest.mark.parametrize("peers", [0, -1, True, 1.0, "1"])
def test_an_invalid_number_of_peers_is_refused(master: Make, peers: object) -> None:
    a = master("a")
    with pytest.raises(lrep.ConfigError, match=r"peers: .*expected a whole number from 1"):
        a.replica.wait_synced(1, peers=peers)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [math.nan, "1", b"", 10**400, []], ids=lambda timeout: type(timeout).__name__)
def test_an_invalid_timeout_is_refused(master: Make, timeout: object) -> None:
    """A wait with NaN would never end, and delay other timers of the event loop."""
    a = master("a")
    with pytest.raises(lrep.ConfigError, match=r"timeout: .* is not a number of seconds"):
        a.replica.wait_synced(timeout)  # type: ignore[arg-type]
    with (
        lrep.connect(a.address) as client,
        pytest.raises(lrep.ConfigError, match=r"timeout: .* is not a number of seconds"),
    ):
        client.wait_synced(timeout)  # type: ignore[arg-type]


def test_all_nodes_of_a_mesh_wait_for_all_others(master: Make) -> None:
    ports = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as closed_soon:
            ports.append(closed_soon.getsockname()[1])
    nodes = []
    for port in ports:
        node = master(str(port), [f"127.0.0.1:{other}" for other in ports if other != port], port=port)
        node.put(b"%d" % port, b"value")
        nodes.append(node)
    for node in nodes:
        assert node.replica.wait_synced(60)
        assert len(node.contents()) == 3
