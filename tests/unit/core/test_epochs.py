"""Histories of origins: comparing two histories, and refusing malformed ones."""

import pytest

from level_replicator.core.epochs import (
    EPOCH_BYTES,
    History,
    HistoryComparison,
    compare_histories,
    decode_branches,
    decode_history,
    encode_pairs,
    first_unknown_epoch,
    histories_digest,
    make_epoch,
    split_at_branches,
    with_epoch,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_EPOCHS

FAR = 1 << 60
A, B, C, D = (1, 10), (2, 20), (3, 30), (4, 20)


@pytest.mark.parametrize(
    ("ours", "theirs", "reach", "met"),
    [
        ((), (), FAR, HistoryComparison((), {})),
        ((A, B), (A, B), FAR, HistoryComparison((A, B), {})),
        ((A, B), (A,), FAR, HistoryComparison((A, B), {})),
        ((A,), (A, B), 20, HistoryComparison((A, B), {})),
        ((A,), (A, B), 21, HistoryComparison((A,), {2: 20})),
        ((), (A,), 10, HistoryComparison((A,), {})),
        ((), (A,), 11, HistoryComparison((), {1: 10})),
        ((A, B), (A, D, C), 0, HistoryComparison((A, B), {2: 20, 4: 20})),
        ((A,), (B,), FAR, HistoryComparison((A,), {1: 10, 2: 20})),
    ],
)
def test_two_histories(ours: History, theirs: History, reach: int, met: HistoryComparison) -> None:
    assert compare_histories(ours, theirs, reach) == met


def test_the_oldest_epochs_are_left_out() -> None:
    history: History = ()
    for number in range(1, MAX_EPOCHS + 10):
        history = with_epoch(history, number, number)
    assert len(history) == MAX_EPOCHS
    assert history[-1] == (MAX_EPOCHS + 9, MAX_EPOCHS + 9)


def test_histories_without_a_common_epoch() -> None:
    """One history may be the part that the other has left out, but not if it contains a later stamp."""
    full = tuple((1_000 + number, 1_000 + number) for number in range(MAX_EPOCHS))
    old = ((1, 10), (2, 20))
    assert compare_histories(old, full, 30) == HistoryComparison(full, {})
    assert compare_histories(full, old, FAR) == HistoryComparison(full, {})
    assert compare_histories(old, full, 1_001).branches == {1: 10, 1_000: 1_000}
    short = full[1:]
    assert compare_histories(old, short, 30).branches == {1: 10, 1_001: 1_001}, "nothing was left out of this one"


def test_the_first_unknown_epoch() -> None:
    assert first_unknown_epoch((), ()) is None
    assert first_unknown_epoch((A,), (A, B)) == B
    assert first_unknown_epoch((), (A, B)) == A
    assert first_unknown_epoch((A, B), (A,)) is None
    assert first_unknown_epoch((A, B), (B,)) is None, "it has left out the others"


def test_branches_become_origins_of_their_own() -> None:
    histories = {7: (A, B, C), 8: (D,)}
    assert split_at_branches(histories, {}) == histories
    assert split_at_branches(histories, {2: 20}) == {7: (A,), 2: (C,), 8: (D,)}
    assert split_at_branches(histories, {2: 20, 3: 30}) == {7: (A,), 8: (D,)}
    assert split_at_branches({7: (A, B)}, {1: 10}) == {1: (B,)}


def test_an_epoch_has_the_high_bits_of_its_origin_and_is_new() -> None:
    origin = 0x0123456789ABCDEF
    assert make_epoch(origin, (), bytes(EPOCH_BYTES)) == 0x0123450000000000
    own = origin.to_bytes(8, "big")[-EPOCH_BYTES:]
    assert make_epoch(origin, ((origin + 1, 5),), own) == origin + 2
    assert make_epoch(1, (), bytes(EPOCH_BYTES)) == 2, "neither 0 nor the origin"


def test_digests() -> None:
    assert histories_digest({}, {}) == b""
    digests = {
        histories_digest({7: (A,)}, {}),
        histories_digest({8: (A,)}, {}),
        histories_digest({7: (A, B)}, {}),
        histories_digest({7: (A,)}, {5: 6}),
        histories_digest({}, {5: 6}),
    }
    assert len(digests) == 5
    assert histories_digest({7: (A,), 8: (B,)}, {1: 1, 2: 2}) == histories_digest({8: (B,), 7: (A,)}, {2: 2, 1: 1})


def test_bytes() -> None:
    assert decode_history(encode_pairs((A, B))) == (A, B)
    assert decode_branches(encode_pairs((B, A))) == {1: 10, 2: 20}
    assert decode_branches(b"") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        encode_pairs((A, A)),
        encode_pairs((B, A)),
        encode_pairs(((0, 1),)),
        encode_pairs(tuple((number, 1) for number in range(1, MAX_EPOCHS + 2))),
    ],
    ids=["nothing", "cut off", "twice", "out of order", "zero", "too many"],
)
def test_malformed_histories_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_history(data)
