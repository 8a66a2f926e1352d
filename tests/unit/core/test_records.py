"""The record of a write, which the changes feed, the log and conflicts share."""

import pytest

import level_replicator as lrep
from level_replicator.core.records import Change

STAMP = (1_700_000_000_000 << 16) + 7


def test_a_change_names_the_time_of_the_write() -> None:
    change = Change(b"k", b"v", "00000000000000ff", STAMP)
    assert (change.time_ms, change.timestamp, change.deleted) == (1_700_000_000_000, STAMP, False)
    assert Change(b"k", None, "00000000000000ff", STAMP).deleted


def test_a_change_is_immutable_and_can_be_unpacked() -> None:
    change = Change(b"k", b"v", "00000000000000ff", STAMP)
    assert (*change,) == (b"k", b"v", "00000000000000ff", STAMP)
    with pytest.raises(AttributeError):
        change.key = b"other"  # type: ignore[misc]


def test_the_earlier_name_is_the_same_class() -> None:
    assert lrep.Version is lrep.Change is Change
