"""Clocks that go back, are stopped, or are far ahead."""

from collections.abc import Callable

from tests.harness.compare import Contents, check_equal
from tests.harness.local_node import Clock, LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
HOUR_MS = 3_600_000
YEAR_2262_MS = 9_223_372_036_854


def newest(one: LocalNode) -> int:
    return one.vector[one.origin]


def test_stamps_grow_although_the_clock_goes_back_over_restarts(master: Make) -> None:
    a = master("a")
    stamps: list[int] = []
    for round_ in range(4):
        for serial in range(5):
            a.put(b"%d/%d" % (round_, serial), b"")
            stamps.append(newest(a))
        a.clock.offset_ms -= HOUR_MS
        a.close()
        a.open()
    assert stamps == sorted(set(stamps))
    a.close()
    log = Contents(a.folder).log
    assert [log[dot].key for dot in sorted(log)] == [b"%d/%d" % (r, s) for r in range(4) for s in range(5)]


def test_a_stopped_clock_does_not_stop_replication(master: Make) -> None:
    frozen = Clock(frozen_ms=Clock()())
    a = master("a", clock=frozen)
    b = master("b", [a.address], clock=frozen)
    with a.replica.write_batch() as batch:
        for serial in range(70_000):  # more than one millisecond's counter holds
            batch.put(b"%d" % serial, b"a")
    a.put(b"key", b"a")
    wait_in_sync(a, b)
    b.put(b"key", b"b")
    wait_in_sync(a, b)
    a.put(b"key", b"last")
    wait_in_sync(a, b)
    assert b.contents()[b"key"] == b"last"
    assert len(a.contents()) == 70_001


def test_a_clock_eight_hours_ahead_is_quarantined_until_the_clock_allows_it(master: Make) -> None:
    a = master("a")
    good = master("good", [a.address])
    ahead = master("ahead", [a.address], clock=Clock(offset_ms=8 * HOUR_MS))
    ahead.put(b"from", b"the future")
    for one, other in ((a, ahead), (ahead, a)):
        wait_until(lambda one=one: "quarantined" in one.event_kinds(), "the event")  # type: ignore[misc]
        wait_until(lambda one=one, other=other: one.peer(other)["state"] == "quarantined", "the state")  # type: ignore[misc]
        assert "clock" in one.peer(other)["last_error"]
        assert one.peer(other)["last_error_code"] == "clock"
    a.put(b"key", b"served on")
    wait_in_sync(a, good)
    assert ahead.origin not in a.vector
    assert good.contents() == {b"key": b"served on"}
    a.clock.offset_ms = good.clock.offset_ms = 8 * HOUR_MS
    wait_in_sync(a, good, ahead)
    assert good.contents() == {b"key": b"served on", b"from": b"the future"}
    a.put(b"from", b"now")
    wait_in_sync(a, good, ahead)
    assert ahead.contents()[b"from"] == b"now"
    for one in (a, good, ahead):
        one.close()
    check_equal([a.folder, good.folder, ahead.folder])


def test_stamps_of_the_year_2262_replicate(master: Make) -> None:
    a = master("a")
    far = master("far", [a.address], clock=Clock(frozen_ms=YEAR_2262_MS + 1_000))
    far.put(b"key", b"far")
    a.put(b"key", b"near")
    wait_until(lambda: a.peer(far)["state"] == "quarantined", "quarantine")
    assert a.contents() == {b"key": b"near"}
    a.clock.frozen_ms = YEAR_2262_MS
    wait_in_sync(a, far)
    assert a.contents() == far.contents() == {b"key": b"far"}
    a.put(b"key", b"after")
    wait_in_sync(a, far)
    assert far.contents() == {b"key": b"after"}
