"""The audit: each kind of damage, and what is made of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from level_replicator.core.entry import decode_index, encode_entry
from level_replicator.core.errors import StorageError
from level_replicator.core.limits import MAX_KEY_BYTES
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import open_engine
from level_replicator.storage.maintenance.verify import MAX_EXAMPLES, Report, verify
from level_replicator.storage.state.schema import INDEX, LOG, following, log_key
from level_replicator.storage.store import Store
from tests.unit.storage.reconciling import reconcile
from tests.unit.storage.rig import START_MS, Died, Rig, contents, dots, pull

Damage = Callable[[Store], None]


def open_store(db: Engine, rs: Engine, seed: int = 0) -> Store:
    return Store(db, rs, now_ms=lambda: START_MS, random_bytes=Random(seed).randbytes, boot=b"boot")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """On a real LevelDB, with values, a tombstone, and half of the log truncated."""
    store = open_store(open_engine(tmp_path / "db"), open_engine(tmp_path / "rs"))
    fill(store)
    yield store
    store.close()


def fill(store: Store) -> None:
    for key in (b"low", b"low-too", b"low-gone"):
        store.writer.put(key, b"of " + key, False)
    store.writer.delete(b"low-gone", False)
    store.retention.truncate()
    for key in (b"high", b"high-too", b"high-gone"):
        store.writer.put(key, b"of " + key, False)
    store.writer.delete(b"high-gone", False)


def look(store: Store, *, repair: bool = False) -> Report:
    return store.verify(repair=repair, progress=lambda keys: None)


def assert_whole(store: Store) -> None:
    report = look(store)
    assert report.sound, report
    assert store.entries == sum(1 for _ in store._state.rs.scan_keys(LOG, following(LOG)))
    assert store.keys == len(contents(store))


def at(store: Store, key: bytes) -> bytes:
    """Where the log has, or had, the entry of a key."""
    stamp, origin = dots(store)[key]
    return log_key(origin, stamp)


def delete_value(key: bytes) -> Damage:
    return lambda store: store._state.db.delete(key)


def change_value(key: bytes) -> Damage:
    return lambda store: store._state.db.put(key, b"changed around the replica")


def delete_entry(key: bytes) -> Damage:
    return lambda store: store._state.rs.delete(at(store, key))


def damage_entry(key: bytes) -> Damage:
    def damage(store: Store) -> None:
        record = store._state.rs.get(at(store, key))
        assert record is not None
        store._state.rs.put(at(store, key), record[:-1] + bytes([record[-1] ^ 1]))

    return damage


def add_entry(record: bytes) -> Damage:
    return lambda store: store._state.rs.put(log_key(store.origin, 7), record)


def test_a_sound_replica(store: Store) -> None:
    report = look(store, repair=True)
    assert report == Report(keys=4, tombstones=2)
    assert report.sound
    assert (report.found, report.left) == (0, 0)


MENDABLE: dict[str, tuple[str, Damage]] = {
    "a value is gone": ("missing", delete_value(b"high")),
    "a value is another one": ("changed", change_value(b"high")),
    "an entry is gone": ("unlogged", delete_entry(b"high")),
    "the entry of a tombstone is gone": ("unlogged", delete_entry(b"high-gone")),
    "an entry is damaged": ("damaged", damage_entry(b"high")),
    "an entry is of another key": (
        "damaged",
        lambda store: store._state.rs.put(at(store, b"high"), encode_entry(dots(store)[b"high"][0], b"?", b"?")[0]),
    ),
    "an entry of no line": ("orphaned", add_entry(encode_entry(7, b"low", b"old")[0])),
    "an entry of no line, and damaged": ("orphaned", add_entry(b"nonsense")),
}


@pytest.mark.parametrize("name", MENDABLE)
def test_what_can_be_mended_here(store: Store, name: str) -> None:
    kind, damage = MENDABLE[name]
    kept, origin, lines = contents(store), store.origin, dots(store)
    damage(store)
    looked = look(store)
    assert getattr(looked, kind) == 1
    assert looked.left == looked.found >= 1
    assert [each for each, _ in looked.examples].count(kind) == 1
    repaired = look(store, repair=True)
    assert (repaired.found, repaired.left, repaired.new_origin) == (looked.found, 0, False)
    assert contents(store) == kept
    assert (store.origin, dots(store)) == (origin, lines)
    assert_whole(store)


@pytest.mark.parametrize("key", [b"never-heard-of", b"high-gone", b"low-gone"])
def test_what_was_written_around_the_replica_is_adopted(store: Store, key: bytes) -> None:
    store._state.db.put(key, b"around")
    report = look(store, repair=True)
    assert (report.unknown, report.repaired, report.new_origin) == (1, 1, False)
    assert contents(store)[key] == b"around"
    assert_whole(store)
    peer = Rig(2).open()
    store.retention.truncate()
    assert dots(store)[key] == (store.vector[store.origin], store.origin)
    assert peer.keys == 0


def test_what_is_too_large_to_be_adopted_stays_and_is_told(store: Store) -> None:
    key = b"k" * (MAX_KEY_BYTES + 1)
    store._state.db.put(key, b"around")
    report = look(store, repair=True)
    assert (report.found, report.repaired, report.left) == (1, 0, 1)
    assert contents(store)[key] == b"around"


LOST: dict[str, tuple[bytes, bytes | None, list[Damage]]] = {
    "below the floor, gone": (b"low", None, [delete_value(b"low")]),
    "below the floor, changed": (b"low", b"changed around the replica", [change_value(b"low")]),
    "above the floor, gone": (b"high", None, [delete_value(b"high"), delete_entry(b"high")]),
    "above the floor, damaged": (b"high", None, [delete_value(b"high"), damage_entry(b"high")]),
    "above the floor, changed": (
        b"high",
        b"changed around the replica",
        [change_value(b"high"), delete_entry(b"high")],
    ),
}


@pytest.mark.parametrize("foreign", [False, True], ids=["our own", "a peer's"])
@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_comes_back_from_a_peer(name: str, foreign: bool) -> None:
    key, left, damages = LOST[name]
    store, peer = Rig(1).open(), Rig(2).open()
    for one in (b"low", b"high"):
        (peer if foreign else store).writer.put(one, b"of " + one, False)
        pull(store, peer) if foreign else pull(peer, store)
        if one == b"low":
            store.retention.truncate()
    stamp, writer = dots(store)[key]
    kept, origin = contents(store), store.origin
    for damage in damages:
        damage(store)
    report = look(store, repair=True)
    assert (report.lost, report.left, report.new_origin) == (len(damages), 0, False)
    assert store.lost == 1
    assert store.origin == origin
    assert contents(store).get(key) == left
    reconcile(peer, store)
    assert contents(store) == kept
    line = store._state.rs.get(INDEX + key)
    assert line is not None
    assert decode_index(line).written_dot == (stamp, writer)
    assert_whole(store)
    store.writer.put(b"after", b"1", False)
    assert_whole(store)


@pytest.mark.parametrize(
    "step",
    [
        "origin change: announced",
        "repair: a batch",
        "origin change: a batch of rows taken over",
        "origin change: a batch taken over",
    ],
)
def test_a_repair_that_is_killed_goes_on_at_the_next_open(step: str) -> None:
    rig = Rig(1)
    store, peer = rig.open(), Rig(2).open()
    store.writer.write([(b"low", b"1"), (b"low-too", b"2")], False)
    pull(peer, store)
    store.retention.truncate()
    store.writer.put(b"high", b"3", False)
    pull(peer, store)
    kept = contents(store)
    store.writer.put(b"unsent", b"1", False)
    for damage in (delete_value(b"low"), delete_entry(b"high"), delete_value(b"high")):
        damage(store)
    look(store, repair=True)
    assert store.lost == 2
    rig.die_at = step
    with pytest.raises(Died):
        look(store, repair=True)
    store = rig.reopen_after_kill()
    reconcile(peer, store)
    assert contents(store) == {**kept, b"unsent": b"1"}
    assert_whole(store)


def test_after_an_interrupt_while_giving_up_no_write_is_taken() -> None:
    """Half of it is done: what is in memory is no longer what is on the disk."""
    rig = Rig(1)
    store = rig.open()
    fill(store)
    store._state.db.delete(b"low")
    assert look(store, repair=True).lost == 1
    rig.interrupt_at = "repair: a batch"
    with pytest.raises(KeyboardInterrupt):
        look(store, repair=True)
    with pytest.raises(StorageError, match="giving up lost values"):
        store.writer.put(b"k", b"v", False)
    assert_whole(rig.reopen_after_kill())


def test_writes_go_on_and_are_not_taken_for_damage(store: Store) -> None:
    """The last keys are damaged in the snapshots that are looked at, and written again before they are repaired."""
    damaged = [b"%03d" % i for i in range(25_000)]
    store.writer.write([(key, b"v") for key in damaged], False)
    for key in damaged[:5] + damaged[-5:]:
        store._state.db.put(key, b"changed around the replica")
    written = []

    def write(keys: int) -> None:
        if not written:
            written.append(keys)
            for key in damaged[-5:]:
                store.writer.put(key, b"meanwhile", False)
            store.writer.delete(b"high", False)
            store.retention.truncate()

    report = verify(store._state, repair=True, random_bytes=Random(1).randbytes, progress=write)
    assert written == [10_000]
    assert (report.changed, report.found, report.left, report.new_origin) == (10, 10, 0, False)
    assert contents(store)[damaged[0]] == b"v"
    assert contents(store)[damaged[-1]] == b"meanwhile"
    assert b"high" not in contents(store)
    assert_whole(store)


def test_examples_are_few_and_say_which(store: Store) -> None:
    for i in range(MAX_EXAMPLES + 20):
        store._state.db.put(b"%03d" % i, b"around")
    report = look(store)
    assert report.unknown == MAX_EXAMPLES + 20
    assert report.examples == [("unknown", b"%03d" % i) for i in range(MAX_EXAMPLES)]


def test_a_progress_that_raises_ends_it_and_harms_nothing(store: Store) -> None:
    def gone(keys: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        store.verify(repair=True, progress=gone)
    store.writer.put(b"k", b"v", False)
    assert_whole(store)


def test_damaged_blocks_of_a_leveldb_are_told_with_advice(tmp_path: Path) -> None:
    db = open_engine(tmp_path / "db", compression="snappy")
    store = open_store(db, open_engine(tmp_path / "rs"))
    store.writer.write([(b"%06d" % i, b"value " * 10) for i in range(20_000)], False)
    db.compact(b"", b"\xff")
    store.close()
    (table,) = [path for path in (tmp_path / "db").iterdir() if path.suffix in (".ldb", ".sst")]
    data = bytearray(table.read_bytes())
    data[1_000:9_000] = os.urandom(8_000)
    table.write_bytes(data)
    store = open_store(open_engine(tmp_path / "db"), open_engine(tmp_path / "rs"))
    with pytest.raises(StorageError, match="restore the replica from a backup"):
        look(store, repair=True)
    with pytest.raises(StorageError, match="restore the replica from a backup"):
        store.writer.put(b"k", b"v", False)
    store.close()


def test_a_failing_disk_while_repairing(tmp_path: Path) -> None:
    rig = Rig()
    store = rig.open()
    fill(store)
    store._state.db.delete(b"high")
    rig.db_disk.fail()
    with pytest.raises(StorageError, match="verifying failed"):
        look(store, repair=True)
    with pytest.raises(StorageError):
        store.writer.put(b"k", b"v", False)
    rig.db_disk.repair()
    store = rig.reopen_after_kill()
    assert look(store, repair=True).left == 0
    assert_whole(store)


def test_what_is_given_up_is_given_up_alone() -> None:
    """Between that and the end of the connections nothing may be applied that counts on it."""
    store = Rig(1).open()
    fill(store)
    store._state.db.delete(b"low")
    order: list[str] = []

    def alone(work: Callable[[], None]) -> None:
        order.append("before")
        origin = store.origin
        work()
        order.append("renewed" if store.origin != origin else "the same")

    report = verify(store._state, repair=True, random_bytes=Random(9).randbytes, alone=alone)
    assert (order, report.lost) == (["before", "the same"], 1)
    order.clear()
    report = verify(store._state, repair=True, random_bytes=Random(9).randbytes, alone=alone)
    assert order == ["before", "renewed"]
    assert report.new_origin
    assert report.renewed, "the deprecated name"
    order.clear()
    verify(store._state, repair=True, random_bytes=Random(9).randbytes, alone=alone)
    assert not order


@pytest.mark.parametrize("key", [b"high", b"high-gone"])
def test_a_line_that_names_the_dot_of_another_key_gets_one_of_its_own(store: Store, key: bytes) -> None:
    """A flipped bit in its stamp, which the next writes reach."""
    rs = store._state.rs
    before = contents(store)
    line, other = rs.get(INDEX + key), rs.get(INDEX + b"high-too")
    assert line is not None
    assert other is not None
    rs.delete(at(store, key))
    rs.put(INDEX + key, other[:16] + line[16:])
    assert look(store).damaged == 1
    assert look(store, repair=True).left == 0
    assert_whole(store)
    assert contents(store) == before
    assert len(set(dots(store).values())) == len(dots(store))
