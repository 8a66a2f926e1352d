"""What leaves the log and the index, and what stays."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from level_replicator.core.errors import StorageError
from level_replicator.core.reconcile_rules import is_stale
from level_replicator.storage.engine.plyvel import open_engine
from level_replicator.storage.maintenance import retention
from level_replicator.storage.maintenance.floors import floors_above
from level_replicator.storage.maintenance.retention import Retention
from level_replicator.storage.state.schema import LOG, following
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Died, Rig, allow, assert_sound, contents, dots, pull

EVERYTHING = (1 << 64) - 1


def _filled(rig: Rig, count: int = 30) -> Retention:
    store = rig.open()
    for number in range(count):
        rig.now_ms += 1
        store.writer.put(b"%02d" % number, b"value", False)
    return store.retention


def _all_goes(retention: Retention) -> None:
    retention.truncate()
    retention.drop_tombstones(EVERYTHING)


def test_all_of_the_log_may_go_and_the_database_stays() -> None:
    rig = Rig()
    retention = _filled(rig)
    store = rig.store
    assert store is not None
    before = contents(store)
    assert retention.truncate() == 30
    assert store.entries == 0
    assert store.floor == store.vector
    assert contents(store) == before
    assert_sound(store)
    assert retention.truncate() == 0


def test_only_what_is_old_enough_goes() -> None:
    rig = Rig()
    retention = _filled(rig)
    store = rig.store
    assert store is not None
    middle = (rig.now_ms - 10) << 16
    assert retention.truncate(before=middle) == 20
    assert store.entries == 10
    assert store.floor[store.origin] <= middle
    assert retention.oldest() > middle
    assert_sound(store)


def test_only_as_much_goes_as_it_takes() -> None:
    """Oldest first, over all origins."""
    rig, peer = Rig(1), Rig(2)
    source = peer.open()
    retention = _filled(rig, 10)
    store = rig.store
    assert store is not None
    for number in range(10):
        peer.now_ms += 1
        source.writer.put(b"of peer %d" % number, b"value", False)
    pull(store, source)
    size = retention.log_bytes()
    removed = retention.truncate(most_bytes=size // 2)
    assert 9 <= removed <= 12
    assert retention.log_bytes() <= size - size // 2
    left = list(store._state.rs.scan_keys(LOG, following(LOG)))
    assert len(left) == 20 - removed
    assert_sound(store)
    floors = sorted(store.floor.values())
    assert len(floors) == 2
    assert floors[1] - floors[0] < 2 << 16, "the oldest of both went"


def test_what_is_above_the_vector_stays() -> None:
    """Of a scan that is not complete."""
    rig = Rig(2)
    source, sink = Rig(1).open(), rig.open()
    for number in range(10):
        source.writer.put(b"%d" % number, b"v", False)
    assert not pull(sink, source, allow(2))
    assert sink.entries == 4
    assert sink.retention.truncate() == 0
    assert sink.entries == 4
    assert_sound(sink)


def test_overwriting_what_has_left_the_log_keeps_the_counts() -> None:
    rig = Rig()
    _filled(rig).truncate()
    store = rig.store
    assert store is not None
    store.writer.put(b"03", b"again", False)
    store.writer.delete(b"04", False)
    assert store.entries == 2
    assert store.keys == 29
    assert_sound(store)
    store = rig.reopen_after_kill()
    assert (store.entries, store.keys) == (2, 29)
    assert_sound(store)


@pytest.mark.parametrize("step", ["truncate: before rs", "truncate: after rs", "drop: before rs", "drop: after rs"])
def test_killed_in_the_middle(step: str) -> None:
    rig = Rig()
    retention = _filled(rig)
    store = rig.store
    assert store is not None
    store.writer.delete(b"07", False)
    before = contents(store)
    rig.die_at = step
    with pytest.raises(Died):
        _all_goes(retention)
    store = rig.reopen_after_kill()
    assert contents(store) == before
    assert_sound(store)
    _all_goes(store.retention)
    assert contents(store) == before
    assert store.horizon
    assert_sound(store)


def test_a_power_loss_takes_nothing_that_left_the_log() -> None:
    for seed in range(30):
        rig = Rig(seed)
        retention = _filled(rig, 8)
        store = rig.store
        assert store is not None
        before = contents(store)
        retention.truncate()
        rig.kill()
        rig.db_disk.power_loss(rig.rng)
        rig.rs_disk.power_loss(rig.rng)
        rig.boot = b"second"
        store = rig.open()
        assert contents(store) == before
        assert_sound(store)


def test_a_power_loss_after_an_overwrite_of_what_left_the_log() -> None:
    """The later write may be lost in `rs` and not in `db`: it stays, and is not older than what it replaced."""
    torn = 0
    for seed in range(40):
        rig = Rig(seed)
        store = rig.open()
        store.writer.put(b"k", b"synced", True)
        store.writer.put(b"next stamp", b"", True)
        store.retention.truncate()
        replaced = dots(store)[b"k"]
        rig.now_ms += 10
        store.writer.put(b"k", b"not synced", False)
        rig.kill()
        rig.db_disk.power_loss(rig.rng)
        rig.rs_disk.power_loss(rig.rng)
        rig.boot = b"second"
        store = rig.open()
        assert contents(store)[b"k"] in (b"synced", b"not synced")
        assert dots(store)[b"k"] >= replaced
        assert (dots(store)[b"k"] == replaced) == (contents(store)[b"k"] == b"synced")
        torn += replaced[0] < dots(store)[b"k"][0] <= replaced[0] + 2
        own = [stamp for stamp, origin in dots(store).values() if origin == store.origin]
        assert store.vector.get(store.origin, 0) >= max(own, default=0)
        assert_sound(store)
    assert torn, "the case that this is about"


def test_a_power_loss_after_a_delete_of_what_left_the_log() -> None:
    """The delete may be lost in `rs` and not in `db`, and the value with it: it may come back, nothing older may."""
    torn = 0
    for seed in range(40):
        rig, older, peer = Rig(seed), Rig(seed + 100), Rig(seed + 200)
        older.now_ms -= 1_000
        older.open().writer.put(b"k", b"older", True)
        store = rig.open()
        store.writer.put(b"k", b"synced", True)
        replaced = dots(store)[b"k"]
        assert pull(peer.open(), store)
        store.retention.truncate()
        rig.now_ms += 10
        store.writer.delete(b"k", False)
        rig.kill()
        rig.db_disk.power_loss(rig.rng)
        rig.rs_disk.power_loss(rig.rng)
        rig.boot = b"second"
        store = rig.open()
        torn += b"k" in dots(store) and dots(store)[b"k"] < replaced
        assert_sound(store)
        assert older.store is not None
        assert peer.store is not None
        assert pull(store, older.store)
        assert contents(store).get(b"k") in (None, b"synced")
        gone = b"k" not in contents(store) and dots(store)[b"k"] > replaced
        assert pull(store, peer.store)
        assert contents(store) == ({} if gone else {b"k": b"synced"})
        assert_sound(store)
    assert torn, "the case that this is about"


def test_a_tombstone_leaves_index_and_log_and_raises_the_horizon() -> None:
    rig = Rig()
    _filled(rig, 3)
    store = rig.store
    assert store is not None
    store.writer.delete(b"01", False)
    stamp = store.vector[store.origin]
    assert store.retention.drop_tombstones(stamp - 1) == 0
    assert store.retention.drop_tombstones(stamp) == 1
    assert store.horizon == {store.origin: stamp}
    assert store.dropped == stamp
    assert store.entries == 2
    assert is_stale({store.origin: stamp - 1}, store.horizon)
    assert_sound(store)
    store = rig.reopen_after_kill()
    assert store.horizon == {store.origin: stamp}
    assert store.dropped == stamp
    assert store.clock.last >= stamp


def test_a_key_that_was_written_again_is_not_dropped() -> None:
    """Between the look at the snapshot and the batch."""
    rig = Rig()
    _filled(rig, 3)
    store = rig.store
    assert store is not None
    store.writer.delete(b"01", False)
    tombstone = store._state.rs.get(b"i01")
    assert tombstone is not None
    found = [(b"i01", tombstone)]
    store.writer.put(b"01", b"again", False)
    assert store.retention._drop(found) == 0
    assert contents(store)[b"01"] == b"again"
    assert not store.horizon


def test_a_pause_that_says_no_ends_the_work() -> None:
    rig = Rig()
    store = rig.open()
    for number in range(3_000):
        store.writer.put(b"%d" % number, b"", False)
    assert store.retention.truncate(pause=lambda: False) == 1_000
    assert store.entries == 2_000
    assert_sound(store)


def test_a_disk_that_fails_makes_the_replica_read_only() -> None:
    rig = Rig()
    retention = _filled(rig)
    store = rig.store
    assert store is not None
    rig.rs_disk.fail(2)
    with pytest.raises(StorageError, match="truncating the log"):
        retention.truncate()
    with pytest.raises(StorageError):
        store.writer.put(b"k", b"v", False)
    assert len(contents(store)) == 30
    rig.rs_disk.repair()
    store = rig.reopen_after_kill()
    assert len(contents(store)) == 30
    assert_sound(store)


def test_the_disk_gets_its_space_back(tmp_path: Path) -> None:
    """On a real LevelDB: the directory shrinks by about what the log took."""
    db, rs = open_engine(tmp_path / "db"), open_engine(tmp_path / "rs")
    store = Store(db, rs, now_ms=lambda: 1, random_bytes=Random(1).randbytes, boot=b"boot")
    value = Random(2)
    for number in range(50):
        store.writer.write([(b"%d %d" % (number, part), value.randbytes(1_000)) for part in range(100)], False)
    before = _bytes_in(tmp_path / "rs")
    assert before > 5_000_000
    assert store.retention.truncate() == 5_000
    assert _bytes_in(tmp_path / "rs") < before / 5
    assert store.retention.log_bytes() < 100_000
    store.close()


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.parametrize("work", ["truncate", "drop"])
def test_it_ends_when_the_vector_is_lowered_meanwhile(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it brought to the disk is not what the vector says then."""
    monkeypatch.setattr(retention, "RETENTION_BATCH", 1)
    store = Rig(1).open()
    for number in range(6):
        store.writer.put(b"%d" % number, b"v", True)
        store.writer.delete(b"%d" % number, True)
    old, calls = store.origin, 0

    def pause() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            store.change_origin()
        return True

    if work == "truncate":
        store.retention.truncate(pause=pause)
    else:
        store.retention.drop_tombstones(1 << 63, pause=pause)
    assert calls >= 2
    assert store.origin != old
    assert not floors_above(store._state)
    assert all(stamp <= store.vector.get(origin, 0) for origin, stamp in store.horizon.items())
    assert store.verify(repair=False, progress=lambda keys: None).sound
