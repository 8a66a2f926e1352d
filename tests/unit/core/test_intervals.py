"""Intervals behave like a set of stamps."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.intervals import Intervals

BOUND = st.integers(0, 40)
MOVES = st.lists(st.tuples(st.sampled_from(["add", "remove", "remove_up_to"]), BOUND, BOUND), max_size=30)


def stamps(intervals: Intervals) -> set[int]:
    return {stamp for low, high in intervals for stamp in range(low + 1, high + 1)}


@given(MOVES)
def test_behaves_as_a_set_of_stamps(moves: list[tuple[str, int, int]]) -> None:
    intervals, model = Intervals(), set[int]()
    for move, low, high in moves:
        if move == "add":
            intervals.add(low, high)
            model |= set(range(low + 1, high + 1))
        elif move == "remove":
            intervals.remove(low, high)
            model -= set(range(low + 1, high + 1))
        else:
            intervals.remove_up_to(high)
            model -= set(range(high + 1))
        assert stamps(intervals) == model
        assert bool(intervals) == bool(model)
        spans = list(intervals)
        assert list(reversed(intervals)) == spans[::-1]
        assert len(intervals) == len(spans)
        assert all(a < b for a, b in spans)
        assert all(first[1] < second[0] for first, second in pairwise(spans)), "not sorted, or adjacent"


@given(st.lists(st.tuples(BOUND, BOUND)), BOUND, BOUND)
def test_overlaps(spans: list[tuple[int, int]], low: int, high: int) -> None:
    intervals = Intervals(spans)
    assert intervals.overlaps(low, high) == bool(stamps(intervals) & set(range(low + 1, high + 1)))


@given(st.lists(st.tuples(BOUND, BOUND)))
def test_the_order_of_adding_does_not_matter(spans: list[tuple[int, int]]) -> None:
    assert list(Intervals(spans)) == list(Intervals(reversed(spans)))


def test_a_scan_that_grows_stays_one_interval_in_both_directions() -> None:
    upwards, downwards = Intervals(), Intervals()
    for step in range(1_000):
        upwards.add(step * 10, step * 10 + 10)
        downwards.add(9_990 - step * 10, 10_000 - step * 10)
    assert list(upwards) == list(downwards) == [(0, 10_000)]
