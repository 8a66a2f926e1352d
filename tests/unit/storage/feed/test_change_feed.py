"""The changes feed of a store: where a reader may go on, and where it must begin anew."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from level_replicator.core.records import Change, Rescan
from level_replicator.core.version_vector import Cursor, decode_cursor, encode_cursor
from level_replicator.storage.feed import change_feed
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.reconcile.bulk_load import begin_bulk_load
from level_replicator.storage.state.meta import load_meta
from level_replicator.storage.state.schema import INDEX, log_key
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Rig, allow, dots, hide_copy, pull

ANEW = Rescan(complete=True)
PARTIAL = Rescan(complete=False)


class Program:
    """Keeps what it reads, and its cursor as the text that it is."""

    def __init__(self) -> None:
        self.contents: dict[bytes, bytes | None] = {}
        self.cursor: str | None = None
        self.told: list[Rescan] = []

    def read(self, store: Store, most_chunks: int = 1_000, most_entries: int = 512) -> list[Rescan]:
        """Reads to the end, or some chunks. Gives the rescans that it was told of."""
        since = None if self.cursor is None else decode_cursor(self.cursor)
        reader = ChangeReader(store._state, since, b"", most_entries=most_entries)
        self.told = []
        for _ in range(most_chunks):
            if not reader.has_news():
                break
            self.take(reader)
        return self.told

    def take(self, reader: ChangeReader) -> None:
        for item in reader.read().items:
            if isinstance(item, Change):
                self.contents[item.key] = item.value
            else:
                self.told.append(item)
                if item.complete:
                    self.contents.clear()
        self.cursor = encode_cursor(reader.cursor)

    @property
    def live(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.contents.items() if value is not None}


def _written(rig: Rig, *keys: bytes) -> Store:
    store = rig.open()
    for key in keys:
        store.writer.put(key, b"1", False)
    return store


def _reopened(rig: Rig, store: Store) -> Store:
    """So that what was written is beyond doubt."""
    store.close()
    return rig.open()


def _lose_power(rig: Rig) -> Store:
    """Nothing stays that was not synced."""

    class All(Random):
        def choice(self, _shares: object) -> float:  # type: ignore[override]
            return 0.0

    rig.db_disk.power_loss(All())
    rig.rs_disk.power_loss(All())
    rig.boot += b"'"
    return rig.open()


def _after_a_power_loss(rig: Rig, _store: Store) -> Store:
    return _lose_power(rig)


def _as_a_copy(rig: Rig, store: Store) -> Store:
    store.close()
    rig.db_disk, rig.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    return rig.open()


def _after_a_repair_that_gave_up(rig: Rig, store: Store) -> Store:
    stamp, origin = dots(store)[b"a"]
    store._state.db.delete(b"a")
    store._state.rs.delete(log_key(origin, stamp))
    assert store.verify(repair=True, progress=lambda keys: None).lost
    report = store.verify(repair=True, progress=lambda keys: None)
    assert report.new_origin
    return store


def _after_it_forgot(_rig: Rig, store: Store) -> Store:
    store.change_origin()
    return store


EVENTS = [_after_a_power_loss, _as_a_copy, _after_a_repair_that_gave_up, _after_it_forgot]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("form", ["of this version", "of an earlier one"])
def test_a_cursor_from_before_a_new_origin_begins_anew(event: Callable[[Rig, Store], Store], form: str) -> None:
    """Also when the cursor is of long ago, so that all that it covers is known."""
    rig = Rig(1)
    store = _reopened(rig, _written(rig, b"a", b"b"))
    program = Program()
    program.read(store)
    if form == "of an earlier one":
        program.cursor = encode_cursor(Cursor(decode_cursor(program.cursor or "").vector))
    stored = program.cursor
    store.writer.put(b"c", b"1", False)
    program.read(store)
    store = event(rig, store)
    program.cursor = stored
    assert program.read(store) == [ANEW]
    assert program.live == dict(store._state.db.scan())
    assert program.read(store) == [], "once is enough"
    store.writer.put(b"d", b"1", False)
    assert program.read(store) == []
    assert program.live == dict(store._state.db.scan())


@pytest.mark.parametrize("event", EVENTS)
def test_a_reader_that_goes_on_while_the_origin_changes(event: Callable[[Rig, Store], Store]) -> None:
    rig = Rig(1)
    store = _reopened(rig, _written(rig, b"a", b"b"))
    program = Program()
    reader = store.changes(None, b"")
    program.take(reader)
    assert not reader.has_news()
    if event(rig, store) is not store:
        return  # of another process
    assert reader.has_news()
    program.take(reader)
    assert program.told == [ANEW]
    while reader.has_news():
        program.take(reader)
    assert program.told == [ANEW]
    assert program.live == dict(store._state.db.scan())


def test_a_cursor_of_what_was_restored_away_begins_anew() -> None:
    """Without a trace, so that the node does not know. Its first write is above what the cursor covers."""
    rig = Rig(1)
    store = _written(rig, b"a")
    store.close()
    disks = rig.db_disk.copy(), rig.rs_disk.copy()
    store = rig.open()
    rig.now_ms += 1
    store.writer.put(b"b", b"1", False)
    program = Program()
    program.read(store)
    store.close()
    rig.db_disk, rig.rs_disk = disks
    hide_copy(rig)
    store = rig.open()
    rig.now_ms += 1
    store.writer.put(b"c", b"1", False)
    assert program.read(store) == [ANEW]
    assert program.live == {b"a": b"1", b"c": b"1"}
    assert program.read(store) == []


def test_a_node_of_one_origin_goes_on() -> None:
    rig = Rig(1)
    store = _written(rig, b"a")
    program = Program()
    program.read(store)
    for how in (rig.reopen_after_kill, lambda: _reopened(rig, rig.store)):  # type: ignore[arg-type]
        store = how()
        store.writer.put(b"b", b"2", False)
        assert program.read(store) == []
        assert program.live == dict(store._state.db.scan())


def test_directories_of_earlier_versions_go_on() -> None:
    """Their meta record does not say whether the origin is the first one."""
    rig = Rig(1)
    store = _written(rig, b"a")
    meta = load_meta(store._state.rs)
    assert meta is not None
    assert not meta.origin_changed


def test_a_reader_that_goes_to_and_fro_begins_anew_once_only() -> None:
    """Between nodes of which one, or both, go on as new origins that have written nothing."""
    rigs = Rig(1), Rig(2)
    a, b = _written(rigs[0], b"a"), _written(rigs[1], b"b")
    pull(a, b)
    pull(b, a)
    a, b = _as_a_copy(rigs[0], a), _as_a_copy(rigs[1], b)
    pull(a, b)
    pull(b, a)
    program = Program()
    told = [program.read(store) for store in (a, b) * 5]
    assert told == [[]] * 10
    a = _as_a_copy(rigs[0], a)
    told = [program.read(store) for store in (a, b) * 5]
    assert told[0] == [ANEW]
    assert told[1] == [ANEW], "b has not heard of it"
    pull(b, a)
    told = [program.read(store) for store in (a, b) * 5]
    assert told[0] == [ANEW]
    assert told[1:] == [[]] * 9


# -- partial cursors


def _diverged() -> tuple[Store, Store]:
    """`a` has overwritten what `b` wrote, which does not know of it; `b`'s origin comes first."""
    for seed in range(1, 50):
        a, b = Rig(seed).open(), Rig(seed + 50).open()
        if b.origin < a.origin:
            break
    b.writer.put(b"k", b"old", False)
    pull(a, b)
    a.writer.put(b"k", b"new", False)
    a.writer.put(b"other", b"1", False)
    return a, b


