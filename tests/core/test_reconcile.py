"""The table of reconcile, fingerprints, and what parts a range of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.reconcile import (
    Fingerprint,
    Sides,
    Verdict,
    judge_both,
    judge_ours,
    judge_theirs,
    separator,
    stale,
    value_digest,
)

KEYS = st.lists(st.binary(max_size=6), unique=True).map(sorted)


def test_stale_is_who_is_below_a_horizon_anywhere() -> None:
    assert stale({1: 5}, {1: 6})
    assert stale({}, {1: 1})
    assert not stale({1: 5, 2: 1}, {1: 5})
    assert not stale({}, {})


@pytest.mark.parametrize(
    ("stamp", "known", "doubt", "verdict"),
    [
        (5, {}, 0, Verdict.TAKE),
        (5, {1: 4}, 4, Verdict.TAKE),
        (5, {1: 5}, 9, Verdict.KEEP),
        (5, {1: 4}, 5, Verdict.DOUBTFUL),
        (5, {2: 9}, 0, Verdict.TAKE),
    ],
)
def test_a_key_that_only_the_peer_has(stamp: int, known: dict[int, int], doubt: int, verdict: Verdict) -> None:
    assert judge_theirs(stamp, 1, known, doubt) is verdict


@pytest.mark.parametrize("is_stale", [False, True])
@pytest.mark.parametrize(
    ("stamp", "deleted", "verdict", "verdict_if_stale"),
    [
        (5, False, Verdict.DELETE, Verdict.DELETE),  # the peer's vector covers it
        (6, False, Verdict.KEEP, Verdict.RESTAMP),
        (8, False, Verdict.KEEP, Verdict.RESTAMP),  # as old as the newest that the peer dropped
        (9, False, Verdict.KEEP, Verdict.KEEP),
        (5, True, Verdict.KEEP, Verdict.DROP),
        (8, True, Verdict.KEEP, Verdict.DROP),
        (9, True, Verdict.KEEP, Verdict.KEEP),
    ],
)
def test_a_key_that_only_we_have(
    stamp: int, deleted: bool, verdict: Verdict, verdict_if_stale: Verdict, is_stale: bool
) -> None:
    sides = Sides(known={}, theirs={1: 5}, stale=is_stale, their_dropped=8)
    assert judge_ours(stamp, 1, deleted, sides) is (verdict_if_stale if is_stale else verdict)


def test_of_a_key_that_both_have_the_greatest_dot_wins() -> None:
    assert judge_both(5, 1, 6, 1) is Verdict.TAKE
    assert judge_both(5, 1, 5, 2) is Verdict.TAKE
    assert judge_both(5, 2, 5, 2) is Verdict.KEEP
    assert judge_both(6, 1, 5, 2) is Verdict.KEEP


def _print(keys: list[bytes], pieces: int = 1) -> bytes:
    fingerprint = Fingerprint()
    heads = [bytes(21)] * len(keys)
    for piece in range(pieces):
        low, high = piece * len(keys) // pieces, (piece + 1) * len(keys) // pieces
        fingerprint.add(keys[low:high], heads[low:high])
    assert fingerprint.count == len(keys)
    return fingerprint.digest()


@given(KEYS, st.integers(1, 5))
def test_a_fingerprint_does_not_depend_on_how_lines_are_dealt_out(keys: list[bytes], pieces: int) -> None:
    assert _print(keys, pieces) == _print(keys)


@given(KEYS, KEYS)
def test_different_keys_have_different_fingerprints(one: list[bytes], other: list[bytes]) -> None:
    assert (_print(one) == _print(other)) == (one == other)


def test_where_a_key_ends_is_in_the_fingerprint() -> None:
    assert _print([b"a", b"bc"]) != _print([b"ab", b"c"])


def test_heads_are_in_the_fingerprint() -> None:
    one, other = Fingerprint(), Fingerprint()
    one.add([b"k"], [bytes(21)])
    other.add([b"k"], [bytes(20) + b"\1"])
    assert one.digest() != other.digest()


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_a_separator_lies_between(one: bytes, other: bytes) -> None:
    if one == other:
        return
    below, above = sorted((one, other))
    bound = separator(below, above)
    assert below < bound <= above
    assert len(bound) <= len(above)


def test_digests_of_values() -> None:
    assert value_digest(b"a") != value_digest(b"b")
    assert len(value_digest(b"")) == 16
