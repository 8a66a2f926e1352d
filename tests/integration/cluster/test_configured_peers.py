"""Peers by their configured address: whichever side dialed, after they went down, and while they cannot be reached."""

import http.client
import logging
import socket
from collections.abc import Callable
from functools import partial

import pytest

import level_replicator as lrep
from tests.harness.local_node import LocalNode
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return int(closed_soon.getsockname()[1])


def mesh(master: Make, names: str = "ab") -> list[LocalNode]:
    """Nodes that all dial each other, all connected. The address of each is its configured one."""
    ports = {name: free_port() for name in names}
    nodes = [
        master(
            name,
            {f"127.0.0.1:{ports[other]}": {"name": f"node-{other}"} for other in names if other != name},
            port=ports[name],
        )
        for name in names
    ]
    wait_until(lambda: all(_settled(node) for node in nodes), lambda: [n.replica.status()["peers"] for n in nodes])
    return nodes


def _settled(node: LocalNode) -> bool:
    """Whether the origin of each server is known, and each has a connection."""
    peers = node.replica.status()["peers"]
    origins = {connection.peer.origin for connection in list(node.replica._node.coordinator.by_origin.values())}
    servers = [server.origin for server in node.replica._node.servers.values()]
    return all(peer["origin"] for peer in peers) and set(servers) == origins


def test_a_configured_address_finds_the_peer_whichever_side_dialed(master: Make) -> None:
    a, b = mesh(master)
    for one, other, name in ((a, b, "node-b"), (b, a, "node-a")):
        wait_until(partial(_is_connected, one), "live")
        assert one.replica.verify(other.address).equal
        assert one.replica.verify(name).equal
        with pytest.raises(lrep.ConfigError, match=f"connected are: {name}"):
            one.replica.verify("127.0.0.1:1")
    for one, other in ((a, b), (b, a)):
        wait_until(partial(_is_connected, one), "live again")
        assert one.replica.disconnect(other.address) >= 1


def _is_connected(node: LocalNode) -> bool:
    return any(each.is_open for each in list(node.replica._node.coordinator.by_origin.values()))


@pytest.mark.parametrize("written", [0, 3])
@pytest.mark.parametrize("dials", ["this node", "the peer", "both"])
def test_the_lag_of_a_peer_grows_after_it_went_down(master: Make, written: int, dials: str) -> None:
    if dials == "both":
        a, b = mesh(master)
    elif dials == "this node":
        b = master("b")
        a = master("a", [b.address])
    else:
        a = master("a")
        b = master("b", [a.address])
    wait_until(lambda: a.peer(b)["state"] == "live" and b.peer(a)["state"] == "live", "live")
    for serial in range(written):
        b.put(b"%d" % serial, b"value")
    wait_until(lambda: a.contents() == b.contents(), "the same")
    origin = b.origin
    b.close()
    wait_until(lambda: not a.replica._node.coordinator.by_origin, "disconnected")
    a.put(b"missed", b"value")

    def lag() -> tuple[int | None, float | None]:
        (peer,) = [peer for peer in a.replica.status()["peers"] if peer["origin"] == origin]
        return peer["behind"], peer["lag_s"]

    assert lag()[0] == 1
    first = lag()[1]
    assert first is not None
    wait_until(lambda: (lag()[1] or 0) > first, lag)


def test_a_server_that_cannot_be_reached_is_reported_once(master: Make, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with caplog.at_level(logging.WARNING, "level_replicator"):
        a = master("a", {f"127.0.0.1:{port}": {"name": "node-b"}})
        dialer = a.replica._node.dialers[0]
        wait_until(lambda: dialer.attempts_ended >= 3, "three attempts")
    (text,) = [record.getMessage() for record in caplog.records if "node-b" in record.getMessage()]
    assert text.startswith(f"cannot reach node-b at 127.0.0.1:{port}: Connection refused; next attempt in ")


def test_logs_name_a_visitor_by_its_configured_name(master: Make, caplog: pytest.LogCaptureFixture) -> None:
    nodes = mesh(master)
    with caplog.at_level(logging.INFO, "level_replicator"):
        ports = {node.port for node in nodes}
        for node in nodes:
            node.replica.disconnect(next(iter(node.replica._node.servers)))
        nodes[1].close()
    texts = [record.getMessage() for record in caplog.records]
    assert any("node-" in text for text in texts)
    for text in texts:
        if text.startswith(("connected", "disconnected", "refused")):
            assert "node-" in text
            assert any(f"127.0.0.1:{port}" in text for port in ports)


def test_an_http_client_gets_an_http_answer(master: Make, caplog: pytest.LogCaptureFixture) -> None:
    a = master("a")
    with caplog.at_level(logging.WARNING, "level_replicator"):
        connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=30)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 400
        assert b"replication protocol" in answer.read()
        connection.close()
    (text,) = [record.getMessage() for record in caplog.records]
    assert "HTTP" in text
    assert "replication protocol" in text


def test_dialing_an_http_server_says_so(master: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        a = master("a", [f"127.0.0.1:{port}"])
        arrived, _ = server.accept()
        with arrived:
            arrived.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            wait_until(
                lambda: "HTTP" in str(a.replica.status()["peers"][0]["last_error"]),
                lambda: a.replica.status()["peers"],
            )
