"""The newest local writes in memory: the same as what the log would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.protocol.push import Read
from level_replicator.storage.feed.round_planner import Round
from level_replicator.storage.feed.send_queue import RoundReader, SendQueue
from level_replicator.storage.state import tail as module
from level_replicator.storage.state.tail import Tail, TailReader
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Rig

STEPS = st.lists(
    st.one_of(st.tuples(st.just("add"), st.integers(1, 5)), st.tuples(st.just("drop"), st.integers(1, 60)))
)


@given(STEPS, st.integers(0, 60))
def test_what_is_above_is_all_that_stands(steps: list[tuple[str, int]], low: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TAIL_BYTES", 40)
        tail, standing, last = Tail(), dict[int, bytes](), 0
        for what, number in steps:
            if what == "add":
                new = {last + each: b"r" * each for each in range(1, number + 1)}
                tail.add(new, sum(map(len, new.values())))
                standing.update(new)
                last += number
            else:
                tail.drop(number)
                standing.pop(number, None)
        low = max(low, tail.since)
        assert tail.above(low) == [(stamp, record) for stamp, record in standing.items() if stamp > low]
        kept = [*tail._older.values(), *tail._newer.values()]
        assert sum(map(len, kept)) <= 2 * module.TAIL_BYTES


def test_one_entry_above_the_bound_is_not_kept() -> None:
    tail = Tail()
    tail.add({5: b"small"}, 5)
    tail.add({6: b"large"}, module.TAIL_BYTES + 1)
    assert tail.since == 6
    assert tail.above(6) == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 8), st.integers(1, 30))
def test_it_reads_as_the_log_does(sizes: list[int], most_entries: int, most_bytes: int) -> None:
    store = Rig().open()
    for number, size in enumerate(sizes):
        store.writer.put(b"%d" % number, b"v" * size, False)
    origin, newest = store.origin, store.vector[store.origin]
    from_log, from_tail = RoundReader(store._state.rs.snapshot()), TailReader(store._state.tail.above(0))
    low = 0
    while low < newest:
        read = Read(origin, low, newest, newest_first=False)
        found, low = from_tail.read(read, most_entries, most_bytes)
        assert (found, low) == from_log.read(read, most_entries, most_bytes)


def _live(store: Store) -> tuple[SendQueue, Round]:
    """A feed whose first round is over, and its next one."""
    feed = SendQueue(7, ())
    opened = store.rounds.open_next(feed, {}, {})
    assert isinstance(opened, Round)
    feed.completed()
    store.writer.put(b"new", b"v", False)
    opened = store.rounds.open_next(feed, {}, {})
    assert isinstance(opened, Round)
    return feed, opened


def test_a_live_round_of_local_writes_is_not_read_back() -> None:
    store = Rig().open()
    store.writer.put(b"old", b"v", False)
    _, opened = _live(store)
    assert isinstance(opened.reader, TailReader)


def test_who_is_behind_the_tail_is_served_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAIL_BYTES", 10)
    store = Rig().open()
    _, opened = _live(store)
    assert isinstance(opened.reader, RoundReader)


def test_what_was_overwritten_is_not_sent() -> None:
    store = Rig().open()
    feed, _ = _live(store)
    feed.completed()
    for value in (b"1", b"2", b"3"):
        store.writer.put(b"k", value, False)
    opened = store.rounds.open_next(feed, {}, {})
    assert isinstance(opened, Round)
    records, _ = opened.reader.read(Read(store.origin, 0, store.vector[store.origin], False), 100, 1 << 20)
    assert [record[-1:] for record in records if record[-2:-1] == b"k"] == [b"3"]
