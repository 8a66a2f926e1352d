"""Peers that are down, slow, hang up, come back, dial at the same time, or are the node itself."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator.testing.relay import Relay
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[..., Relay]


def test_a_peer_that_was_down_catches_up(master: Make, relay: MakeRelay) -> None:
    wire = relay()  # which leads nowhere yet
    a = master("a", [wire.address])
    wait_until(lambda: a.replica.status()["peers"][0]["last_error"] is not None, "a failed dial")
    a.put(b"key", b"written meanwhile")
    b = master("b")
    wire.target_port = b.port
    wait_in_sync(a, b)
    b.close()
    a.put(b"key", b"again")
    b.open()
    wire.target_port = b.port
    wait_in_sync(a, b)
    assert b.contents() == {b"key": b"again"}
    assert {"connected", "disconnected"} <= a.event_kinds()


def test_a_slow_peer_does_not_delay_others(master: Make, relay: MakeRelay) -> None:
    a = master("a", heartbeat=5.0)
    wire = relay(a.port)
    wire.chunk_bytes, wire.delay_s = 1_024, 0.2
    slow = master("slow", [wire.address], heartbeat=5.0)
    wait_until(lambda: slow.peer(a)["state"] == "live", "the slow one connects")
    quick = master("quick", [a.address], heartbeat=5.0)
    for serial in range(500):
        a.put(b"%d" % serial, bytes(4_000))
    wait_in_sync(a, quick)
    assert slow.vector != a.vector
    wire.chunk_bytes, wire.delay_s = 65_536, 0.0
    wait_in_sync(a, quick, slow)


def test_a_peer_that_hangs_up_at_once_is_dialled_again(master: Make, relay: MakeRelay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        wire = relay(rude.getsockname()[1])
        good = master("good")
        a = master("a", [wire.address, good.address])
        for _ in range(3):
            rude.accept()[0].close()  # it is dialled again
        a.put(b"key", b"value")
        wait_in_sync(a, good)
        wire.target_port = good.port  # two names of one server: still one connection
        assert good.contents() == {b"key": b"value"}


def test_when_both_dial_one_connection_stays(master: Make, relay: MakeRelay) -> None:
    to_a, to_b = relay(), relay()
    a, b = master("a", [to_b.address]), master("b", [to_a.address])
    for one in (to_a, to_b):
        one.cut()
    to_a.target_port, to_b.target_port = a.port, b.port
    for _ in range(5):
        for one in (to_a, to_b):
            one.heal()
        wait_until(lambda: a.peer(b)["state"] == "live" and b.peer(a)["state"] == "live", "both live")
        coordinators = [one.replica._node.coordinator for one in (a, b)]
        wait_until(lambda: all(len(coordinator.connections) == 1 for coordinator in coordinators), "one connection")  # noqa: B023
        link = next(iter(coordinators[0].connections))
        a.put(b"key", b"a")
        b.put(b"key", b"b")
        wait_in_sync(a, b)
        assert list(coordinators[0].connections) == [link], "it stays the same one"
        for one in (to_a, to_b):
            one.cut()
        wait_until(lambda: not any(coordinator.by_origin for coordinator in coordinators), "cut")  # noqa: B023


def test_a_node_that_dials_itself_is_refused(master: Make, relay: MakeRelay, free_ports: FreePorts) -> None:
    wire = relay()  # which leads nowhere yet
    good = master("good")
    a = master("a", [wire.address, good.address])
    wire.target_port = a.port
    wait_until(lambda: "refused" in a.event_kinds(), "the refusal")
    assert any("the node itself" in event.text for event in a.events)
    a.put(b"key", b"value")
    wait_in_sync(a, good)
    (port,) = free_ports(1)
    with pytest.raises(lrep.ConfigError, match="itself"):
        master("b", [f"127.0.0.1:{port}"], port=port)


def test_a_host_name_is_resolved_at_each_dial(master: Make, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    b = master("b")
    wire = relay(b.port)
    asked: list[str] = []
    known = {"peer.test": ""}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "peer.test":
            return resolve(host, *arguments, **options)
        asked.append(host)
        if not known[host]:
            raise socket.gaierror("unknown name")
        return resolve(known[host], *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    a = master("a", [f"peer.test:{wire.address.rpartition(':')[2]}"])
    wait_until(lambda: len(asked) > 1, "asked again")
    known["peer.test"] = "127.0.0.1"
    a.put(b"key", b"value")
    wait_in_sync(a, b)
    before = len(asked)
    wire.cut()
    wait_until(lambda: len(asked) > before, "asked after the cut")
    wire.heal()
    b.put(b"key", b"after")
    wait_in_sync(a, b)


def test_a_name_that_leads_off_loopback_is_not_dialled(master: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(_host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    a = master("a", ["elsewhere.example:8000"], port=None)
    wait_until(lambda: "not on loopback" in str(a.replica.status()["peers"][0]["last_error"]), "it is refused")
    assert a.replica.status()["peers"][0]["last_error_code"] == "insecure"
