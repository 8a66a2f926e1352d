"""Stamps increase, whatever the wall clock shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import ClockError
from level_replicator.core.hlc import MAX_MS, MAX_STAMP, HybridClock, latest_acceptable, stamp_at, stamp_ms


@given(st.lists(st.tuples(st.integers(-(10**15), MAX_MS), st.integers(1, 100_000), st.integers(0, 1 << 62))))
def test_stamps_grow_under_any_wall_clock(moves: list[tuple[int, int, int]]) -> None:
    clock = HybridClock()
    previous = 0
    for now_ms, count, seen in moves:
        clock.follow(seen)
        try:
            first = clock.next(now_ms, count)
        except ClockError:
            assert max(previous, seen, stamp_at(now_ms)) + count > MAX_STAMP
            return
        assert first > previous
        assert first > seen
        assert first >= stamp_at(now_ms)
        previous = first + count - 1
        assert clock.last == previous


def test_a_running_clock_shows_in_the_stamp() -> None:
    assert stamp_ms(HybridClock().next(1_700_000_000_000)) == 1_700_000_000_000


def test_more_stamps_than_a_millisecond_has_go_into_the_next() -> None:
    clock = HybridClock()
    clock.next(5, 1 << 16)
    assert stamp_ms(clock.next(5)) == 6


def test_a_time_before_1970_counts_as_1970() -> None:
    assert stamp_at(-1) == 0
    assert HybridClock().next(-5) == 1


def test_times_and_stamps_beyond_the_greatest_are_clock_errors() -> None:
    with pytest.raises(ClockError):
        stamp_at(MAX_MS + 1)
    with pytest.raises(ClockError):
        HybridClock().next(MAX_MS + 1)
    exhausted = HybridClock(MAX_STAMP)
    with pytest.raises(ClockError):
        exhausted.next(0)
    assert exhausted.last == MAX_STAMP


def test_the_drift_is_allowed_to_its_last_stamp_and_no_further() -> None:
    assert latest_acceptable(1_000, 60_000) == stamp_at(61_001) - 1
    assert latest_acceptable(MAX_MS, 60_000) < MAX_STAMP


@given(st.integers(-(10**15), 10**16), st.integers(0, 10**9))
def test_the_limit_of_a_peers_stamps_is_never_beyond_what_a_clock_can_follow(now_ms: int, drift_ms: int) -> None:
    clock = HybridClock(max(latest_acceptable(now_ms, drift_ms), 0))
    assert clock.next(0) <= MAX_STAMP
