"""An interrupted scan resumes, and a scan sends the present state of keys and not their history."""

from collections.abc import Callable

import pytest

from level_replicator.core.limits import FRAME_TARGET_BYTES
from level_replicator.testing.relay import Relay
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]
ENTRIES = 6_000
VALUE = bytes(200)


def disconnects(node: LocalNode) -> int:
    """Return how many connections of the node have ended; it has applied everything that they brought."""
    return [event.kind for event in node.events].count("disconnected")


@pytest.mark.parametrize("cuts_at", [[1_000], [300_000], [270_000, 400_000, 10_000, 300_000]])
def test_an_interrupted_scan_resumes(cuts_at: list[int], master: Make, relay: MakeRelay) -> None:
    a = master("a")
    with a.replica.write_batch() as batch:
        for serial in range(ENTRIES):
            batch.put(b"%06d" % serial, VALUE)
    wire = relay(a.port)
    wire.cut_after(cuts_at[0])
    b = master("b", [wire.address])
    for number, budget in enumerate([*cuts_at[1:], None], 1):
        wait_until(lambda: wire.is_cut, "the link is cut within the scan")
        wait_until(lambda number=number: disconnects(b) == number, "b notices")  # type: ignore[misc]
        assert b.origin not in a.vector
        assert not b.vector, "the vector advances only when the scan is complete"
        wire.heal()
        if budget is not None:
            wire.cut_after(budget)
    wait_in_sync(a, b)
    sent, received = a.peer(b)["entries_out"], b.peer(a)["entries_in"]
    assert received == ENTRIES, "applied entries are not sent again"
    # a frame that did not arrive whole is lost with all that was in flight behind it
    assert sent >= ENTRIES
    a.close()
    b.close()
    check_equal([a.folder, b.folder])


def test_the_scan_goes_newest_first(master: Make, relay: MakeRelay) -> None:
    a = master("a")
    for serial in range(ENTRIES):
        a.put(b"%06d" % serial, VALUE)
    wire = relay(a.port)
    wire.cut_after(2 * FRAME_TARGET_BYTES)
    b = master("b", [wire.address])
    wait_until(lambda: wire.is_cut, "the link is cut within the scan")
    wait_until(lambda: disconnects(b) == 1, "b notices")
    got = sorted(b.contents())
    assert 0 < len(got) < ENTRIES
    assert got == [b"%06d" % serial for serial in range(ENTRIES - len(got), ENTRIES)]


def test_a_late_peer_receives_only_the_last_write_of_each_key(master: Make, relay: MakeRelay) -> None:
    a = master("a")
    wire = relay(a.port)
    b = master("b", [wire.address])
    a.put(b"0000", b"first")
    wait_in_sync(a, b)
    before = b.peer(a)["entries_in"]
    wire.cut()
    wait_until(lambda: a.peer(b)["state"] == "gone", "a notices")
    for serial in range(100_000):
        a.put(b"%04d" % (serial % 1_000), b"%d" % serial)
    wire.heal()
    wait_in_sync(a, b)
    assert b.peer(a)["entries_in"] - before == 1_000
    assert a.contents() == b.contents()
