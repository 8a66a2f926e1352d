"""The merge rule: the same result in whatever order, and however often, entries arrive."""

from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import decode_context, encode_context
from level_replicator.core.merge import next_context, union_context, wins

Line = tuple[int, int, bytes]
"""stamp, origin, context"""

SMALL = st.integers(1, 4)
DOTS = st.tuples(SMALL, SMALL)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Contexts as a writer makes them: of other origins only, of what was there before."""
    stamp, origin = draw(DOTS)
    older = {other: draw(st.integers(0, stamp - 1)) for other in range(1, 5) if other != origin}
    return stamp, origin, encode_context({other: at for other, at in older.items() if at})


def merge(line: Line, entry: Line) -> Line:
    """What an index line becomes when an entry arrives; the line's own entry, once more, changes nothing."""
    if line[:2] == entry[:2]:
        return line
    winner, loser = (line, entry) if wins(*line[:2], *entry[:2]) else (entry, line)
    return *winner[:2], union_context(winner[1], winner[2], *loser)


def distinct(*merged: Line) -> bool:
    """One dot is one write, with one context."""
    dots: dict[tuple[int, int], bytes] = {}
    return all(dots.setdefault(line[:2], line[2]) == line[2] for line in merged)


@given(DOTS, DOTS, DOTS)
def test_dots_are_totally_ordered(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> None:
    assert wins(*a, *b) + wins(*b, *a) + (a == b) == 1
    if wins(*a, *b) and wins(*b, *c):
        assert wins(*a, *c)


@given(lines(), lines())
def test_commutative(a: Line, b: Line) -> None:
    if distinct(a, b):
        assert merge(a, b) == merge(b, a)


@given(lines())
def test_idempotent(a: Line) -> None:
    assert merge(a, a) == a


@given(lines(), lines(), lines(), st.lists(st.integers(0, 2), max_size=4))
def test_neither_order_nor_repetition_matters(a: Line, b: Line, c: Line, again: list[int]) -> None:
    if distinct(a, b, c):
        results = set()
        for order in permutations((a, b, c)):
            arriving = [*order, *(order[at] for at in again)]
            results.add(reduce(merge, arriving))
        assert len(results) == 1
        assert results.pop()[:2] == max(a[:2], b[:2], c[:2])


def test_a_key_with_one_writer_has_no_context() -> None:
    assert next_context(5, 1, b"", 1) == b""
    assert union_context(1, b"", 5, 1, b"") == b""


def test_who_overwrites_another_names_it_and_what_it_reflected() -> None:
    assert decode_context(next_context(5, 1, b"", 2)) == {1: 5}
    assert decode_context(next_context(5, 1, encode_context({2: 3, 7: 4}), 2)) == {1: 5, 7: 4}
