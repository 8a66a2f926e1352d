"""The virtual disk: records that it keeps, loses and refuses."""

from random import Random

import pytest

from level_replicator.core.errors import ClosedError, LockedError, StorageError
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import Operations, VirtualDisk

KEYS = [b"%02d" % number for number in range(20)]


def written(*keys: bytes, sync: bool = False) -> tuple[VirtualDisk, MemoryEngine]:
    disk = VirtualDisk()
    engine = MemoryEngine(disk)
    for key in keys:
        engine.put(key, b"", sync=sync)
    return disk, engine


def keys_on(disk: VirtualDisk) -> list[bytes]:
    engine = MemoryEngine(disk)
    keys = list(engine.scan_keys())
    engine.close()
    return keys


def test_a_kill_takes_the_engine_away_and_nothing_of_what_was_written() -> None:
    disk, engine = written(*KEYS)
    batch, snapshot, scan = engine.batch(), engine.snapshot(), engine.scan()
    batch.put(b"never written", b"")
    disk.kill()
    assert engine.closed
    for call in (batch.write, lambda: snapshot.get(b"00"), lambda: next(scan), lambda: engine.get(b"00")):
        with pytest.raises(ClosedError):
            call()
    assert keys_on(disk) == KEYS


def test_a_killed_engine_does_not_close_its_successor() -> None:
    disk, dead = written()
    disk.kill()
    successor = MemoryEngine(disk)
    dead.close()
    assert dead.closed
    assert not successor.closed
    with pytest.raises(LockedError):
        MemoryEngine(disk)


def test_power_loss_takes_any_subset_not_only_the_newest() -> None:
    kept = []
    for seed in range(50):
        disk, engine = written(*KEYS)
        disk.power_loss(Random(seed))
        assert engine.closed
        kept.append(keys_on(disk))
    assert any(keys != KEYS[: len(keys)] for keys in kept), "only prefixes survived"
    assert [] in kept
    assert KEYS in kept


def test_power_loss_keeps_each_batch_whole_or_not_at_all() -> None:
    for seed in range(50):
        disk, engine = written()
        for pair in range(5):
            batch = engine.batch()
            batch.put(b"left %d" % pair, b"")
            batch.put(b"right %d" % pair, b"")
            batch.write()
        disk.power_loss(Random(seed))
        keys = keys_on(disk)
        for pair in range(5):
            assert (b"left %d" % pair in keys) == (b"right %d" % pair in keys)


def test_surviving_writes_keep_their_order() -> None:
    seen = set()
    for seed in range(50):
        disk, engine = written()
        engine.put(b"k", b"1")
        engine.put(b"k", b"2")
        engine.delete(b"k")
        disk.power_loss(Random(seed))
        seen.add(MemoryEngine(disk).get(b"k"))
    assert seen == {None, b"1", b"2"}


def test_a_sync_protects_all_that_came_before_it() -> None:
    for seed in range(50):
        disk, engine = written(*KEYS)
        engine.put(b"synced", b"", sync=True)
        engine.put(b"unsynced", b"")
        disk.power_loss(Random(seed))
        assert [key for key in keys_on(disk) if key != b"unsynced"] == [*KEYS, b"synced"]


@pytest.mark.parametrize("sync", ["put", "delete", "batch", "empty batch"])
def test_each_kind_of_write_can_sync(sync: str) -> None:
    for seed in range(20):
        disk, engine = written(*KEYS)
        if sync == "put":
            engine.put(KEYS[0], b"", sync=True)
        elif sync == "delete":
            engine.delete(b"never there", sync=True)
        else:
            batch = engine.batch(sync=True)
            if sync == "batch":
                batch.put(KEYS[0], b"")
            batch.write()
        disk.power_loss(Random(seed))
        assert keys_on(disk) == KEYS


def test_closing_syncs_nothing() -> None:
    disk, engine = written(*KEYS)
    engine.close()
    assert keys_on(disk) == KEYS
    left = set()
    for seed in range(20):
        copy, engine = written(*KEYS)
        engine.close()
        copy.power_loss(Random(seed))
        left.add(len(keys_on(copy)))
    assert min(left) < len(KEYS)


