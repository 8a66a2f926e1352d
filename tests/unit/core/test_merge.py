"""The merge rule has the same result in whatever order, and however often, entries arrive."""

from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import (
    DELETE,
    Dot,
    IndexRow,
    decode_context,
    decode_index,
    encode_context,
    encode_dot,
    encode_index,
)
from level_replicator.core.epochs import family_of
from level_replicator.core.merge import (
    lost_in_conflict,
    next_context,
    order_of_row,
    overwrites,
    reflects_unknown,
    union_context,
)

SMALL = st.integers(1, 4)
FAMILY = 7 << 40
ORIGINS = (1 << 40, 2 << 40, FAMILY, FAMILY + 1)
"""The last two origins belong to one family."""
DOTS = st.tuples(SMALL, st.sampled_from(ORIGINS))


@st.composite
def rows(draw: st.DrawFn) -> IndexRow:
    """Generate rows with contexts as writers make them: other origins and older stamps only. Some are re-stamped."""
    written = draw(DOTS)
    older = {other: draw(st.integers(0, written[0] - 1)) for other in ORIGINS if other != written[1]}
    context = encode_context({other: at for other, at in older.items() if at})
    flags = draw(st.sampled_from((0, DELETE)))
    dot = written
    if draw(st.booleans()):
        dot = draw(st.integers(written[0] + 1, 6)), draw(st.sampled_from(ORIGINS))
    checksum = 0 if flags else draw(SMALL)
    return decode_index(
        encode_index(*dot, flags, checksum, context, None, b"" if dot == written else encode_dot(*written))
    )


def merge(row: IndexRow, entry: IndexRow) -> IndexRow:
    """Return an index row after the merge with an entry. Merging the row's own entry again changes nothing."""
    if row.dot == entry.dot:
        return row
    winner, loser = (row, entry) if order_of_row(row) > order_of_row(entry) else (entry, row)
    union = union_context(winner.written_dot, winner.context, loser.written_dot, loser.context)
    return winner._replace(context=union, own=union)


def distinct(*merged: IndexRow) -> bool:
    """Return True if one dot is one entry, and one write has one context."""
    dots: dict[Dot, IndexRow] = {}
    writes: dict[Dot, bytes] = {}
    return all(
        dots.setdefault(row.dot, row) == row and writes.setdefault(row.written_dot, row.context) == row.context
        for row in merged
    )


@given(DOTS, DOTS)
def test_the_bytes_of_a_write_compare_as_its_dot_does(a: Dot, b: Dot) -> None:
    assert (encode_dot(*a) < encode_dot(*b)) == (a < b)


@given(rows(), rows())
def test_the_dot_decides_between_two_entries_without_restamping(a: IndexRow, b: IndexRow) -> None:
    if not a.written and not b.written and distinct(a, b) and not same_family(a, b):
        assert (order_of_row(a) > order_of_row(b)) == (a.dot > b.dot)


@given(rows(), rows(), st.permutations(range(len(ORIGINS))))
def test_a_fork_does_not_change_the_order_of_different_contents(a: IndexRow, b: IndexRow, names: list[int]) -> None:
    """A fork renames an origin within its family."""
    renamed = {origin: (origin >> 40 << 40) + 10 + name for origin, name in zip(ORIGINS, names, strict=True)}
    if a.checksum != b.checksum or a.deleted != b.deleted:
        new_a, new_b = (_under_other_names(row, renamed) for row in (a, b))
        assert (order_of_row(a) > order_of_row(b)) == (order_of_row(new_a) > order_of_row(new_b))


def same_family(a: IndexRow, b: IndexRow) -> bool:
    """Two writes with the same stamp are ordered by their values."""
    return family_of(a.written_dot[1]) == family_of(b.written_dot[1])


def _under_other_names(row: IndexRow, names: dict[int, int]) -> IndexRow:
    stamp, origin = row.written_dot
    written = encode_dot(stamp, names[origin]) if row.written else b""
    return row._replace(origin=names[row.origin], written=written)


@given(rows(), rows())
def test_commutative(a: IndexRow, b: IndexRow) -> None:
    if distinct(a, b):
        assert merge(a, b) == merge(b, a)


@given(rows())
def test_idempotent(a: IndexRow) -> None:
    assert merge(a, a) == a


@given(rows(), rows(), rows(), st.lists(st.integers(0, 2), max_size=4))
def test_neither_order_nor_repetition_matters(a: IndexRow, b: IndexRow, c: IndexRow, again: list[int]) -> None:
    if distinct(a, b, c):
        results = set()
        for order in permutations((a, b, c)):
            arriving = [*order, *(order[at] for at in again)]
            results.add(reduce(merge, arriving))
        assert len(results) == 1
        assert order_of_row(results.pop()) == max(map(order_of_row, (a, b, c)))


@given(rows(), rows())
def test_restamping_does_not_change_the_order_of_different_writes(a: IndexRow, b: IndexRow) -> None:
    if a.written_dot != b.written_dot and not same_family(a, b):
        assert (order_of_row(a) > order_of_row(b)) == (a.written_dot > b.written_dot)


def test_a_delete_is_greater_than_a_put_of_the_same_write() -> None:
    put = decode_index(encode_index(9, 2, 0, 0, written=encode_dot(5, 1)))
    tombstone = decode_index(encode_index(8, 3, DELETE, 0, written=encode_dot(5, 1)))
    assert order_of_row(tombstone) > order_of_row(put)
    assert order_of_row(decode_index(encode_index(9, 2, 0, 0, written=encode_dot(5, 2 << 40)))) > order_of_row(
        tombstone
    )


def test_a_key_with_one_writer_has_no_context() -> None:
    assert next_context((5, 1), b"", 1) == b""
    assert union_context((6, 1), b"", (5, 1), b"") == b""


def test_the_context_of_an_overwrite() -> None:
    assert decode_context(next_context((5, 1), b"", 2)) == {1: 5}
    assert decode_context(next_context((5, 1), encode_context({2: 3, 7: 4}), 2)) == {1: 5, 7: 4}


def test_a_conflict_is_judged_by_the_writes_not_by_their_dots() -> None:
    assert overwrites((9, 2), encode_context({1: 5}), (5, 1))
    assert not overwrites((9, 2), encode_context({1: 4}), (5, 1))
    assert overwrites((9, 1), b"", (5, 1))
    assert lost_in_conflict((5, 1), (9, 2), b"")
    assert not lost_in_conflict((5, 1), (9, 2), encode_context({1: 5}))
    assert not lost_in_conflict((5, 1), (5, 1), b"")


def test_a_row_that_reflects_more_than_a_vector() -> None:
    assert not reflects_unknown((5, 1), encode_context({2: 3}), {1: 5, 2: 3})
    assert reflects_unknown((5, 1), encode_context({2: 3}), {1: 5, 2: 2})
    assert reflects_unknown((5, 1), b"", {1: 4})