def test_what_is_owed_to_a_reader_is_not_left_out_elsewhere() -> None:
    a, b = _diverged()
    program = Program()
    program.read(a, most_chunks=1)
    assert decode_cursor(program.cursor or "").vector == b.vector, "it has passed what was overwritten"
    assert program.contents == {}
    assert program.read(b) == [ANEW]
    assert program.live == {b"k": b"old"}


def test_on_the_same_node_it_goes_on() -> None:
    a, _ = _diverged()
    program = Program()
    program.read(a, most_chunks=1)
    assert program.read(a) == []
    assert program.live == {b"k": b"new", b"other": b"1"}


def test_where_all_of_that_is_known_it_goes_on() -> None:
    a, b = _diverged()
    program = Program()
    program.read(a, most_chunks=1)
    pull(b, a)
    assert program.read(b) == []
    assert program.live == {b"k": b"new", b"other": b"1"}


def test_a_part_of_a_rescan_may_not_be_ahead_elsewhere() -> None:
    """The cursor stands still in a part that is read from the index, but the reader has seen some of it."""
    a, b = _diverged()
    pull(b, a)
    program = Program()
    program.read(a)
    a.writer.write([(b"k", b"newest"), (b"z", b"")], False)
    a.retention.truncate()
    assert program.read(a, most_chunks=2, most_entries=1) == [PARTIAL]
    assert program.contents[b"k"] == b"newest"
    assert program.read(b) == [ANEW]
    assert program.live == {b"k": b"new", b"other": b"1"}


