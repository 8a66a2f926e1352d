"""verify(peer): the differences of two live nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import level_replicator as lrep
from level_replicator.core.limits import LARGE_INDEX_ROWS
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]


def other_of(node: LocalNode) -> str:
    return str(node.replica.status()["peers"][0]["origin"])


def test_nodes_in_sync_do_not_differ(master: Make) -> None:
    a = master("a")
    b = master("b", [a.address])
    for number in range(3_000):
        a.put(b"%d" % number, b"value")
    wait_in_sync(a, b)
    for node, address in ((a, other_of(a)), (b, a.address)):
        difference = node.replica.verify(address)
        assert difference.equal, difference


def wire_bytes(node: LocalNode) -> int:
    """Return the bytes to and from the one peer of a node."""
    (peer,) = node.replica.status()["peers"]
    return int(peer["bytes_in"]) + int(peer["bytes_out"])


def fill(node: LocalNode, count: int) -> None:
    with node.replica.write_batch() as batch:
        for number in range(count):
            batch.put(b"key%06d" % number, b"%06d" % number * 16)


def test_bytes_of_a_comparison_are_bounded(master: Make) -> None:
    """Equal contents cost one fingerprint, and each of a hundred differing keys costs a few."""
    a = master("a", heartbeat=60.0)
    b = master("b", [a.address], heartbeat=60.0)
    fill(a, LARGE_INDEX_ROWS + 5_000)
    wait_in_sync(a, b)
    before = wire_bytes(b)
    assert b.replica.verify(a.address).equal
    assert wire_bytes(b) - before < 1_000

    b.close()
    for number in range(0, LARGE_INDEX_ROWS, LARGE_INDEX_ROWS // 100):
        a.put(b"key%06d" % number, b"another")
    a.replica.truncate()
    a.close()
    a.open()
    b.servers = [a.address]
    b.open()
    wait_in_sync(a, b)
    assert a.contents() == b.contents()
    assert a.replica.status()["entries"] == 0, "there was no log to send"
    assert 100 < wire_bytes(b) < 150_000, f"{wire_bytes(b)} bytes for a hundred keys"


def test_differences_are_counted_and_named_and_not_changed(master: Make) -> None:
    a = master("a")
    b = master("b", [a.address])
    for number in range(3_000):
        a.put(b"%04d" % number, b"value")
    wait_in_sync(a, b)
    state = b.replica._node.store._state
    line = state.rs.get(b"i0007")
    assert line is not None
    state.rs.delete(b"i0001")
    state.rs.put(b"i0007", line[:-1] + b"?")
    state.rs.put(b"ionly here", line)
    difference = b.replica.verify(a.address)
    assert (difference.only_here, difference.only_there, difference.differing) == (1, 1, 1)
    assert set(difference.examples) == {("only_there", b"0001"), ("differing", b"0007"), ("only_here", b"only here")}
    assert not b.replica.verify(a.address).equal, "it changes nothing"
    assert a.replica.verify(other_of(a)).differing == 1


def test_comparisons_run_beside_writes_and_reconciliations(master: Make) -> None:
    """Both sides compare and write during a bulk load: no connection is cut, and both end in sync."""
    a = master("a", heartbeat=2.0)  # a loaded machine is not to be taken for a silent one
    for number in range(5_000):
        a.put(b"%d" % number, b"value")
    a.replica.truncate()
    b = master("b", [a.address], heartbeat=2.0)
    wait_until(
        lambda: bool(a.replica._node.coordinator.by_origin) and bool(b.replica._node.coordinator.by_origin), "connected"
    )
    wait_until(
        lambda: all(link.send_queue for node in (a, b) for link in node.replica._node.coordinator.by_origin.values()),
        "wanted",
    )
    failures: list[Exception] = []

    def compare(node: LocalNode, address: str) -> None:
        try:
            for _ in range(5):
                node.replica.verify(address)
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=compare, args=(b, a.address)),
        threading.Thread(target=compare, args=(a, b.origin)),
    ]
    for thread in threads:
        thread.start()
    for number in range(500):
        b.put(b"of b %d" % number, b"value")
        a.put(b"of a %d" % number, b"value")
    for thread in threads:
        thread.join()
    assert not failures
    wait_in_sync(a, b)
    assert a.contents() == b.contents()
    assert a.peer(b)["connections"] == 1
    assert b.replica.verify(a.address).equal


def test_errors_say_what_to_do(master: Make) -> None:
    a = master("a")
    with pytest.raises(lrep.ConfigError, match="'nobody' is not connected; connected are: none"):
        a.replica.verify("nobody")
    with pytest.raises(lrep.ConfigError, match="verify each of them alone"):
        a.replica.verify("nobody", repair=True)  # type: ignore[call-overload]
