"""The decision table of a reconciliation, fingerprints, and the keys at which ranges are split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import DELETE, IndexRow, decode_index, encode_context, encode_dot, encode_index
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS
from level_replicator.core.reconcile_rules import (
    Fingerprint,
    ReconcileContext,
    Resolution,
    is_stale,
    is_superseded,
    may_be_dropped,
    resolve_both,
    resolve_local_only,
    resolve_remote_only,
    shortest_separator,
    value_digest,
)

KEYS = st.lists(st.binary(max_size=6), unique=True).map(sorted)


def test_a_vector_below_the_horizon_of_any_origin_is_stale() -> None:
    assert is_stale({1: 5}, {1: 6})
    assert is_stale({}, {1: 1})
    assert not is_stale({1: 5, 2: 1}, {1: 5})
    assert not is_stale({}, {})


@pytest.mark.parametrize(
    ("stamp", "deleted", "known", "doubt", "verdict"),
    [
        (5, False, {}, 0, Resolution.TAKE),
        (5, False, {1: 4}, 4, Resolution.TAKE),
        (5, False, {1: 5}, 9, Resolution.KEEP),
        (5, False, {1: 4}, 5, Resolution.DOUBTFUL),
        (5, True, {1: 4}, 5, Resolution.TAKE),  # a tombstone is never doubtful
        (5, False, {2: 9}, 0, Resolution.TAKE),
    ],
)
def test_a_key_that_only_the_peer_has(
    stamp: int, deleted: bool, known: dict[int, int], doubt: int, verdict: Resolution
) -> None:
    assert resolve_remote_only(stamp, 1, deleted, known, doubt) is verdict


def row(
    stamp: int,
    origin: int = 1,
    *,
    deleted: bool = False,
    context: dict[int, int] | None = None,
    written: tuple[int, int] | None = None,
) -> IndexRow:
    dot = b"" if written is None else encode_dot(*written)
    return decode_index(
        encode_index(stamp, origin, DELETE if deleted else 0, 0, encode_context(context or {}), None, dot)
    )


@pytest.mark.parametrize("is_stale", [False, True])
@pytest.mark.parametrize(
    ("ours", "verdict", "verdict_if_stale"),
    [
        (row(5), Resolution.BURY, Resolution.BURY),  # the peer's vector covers it
        (row(5, written=(4, 2)), Resolution.BURY, Resolution.BURY),
        (row(6), Resolution.KEEP, Resolution.RESTAMP),
        (row(8), Resolution.KEEP, Resolution.RESTAMP),  # as old as the newest tombstone that the peer dropped
        (row(9, written=(5, 1)), Resolution.BURY, Resolution.BURY),  # the vector covers its written dot
        (row(6, written=(6, 1)), Resolution.KEEP, Resolution.RESTAMP),
        (row(9, written=(6, 1)), Resolution.KEEP, Resolution.KEEP),  # this rule compares the dot
        (row(9), Resolution.KEEP, Resolution.KEEP),
        (row(5, deleted=True), Resolution.KEEP, Resolution.KEEP),  # only retention drops a tombstone
        (row(8, deleted=True), Resolution.KEEP, Resolution.KEEP),
    ],
)
def test_a_key_that_only_we_have(
    ours: IndexRow, verdict: Resolution, verdict_if_stale: Resolution, is_stale: bool
) -> None:
    reconcile_context = ReconcileContext(known={}, theirs={1: 5}, stale=is_stale, their_dropped=8)
    assert resolve_local_only(ours, reconcile_context) is (verdict_if_stale if is_stale else verdict)


NOBODY_STALE = ReconcileContext({}, {}, False, 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (row(5), row(6), Resolution.TAKE),
        (row(5), row(5, 2), Resolution.TAKE),
        (row(5, 2), row(5, 2), Resolution.KEEP),
        (row(6), row(5, 2), Resolution.KEEP),
        (row(5), row(9, 2, written=(4, 3)), Resolution.RESTAMP),  # ours is the later write, under the smaller dot
        (row(9, 2, written=(4, 3)), row(5), Resolution.TAKE),
        (row(9, 2, written=(5, 1)), row(5), Resolution.KEEP),  # the same write: the greatest dot wins
        (
            row(9, 2, written=(5, 1), deleted=True),
            row(10, 3, written=(5, 1)),
            Resolution.RESTAMP,
        ),  # the same write: a delete wins
    ],
)
def test_the_later_write_of_a_key_wins(ours: IndexRow, theirs: IndexRow, verdict: Resolution) -> None:
    assert resolve_both(ours, theirs, NOBODY_STALE, 0) is verdict


def test_a_doubtful_winner_does_not_replace_a_row_either() -> None:
    assert resolve_both(row(5), row(6), NOBODY_STALE, 6) is Resolution.DOUBTFUL
    assert resolve_both(row(5), row(6, deleted=True), NOBODY_STALE, 6) is Resolution.TAKE
    assert resolve_both(row(5), row(6), ReconcileContext({1: 6}, {}, False, 0), 6) is Resolution.TAKE


def test_a_winner_on_a_stale_reader_is_restamped() -> None:
    reconcile_context = ReconcileContext(known={}, theirs={}, stale=True, their_dropped=8)
    assert resolve_both(row(8), row(5), reconcile_context, 0) is Resolution.RESTAMP
    assert resolve_both(row(8, deleted=True), row(5), reconcile_context, 0) is Resolution.KEEP
    assert resolve_both(row(9), row(5), reconcile_context, 0) is Resolution.KEEP


def test_a_put_whose_write_is_covered_was_superseded() -> None:
    assert is_superseded((5, 1), {1: 5})
    assert not is_superseded((5, 1), {1: 4})
    assert not is_superseded((5, 1), {2: 9})


@pytest.mark.parametrize(
    ("tombstone", "may"),
    [
        (row(5, deleted=True), True),
        (row(6, deleted=True), False),
        (row(5, context={2: 7}, deleted=True), True),
        (row(5, context={2: 8}, deleted=True), False),
        (row(5, context={3: 1}, deleted=True), False),
        (row(5, written=(5, 2), deleted=True), True),
        (row(5, written=(4, 3), deleted=True), False),
    ],
)
def test_a_tombstone_is_dropped_when_the_vector_covers_all_that_it_has_seen(tombstone: IndexRow, may: bool) -> None:
    assert may_be_dropped(tombstone, {1: 5, 2: 7}) is may


def test_a_tombstone_with_a_full_context_is_never_dropped() -> None:
    context = dict.fromkeys(range(2, MAX_CONTEXT_ORIGINS + 2), 1)
    vector = {**context, 1: 5}
    assert not may_be_dropped(row(5, context=context, deleted=True), vector)
    del context[2]
    assert may_be_dropped(row(5, context=context, deleted=True), vector)


def _print(keys: list[bytes], pieces: int = 1) -> bytes:
    fingerprint = Fingerprint()
    heads = [bytes(21)] * len(keys)
    for piece in range(pieces):
        low, high = piece * len(keys) // pieces, (piece + 1) * len(keys) // pieces
        fingerprint.add(keys[low:high], heads[low:high])
    assert fingerprint.count == len(keys)
    return fingerprint.digest()


@given(KEYS, st.integers(1, 5))
def test_a_fingerprint_does_not_depend_on_the_division_into_calls(keys: list[bytes], pieces: int) -> None:
    assert _print(keys, pieces) == _print(keys)


@given(KEYS, KEYS)
def test_different_keys_have_different_fingerprints(one: list[bytes], other: list[bytes]) -> None:
    assert (_print(one) == _print(other)) == (one == other)


def test_the_boundaries_of_keys_are_part_of_the_fingerprint() -> None:
    assert _print([b"a", b"bc"]) != _print([b"ab", b"c"])


def test_heads_are_part_of_the_fingerprint() -> None:
    one, other = Fingerprint(), Fingerprint()
    one.add([b"k"], [bytes(21)])
    other.add([b"k"], [bytes(20) + b"\1"])
    assert one.digest() != other.digest()


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_a_separator_lies_between(one: bytes, other: bytes) -> None:
    if one == other:
        return
    below, above = sorted((one, other))
    bound = shortest_separator(below, above)
    assert below < bound <= above
    assert len(bound) <= len(above)


def test_digests_of_values() -> None:
    assert value_digest(b"a") != value_digest(b"b")
    assert len(value_digest(b"")) == 16