def test_what_a_broken_scan_brought_is_owed_too() -> None:
    """It is above the vector, and not reported yet, but it has superseded what is below."""
    source, rig = Rig(1).open(), Rig(2)
    store, third = rig.open(), Rig(3).open()
    third.writer.put(b"k", b"old", False)
    pull(store, third)
    for key in (b"1", b"2", b"3", b"k"):
        source.writer.put(key, b"new", False)
    assert not pull(store, source, allow(1))
    assert store._state.db.get(b"k") == b"new"
    program = Program()
    program.read(store)
    assert program.contents == {}
    assert program.read(third) == [ANEW]
    assert program.live == {b"k": b"old"}
    pull(store, source)
    pull(store, third)
    assert program.read(store) == []
    assert program.live == dict(store._state.db.scan())


# -- other ways to miss something


def test_a_reader_that_found_nothing_known_has_nothing() -> None:
    """A complete rescan of a node that knows nothing yet gives nothing, not what a scan has brought already."""
    source, store = Rig(1).open(), Rig(2).open()
    source.writer.write([(b"1", b""), (b"2", b""), (b"3", b"")], False)
    assert not pull(store, source, allow(1))
    program = Program()
    program.cursor = encode_cursor(Cursor({77: 5}))
    assert program.read(store) == [ANEW]
    assert program.contents == {}


@pytest.mark.parametrize("damage", [None, b"changed"])
def test_a_damaged_value_is_read_from_the_log(damage: bytes | None) -> None:
    rig = Rig(1)
    store = _written(rig, b"a", b"b")
    state = store._state
    if damage is None:
        state.db.delete(b"a")
    else:
        state.db.put(b"a", damage)
    stamp, origin = dots(store)[b"b"]
    state.rs.put(log_key(origin, stamp), b"damaged, so that the index is read")
    program = Program()
    program.read(store)
    assert program.live == {b"a": b"1", b"b": b"1"}


def test_a_damaged_value_that_is_nowhere_is_not_reported() -> None:
    rig = Rig(1)
    store = _written(rig, b"a", b"b")
    store.retention.truncate()
    store._state.db.put(b"a", b"changed")
    program = Program()
    program.read(store)
    assert program.live == {b"b": b"1"}
    assert store.verify(repair=True, progress=lambda keys: None).lost
    assert store.verify(repair=True, progress=lambda keys: None).new_origin
    assert program.read(store) == [ANEW]
    assert program.live == dict(store._state.db.scan())


def test_the_known_vector_leaves_out_truncated_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the vector only what the log still holds: else a reader would begin anew elsewhere for ever."""
    source, store = Rig(1).open(), Rig(2).open()
    for key in (b"1", b"2", b"3"):
        source.writer.put(key, b"", False)
    assert not pull(store, source, allow(1))
    with store._state.lock:
        assert change_feed.known_vector(store._state)[source.origin] == source.vector[source.origin]
    for key in (b"1", b"2", b"3"):
        store.writer.put(key, b"own", False)
    with store._state.lock:
        assert change_feed.known_vector(store._state) == store.vector
    assert store._state.rs.get(INDEX + b"3") is not None


def test_what_fills_a_node_is_known_up_to_its_floor() -> None:
    """It is not logged, and above the vector, but a reader may be owed it."""
    store = _written(Rig(1), b"a")
    with store._state.lock:
        begin_bulk_load(store._state, {7: 5})
        assert change_feed.known_vector(store._state) == {**store.vector, 7: 5}
