"""What the reading side of a session lets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import encode_entry
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_FRAME_ENTRIES, MAX_RESUME_INTERVALS
from level_replicator.protocol.messages import ByeCode, Entries
from level_replicator.protocol.pull import PullReceiver

LATEST = 1 << 40


def record(stamp: int, key: bytes | None = None) -> bytes:
    return encode_entry(stamp, b"k%d" % stamp if key is None else key, b"v")[0]


def frame(low: int, high: int, *stamps: int, origin: int = 1, last: bool = False) -> Entries:
    return Entries(origin, low, high, [record(stamp) for stamp in stamps], last)


@pytest.fixture
def pull() -> PullReceiver:
    pull = PullReceiver()
    pull.begin_round({1: 100}, LATEST)
    return pull


def test_the_vector_is_handed_over_with_the_last_frame_and_not_before(pull: PullReceiver) -> None:
    assert pull.entries(frame(50, 100, 100, 60), LATEST).adopt is None
    assert pull.entries(frame(0, 50, 10, last=True), LATEST).adopt == {1: 100}
    assert pull.completed == 1
    assert pull.target is None


def test_level_ends_a_round_without_entries(pull: PullReceiver) -> None:
    assert pull.round_ended().vector == {1: 100}
    assert pull.completed == 1


def test_only_what_the_rounds_vector_covers_can_be_resumed(pull: PullReceiver) -> None:
    assert pull.entries(frame(90, 120, 120), LATEST).resumable == 100
    assert pull.entries(frame(0, 7, 7, origin=2), LATEST).resumable == 0


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(frame(5, 5), id="empty interval"),
        pytest.param(frame(6, 5), id="inverted interval"),
        pytest.param(frame(-1, 5, 1), id="negative"),
        pytest.param(frame(0, 5, 1, origin=0), id="origin 0"),
        pytest.param(frame(0, 5, 1, origin=1 << 64), id="origin too large"),
        pytest.param(frame(0, 5), id="no entries"),
        pytest.param(frame(5, 9, 5), id="entry at the lower bound"),
        pytest.param(frame(5, 9, 10), id="entry above the interval"),
        pytest.param(frame(0, 9, 1, 3, 2), id="up and down"),
        pytest.param(frame(0, 9, 3, 1, 2), id="down and up"),
        pytest.param(frame(0, 9, 2, 2), id="a stamp twice"),
        pytest.param(Entries(1, 0, 9, [record(1, b"k"), record(2, b"k")], False), id="a key twice"),
        pytest.param(Entries(1, 0, 9, [b""], False), id="not an entry"),
        pytest.param(Entries(1, 0, 9, [record(1)[:-1]], False), id="cut off"),
        pytest.param(Entries(1, 0, 9_999, [record(n) for n in range(1, MAX_FRAME_ENTRIES + 2)], False), id="too many"),
    ],
)
def test_frames_that_are_refused(pull: PullReceiver, bad: Entries) -> None:
    with pytest.raises(RemoteProtocolError):
        pull.entries(bad, LATEST)


def test_a_part_of_an_interval_is_not_sent_twice_in_a_round(pull: PullReceiver) -> None:
    pull.entries(frame(50, 100, 100), LATEST)
    with pytest.raises(RemoteProtocolError, match="overlaps"):
        pull.entries(frame(40, 51, 51), LATEST)


def test_a_later_round_may_send_an_interval_again(pull: PullReceiver) -> None:
    pull.entries(frame(0, 100, 5, last=True), LATEST)
    pull.begin_round({1: 100}, LATEST)
    pull.entries(frame(0, 100, 5, last=True), LATEST)


def test_intervals_full_of_gaps_do_not_grow_without_bound(pull: PullReceiver) -> None:
    """Each gap costs the reader memory, and a line of its replication set."""
    for low in range(0, 4 * MAX_RESUME_INTERVALS, 2):
        pull.entries(frame(low, low + 1, low + 1), LATEST)
    with pytest.raises(RemoteProtocolError, match="has more than"):
        pull.entries(frame(LATEST - 1, LATEST, LATEST), LATEST)


def test_rounds_do_not_overlap(pull: PullReceiver) -> None:
    with pytest.raises(RemoteProtocolError, match="within"):
        pull.begin_round({}, LATEST)


def test_outside_a_round_there_are_neither_entries_nor_an_end() -> None:
    with pytest.raises(RemoteProtocolError):
        PullReceiver().entries(frame(0, 5, 1), LATEST)
    with pytest.raises(RemoteProtocolError):
        PullReceiver().round_ended()


def test_stamps_of_the_future_are_a_matter_of_the_clock(pull: PullReceiver) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        pull.entries(frame(0, LATEST + 1, LATEST + 1), LATEST)
    assert refused.value.code == ByeCode.CLOCK
    with pytest.raises(RemoteProtocolError) as refused:
        PullReceiver().begin_round({1: LATEST + 1}, LATEST)
    assert refused.value.code == ByeCode.CLOCK
    PullReceiver().begin_round({1: LATEST}, LATEST)


@given(st.sets(st.integers(1, 50)), st.booleans())
def test_stamps_may_go_up_or_down(stamps: set[int], down: bool) -> None:
    pull = PullReceiver()
    pull.begin_round({}, LATEST)
    order = sorted(stamps, reverse=down)
    if order:
        assert [entry.stamp for entry in pull.entries(frame(0, 50, *order), LATEST).entries] == order
