"""Orders of arrival in which a single log ordered by time would lose changes."""

from collections.abc import Callable

from level_replicator.testing.relay import Relay
from tests.harness.compare import check_equal
from tests.harness.local_node import Clock, LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]


def close_and_compare(*masters: LocalNode) -> None:
    for one in masters:
        one.close()
    check_equal([one.folder for one in masters])


def test_b_meets_its_own_newer_entry_before_a1(master: Make, relay: MakeRelay) -> None:
    """A writes a1 and pulls b1, which is newer; B must not stop reading at its own b1."""
    a = master("a")
    a.put(b"a1", b"1")
    wire = relay(a.port)
    wire.cut()
    b = master("b", [wire.address], clock=Clock(offset_ms=1_000))
    b.put(b"b1", b"2")
    wire.heal()
    wait_in_sync(a, b)
    assert a.contents() == b.contents() == {b"a1": b"1", b"b1": b"2"}
    close_and_compare(a, b)


def test_an_old_change_of_a_third_node_arrives_behind_newer_ones(master: Make, relay: MakeRelay) -> None:
    a = master("a")
    b = master("b", [a.address])
    wire = relay(b.port)
    wire.cut()
    c = master("c", [wire.address], clock=Clock(offset_ms=-3_600_000))
    c.put(b"old", b"of an hour ago")
    c.put(b"key", b"older, loses")
    for serial in range(300):
        a.put(b"a%d" % serial, b"")
        b.put(b"b%d" % serial, b"")
    a.put(b"key", b"newer, wins")
    wait_in_sync(a, b)
    c.clock.offset_ms = 0
    wire.heal()
    wait_in_sync(a, b, c)
    assert a.contents()[b"old"] == b"of an hour ago"
    assert a.contents() == b.contents() == c.contents()
    assert c.contents()[b"key"] == b"newer, wins"
    close_and_compare(a, b, c)


def test_same_key_same_millisecond_same_value_on_two_nodes_read_through_each(master: Make, relay: MakeRelay) -> None:
    frozen = Clock(frozen_ms=Clock()())
    a, b = master("a", clock=frozen), master("b", clock=frozen)
    for one in (a, b):
        one.put(b"key", b"the same")
    stamps = {next(iter(one.vector.values())) for one in (a, b)}
    assert len(stamps) == 1, "the case that is meant"
    to_a, to_b = relay(a.port), relay(b.port)
    to_b.cut()
    c = master("c", [to_a.address, to_b.address], clock=frozen)
    wait_until(lambda: a.origin in c.vector, "c reads a")
    to_b.heal()
    wait_in_sync(a, b, c)
    assert a.contents() == b.contents() == c.contents() == {b"key": b"the same"}
    to_a.cut()
    b.put(b"key", b"another")
    wait_in_sync(b, c)
    to_a.heal()
    wait_in_sync(a, b, c)
    assert a.contents() == {b"key": b"another"}
    close_and_compare(a, b, c)