def test_a_survivor_of_one_power_loss_survives_the_next() -> None:
    disk, _ = written(*KEYS)
    disk.power_loss(Random(1))
    survivors = keys_on(disk)
    for seed in range(20):
        disk.power_loss(Random(seed))
        assert keys_on(disk) == survivors


def test_a_copy_is_a_disk_of_its_own() -> None:
    disk, engine = written(b"a")
    copy = disk.copy()
    engine.put(b"b", b"")
    copy.power_loss(Random(0))
    assert copy.identity != disk.identity
    assert keys_on(copy) == [b"a"]
    assert list(engine.scan_keys()) == [b"a", b"b"]


def test_the_nth_write_fails_and_the_next_does_not() -> None:
    disk, engine = written()
    disk.fail(3, "disk full")
    for key in (b"1", b"2"):
        engine.put(key, b"")
    with pytest.raises(StorageError, match="disk full"):
        engine.put(b"3", b"")
    engine.put(b"4", b"")
    assert list(engine.scan_keys()) == [b"1", b"2", b"4"]
    engine.close()
    assert keys_on(disk) == [b"1", b"2", b"4"]


def test_a_lasting_failure_ends_when_the_disk_is_repaired() -> None:
    disk, engine = written(b"before")
    disk.fail(lasting=True)
    for _ in range(3):
        batch = engine.batch(sync=True)
        batch.put(b"lost", b"")
        with pytest.raises(StorageError):
            batch.write()
        with pytest.raises(StorageError):
            engine.delete(b"before")
    assert list(engine.scan_keys()) == [b"before"]
    disk.repair()
    engine.put(b"after", b"")
    assert list(engine.scan_keys()) == [b"after", b"before"]


def test_a_failed_write_may_be_there_when_the_disk_is_opened_again() -> None:
    disk, engine = written()
    engine.put(b"k", b"old")
    disk.fail(lands=True)
    with pytest.raises(StorageError):
        engine.put(b"k", b"failed", sync=True)
    assert engine.get(b"k") == b"old"
    engine.close()
    assert MemoryEngine(disk).get(b"k") == b"failed"


def test_a_failed_write_that_is_there_does_not_undo_a_later_one() -> None:
    disk, engine = written()
    disk.fail(lands=True)
    with pytest.raises(StorageError):
        engine.put(b"k", b"failed")
    engine.put(b"k", b"later")
    disk.kill()
    assert MemoryEngine(disk).get(b"k") == b"later"


def test_a_failed_sync_protects_nothing() -> None:
    outcomes = set()
    for seed in range(50):
        disk, engine = written(b"a")
        disk.fail(lands=True)
        with pytest.raises(StorageError):
            engine.put(b"b", b"", sync=True)
        disk.power_loss(Random(seed))
        outcomes.add(tuple(keys_on(disk)))
    assert outcomes == {(), (b"a",), (b"b",), (b"a", b"b")}


def test_chance_decides_whether_a_failed_write_is_there() -> None:
    outcomes = set()
    for seed in range(20):
        disk, engine = written()
        disk.fail(lands=Random(seed))
        with pytest.raises(StorageError):
            engine.put(b"a", b"")
        disk.kill()
        outcomes.add(bool(keys_on(disk)))
    assert outcomes == {False, True}


def test_the_hook_sees_every_write_before_and_after() -> None:
    disk, engine = written()
    calls: list[tuple[str, Operations, list[bytes]]] = []
    disk.on_write = lambda when, operations: calls.append((when, list(operations), list(engine.scan_keys())))
    engine.put(b"a", b"1")
    batch = engine.batch()
    batch.put(b"b", b"2")
    batch.delete(b"a")
    batch.write()
    both: Operations = [(b"b", b"2"), (b"a", None)]
    assert calls == [
        ("before", [(b"a", b"1")], []),
        ("after", [(b"a", b"1")], [b"a"]),
        ("before", both, [b"a"]),
        ("after", both, [b"b"]),
    ]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_hook_can_kill_at_every_step(moment: str) -> None:
    disk, engine = written()

    def kill(when: str, operations: Operations) -> None:
        if when == moment:
            disk.kill()

    disk.on_write = kill
    with pytest.raises(ClosedError):
        engine.put(b"a", b"")
    disk.on_write = None
    assert keys_on(disk) == ([b"a"] if moment == "after" else [])
