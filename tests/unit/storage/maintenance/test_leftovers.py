"""Entries above the vector that no pull will complete are re-stamped, and then are entries like any other."""

from __future__ import annotations

import pytest

from level_replicator.core.entry import decode_index
from level_replicator.core.limits import FEW_LEFTOVERS, LEFTOVER_LONG_PATIENCE_MS, LEFTOVER_PATIENCE_MS
from level_replicator.core.records import Change
from level_replicator.core.version_vector import newer
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.store import Store
from level_replicator.storage.write import restamps
from tests.unit.storage.rig import Died, Rig, allow, assert_sound, contents, pull


def left_over(count: int = 6, frames: int = 2) -> tuple[Rig, Store, Store]:
    """A store that has applied some frames of two entries of another one, whose scan broke off; and that one."""
    source, rig = Rig(1).open(), Rig(2)
    for number in range(count):
        source.writer.put(b"%05d" % number, b"v%d" % number, False)
    store = rig.open()
    assert not pull(store, source, allow(frames))
    assert newer(store._state.newest, store.vector)
    return rig, store, source


def changes(store: Store) -> dict[bytes, bytes | None]:
    reader = ChangeReader(store._state, None, b"")
    found: dict[bytes, bytes | None] = {}
    while reader.has_news():
        found.update({each.key: each.value for each in reader.read().items if isinstance(each, Change)})
    return found


def test_it_waits_until_nothing_has_changed_for_a_while() -> None:
    _, store, source = left_over(20)
    watch = store.leftover_watch
    assert watch.due(0) == []
    assert watch.due(LEFTOVER_PATIENCE_MS - 1) == []
    assert not pull(store, source, allow(1))  # it goes on, and breaks off again
    assert watch.due(LEFTOVER_PATIENCE_MS) == []
    assert watch.due(2 * LEFTOVER_PATIENCE_MS) == [source.origin]
    assert pull(store, source)
    assert watch.due(3 * LEFTOVER_PATIENCE_MS) == []


def test_a_great_many_wait_much_longer() -> None:
    _, store, source = left_over(FEW_LEFTOVERS + 10, FEW_LEFTOVERS // 2 + 1)
    watch = store.leftover_watch
    assert watch.due(0) == watch.due(LEFTOVER_LONG_PATIENCE_MS - 1) == []
    assert watch.due(LEFTOVER_LONG_PATIENCE_MS) == [source.origin]


def test_they_keep_their_place_and_are_covered() -> None:
    _, store, source = left_over()
    before = contents(store)
    assert changes(store) == {}
    assert store.retention.restamp_leftovers(source.origin) == len(before) == 4
    assert contents(store) == before
    assert not newer(store._state.newest, store.vector)
    for key in before:
        line = store._state.rs.get(INDEX + key)
        assert line is not None
        row = decode_index(line)
        assert row.origin == store.origin
        assert row.written_dot[1] == source.origin
    assert changes(store) == before
    assert store.leftover_watch.due(0) == store.leftover_watch.due(1 << 40) == []
    assert_sound(store)


def test_the_source_comes_back_all_the_same() -> None:
    _, store, source = left_over()
    store.retention.restamp_leftovers(source.origin)
    assert pull(store, source)
    assert pull(source, store)
    assert contents(store) == contents(source)
    assert store.vector == source.vector
    assert store.conflicts == source.conflicts == 0
    for each in (store, source):
        assert_sound(each)


def test_in_batches_of_bounded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restamps, "REPAIR_BATCH_BYTES", 1)
    _, store, source = left_over()
    pauses: list[int] = []
    assert store.retention.restamp_leftovers(source.origin, pause=lambda: pauses.append(1) is None) == 4
    assert len(pauses) == 3
    assert_sound(store)


def test_a_pause_that_says_no_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restamps, "REPAIR_BATCH_BYTES", 1)
    _, store, source = left_over()
    assert store.retention.restamp_leftovers(source.origin, pause=lambda: False) == 1
    assert newer(store._state.newest, store.vector)
    assert_sound(store)


@pytest.mark.parametrize("step", ["leftovers: before rs", "leftovers: after rs"])
def test_a_kill_in_the_middle(step: str) -> None:
    rig, store, source = left_over()
    before = contents(store)
    rig.die_at = step
    with pytest.raises(Died):
        store.retention.restamp_leftovers(source.origin)
    store = rig.reopen_after_kill()
    assert contents(store) == before
    assert_sound(store)
    store.retention.restamp_leftovers(source.origin)
    assert not newer(store._state.newest, store.vector)
    assert contents(store) == before
