"""Local writes, and kills between their steps."""

import pytest

from level_replicator.core.errors import ClockError, LimitError, StorageError
from level_replicator.core.hlc import MAX_MS, stamp_ms
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.storage.state.schema import LOG, following
from tests.unit.storage.rig import START_MS, Died, Rig, allow, assert_sound, contents, dots, pull

STEPS = ["before rs", "between rs and db", "after db"]


def test_overwritten_entry_leaves_the_log() -> None:
    store = Rig().open()
    for value in (b"1", b"2", b"3"):
        store.writer.put(b"k", value, False)
    store.writer.delete(b"gone", False)
    assert store.entries == 2
    assert store.keys == 1
    assert_sound(store)


def test_batch_keeps_the_last_word_on_a_key() -> None:
    store = Rig().open()
    store.writer.write([(b"a", b"1"), (b"b", b"1"), (b"a", None), (b"b", b"2")], False)
    assert contents(store) == {b"b": b"2"}
    assert_sound(store)


@pytest.mark.parametrize("step", STEPS)
def test_kill_in_a_batch_leaves_it_whole_or_absent(step: str) -> None:
    rig = Rig()
    store = rig.open()
    store.writer.write([(b"a", b"old"), (b"b", b"old")], False)
    rig.die_at = step
    with pytest.raises(Died):
        store.writer.write([(b"a", b"new"), (b"b", None), (b"c", b"new")], False)
    store = rig.reopen_after_kill()
    before, after = {b"a": b"old", b"b": b"old"}, {b"a": b"new", b"c": b"new"}
    assert contents(store) == (before if step == "before rs" else after)
    assert_sound(store)


@pytest.mark.parametrize("step", ["apply: before rs", "apply: between rs and db", "apply: after db"])
def test_kill_while_applying_is_repaired_and_resumed(step: str) -> None:
    source = Rig(1).open()
    for i in range(10):
        source.writer.put(b"%d" % i, b"v", False)
    rig = Rig(2)
    store = rig.open()
    pull(store, source, allow(2))
    rig.die_at = step
    with pytest.raises(Died):
        pull(store, source)
    store = rig.reopen_after_kill()
    assert_sound(store)
    assert pull(store, source)
    assert contents(store) == contents(source)
    assert store.vector == source.vector


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_write_is_whole_or_absent_and_the_replica_goes_on(step: str) -> None:
    """Ctrl-C at each step."""
    rig = Rig()
    store = rig.open()
    store.writer.put(b"k", b"old", False)
    rig.interrupt_at = step
    with pytest.raises(KeyboardInterrupt):
        store.writer.write([(b"k", b"new"), (b"l", b"new")], False)
    assert contents(store) == ({b"k": b"old"} if step == "before rs" else {b"k": b"new", b"l": b"new"})
    assert_sound(store)
    store.writer.put(b"m", b"later", False)
    other = Rig(1).open()
    pull(other, store)
    assert contents(other) == contents(store)
    assert other.vector == store.vector


@pytest.mark.parametrize("disk", ["db_disk", "rs_disk"])
def test_a_failing_disk_stops_writes_and_keeps_reads(disk: str) -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    getattr(rig, disk).fail(1)
    with pytest.raises(StorageError, match="No more writes are taken"):
        store.writer.put(b"b", b"2", False)
    with pytest.raises(StorageError):
        store.writer.put(b"c", b"3", False)
    assert contents(store) == {b"a": b"1"}
    getattr(rig, disk).repair()
    store = rig.reopen_after_kill()
    assert contents(store)[b"a"] == b"1"
    assert_sound(store)


def test_limits_are_told_before_anything_is_written() -> None:
    store = Rig().open()
    with pytest.raises(LimitError, match="key"):
        store.writer.put(b"k" * (MAX_KEY_BYTES + 1), b"", False)
    with pytest.raises(LimitError, match="value"):
        store.writer.write([(b"a", b"1"), (b"b", memoryview(bytes(MAX_VALUE_BYTES + 1)))], False)
    assert contents(store) == {}
    store.writer.put(b"k" * MAX_KEY_BYTES, b"", False)


def test_stamps_grow_over_restarts_with_a_clock_that_went_back() -> None:
    rig = Rig()
    stamps = []
    for step_ms in (0, -5_000, 0, -86_400_000):
        rig.now_ms += step_ms
        store = rig.open()
        for _ in range(3):
            store.writer.put(b"k%d" % len(stamps), b"v", False)
            stamps.append(store.vector[store.origin])
        rig.kill()
    assert stamps == sorted(set(stamps))
    keys = list(rig.open()._state.rs.scan_keys(LOG, following(LOG)))
    assert len(keys) == len(stamps)


def test_a_clock_in_the_year_2262_and_one_beyond_all_stamps() -> None:
    rig = Rig()
    store = rig.open()
    rig.now_ms = 9_223_372_036_855  # where 64-bit nanoseconds end
    store.writer.put(b"a", b"1", False)
    assert stamp_ms(store.vector[store.origin]) == rig.now_ms
    rig.now_ms = MAX_MS + 1
    with pytest.raises(ClockError):
        store.writer.put(b"b", b"2", False)
    rig.now_ms = START_MS
    store.writer.put(b"c", b"3", False)
    assert contents(store) == {b"a": b"1", b"c": b"3"}
    assert dots(store)[b"c"] > dots(store)[b"a"]


def test_a_write_over_something_seen_has_the_greater_stamp() -> None:
    ahead, behind = Rig(1), Rig(2)
    ahead.now_ms += 50_000
    source, store = ahead.open(), behind.open()
    source.writer.put(b"k", b"theirs", False)
    pull(store, source)
    store.writer.put(b"k", b"ours", False)
    assert dots(store)[b"k"] > dots(source)[b"k"]
    pull(source, store)
    assert contents(source) == {b"k": b"ours"}


def test_so_it_is_after_a_restart_in_the_middle_of_a_scan() -> None:
    """The vector does not cover the entry yet; the clock must follow it all the same."""
    ahead, behind = Rig(1), Rig(2)
    ahead.now_ms += 50_000
    source, store = ahead.open(), behind.open()
    for key in (b"a", b"b", b"c", b"k"):
        source.writer.put(key, b"theirs", False)
    assert not pull(store, source, allow(1))
    assert source.origin not in store.vector
    store = behind.reopen_after_kill()
    store.writer.put(b"k", b"ours", False)
    assert dots(store)[b"k"] > dots(source)[b"k"]
