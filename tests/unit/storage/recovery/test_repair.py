"""Repair when the log is shorter than the index, and when something is damaged or gone for good."""

import pytest

from level_replicator.core.entry import INDEX_HEAD, decode_index, encode_entry, index_contexts
from level_replicator.storage.state.log_reader import restore_entry
from level_replicator.storage.state.meta import NEW_ORIGIN_REQUESTED, load_meta, store_meta
from level_replicator.storage.state.schema import (
    INDEX,
    LOG,
    encode_intervals,
    encode_stamp,
    following,
    horizon_key,
    log_key,
    resume_key,
)
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryEngine
from tests.unit.storage.reconciling import reconcile
from tests.unit.storage.rig import Died, Rig, allow, contents, dots, give_up, pull

KEYS = [b"k%02d" % i for i in range(10)]


def write_keys(store: Store, value: bytes = b"v") -> None:
    for key in KEYS:
        store.writer.put(key, value + key, False)


def make_space(store: Store) -> None:
    store.retention.truncate()
    store.retention.drop_tombstones(store.vector[store.origin])


def assert_whole(store: Store) -> None:
    """Database, index and log agree, and the counts are right."""
    report = store.verify(repair=False, progress=lambda keys: None)
    assert report.sound, report
    assert store.entries == sum(1 for _ in store._state.rs.scan_keys(LOG, following(LOG)))
    assert store.keys == len(contents(store))


def lose_entry(store: Store, key: bytes) -> tuple[int, int]:
    """Takes the entry of a key out of the log, behind the replica's back. Its dot."""
    stamp, origin = dots(store)[key]
    store._state.rs.delete(log_key(origin, stamp))
    return stamp, origin


def damage_entry(store: Store, key: bytes) -> tuple[int, int]:
    stamp, origin = dots(store)[key]
    at = log_key(origin, stamp)
    record = store._state.rs.get(at)
    assert record is not None
    store._state.rs.put(at, record[:-1] + bytes([record[-1] ^ 1]))
    return stamp, origin


def reopen_as_copy(rig: Rig) -> Store:
    """Closed in order, so that its vector is believed; a copy, so that database and replication set are compared."""
    assert rig.store is not None
    rig.store.close()
    rig.db_disk, rig.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    return rig.open()


# -- the entry of a line


def test_an_entry_is_restored_from_the_log_or_else_from_the_database() -> None:
    store = Rig().open()
    store.writer.put(b"k", b"v", False)
    store.writer.delete(b"gone", False)
    rs, db = store._state.rs, store._state.db
    for key in (b"k", b"gone"):
        line = rs.get(INDEX + key)
        assert line is not None
        logged = restore_entry(rs, db, key, line)
        lose_entry(store, key)
        assert restore_entry(rs, db, key, line) == logged is not None


def test_a_restored_entry_has_its_own_context_not_the_union() -> None:
    a, b = Rig(1).open(), Rig(2).open()
    a.writer.put(b"k", b"1", False)
    pull(b, a)
    b.writer.put(b"k", b"2", False)
    a.writer.put(b"k", b"3", False)
    pull(a, b)
    stamp, origin = dots(a)[b"k"]
    line = a._state.rs.get(INDEX + b"k")
    assert line is not None
    own, union = index_contexts(line)
    assert own != union
    record = a._state.rs.get(log_key(origin, stamp))
    a.retention.truncate()
    assert a._state.rs.get(log_key(origin, stamp)) is None
    assert restore_entry(a._state.rs, a._state.db, b"k", line) == record


def test_nothing_is_restored_from_another_value_or_of_another_key() -> None:
    store = Rig().open()
    store.writer.put(b"k", b"v", False)
    stamp, origin = dots(store)[b"k"]
    line = store._state.rs.get(INDEX + b"k")
    assert line is not None
    store._state.rs.put(log_key(origin, stamp), encode_entry(stamp, b"other", b"v")[0])
    assert restore_entry(store._state.rs, store._state.db, b"k", line) is not None
    store._state.db.put(b"k", b"around")
    assert restore_entry(store._state.rs, store._state.db, b"k", line) is None
    store._state.db.delete(b"k")
    assert restore_entry(store._state.rs, store._state.db, b"k", line) is None


# -- a shortened log


@pytest.mark.parametrize("seed", range(40))
def test_power_loss_after_a_truncation_loses_nothing_of_what_left_the_log(seed: int) -> None:
    rig = Rig(seed)
    store = rig.open()
    write_keys(store)
    store.writer.delete(KEYS[0], False)
    store.retention.truncate()
    kept = contents(store)
    store.writer.put(b"later", b"x", False)
    store.writer.put(KEYS[1], b"overwritten", False)
    rig.db_disk.power_loss(rig.rng)
    rig.rs_disk.power_loss(rig.rng)
    rig.boot = b"second"
    store = rig.open()
    for key in KEYS:
        if key != KEYS[1]:
            assert contents(store).get(key) == kept.get(key)
    assert contents(store).get(KEYS[1]) in (kept[KEYS[1]], b"overwritten")
    assert_whole(store)


@pytest.mark.parametrize("seed", range(40))
def test_power_loss_between_two_steps_of_a_truncation(seed: int) -> None:
    """Of two batches that move the floor either may be on the disk without the other."""
    rig = Rig(seed)
    store = rig.open()
    write_keys(store)
    kept = contents(store)
    store.retention.truncate(most_bytes=150)
    store.retention.truncate(most_bytes=150)
    rig.die_at = rig.rng.choice(["truncate: before rs", "truncate: after rs"])
    with pytest.raises(Died):
        store.retention.truncate()
    rig.die_at = None
    rig.db_disk.power_loss(rig.rng)
    rig.rs_disk.power_loss(rig.rng)
    rig.boot = b"second"
    store = rig.open()
    assert contents(store) == kept
    assert_whole(store)


@pytest.mark.parametrize("step", ["truncate: before rs", "truncate: after rs", "drop: before rs", "drop: after rs"])
def test_a_kill_while_making_space_leaves_a_whole_replica(step: str) -> None:
    rig = Rig()
    store = rig.open()
    write_keys(store)
    for key in KEYS[:3]:
        store.writer.delete(key, False)
    kept = contents(store)
    rig.die_at = step
    with pytest.raises(Died):
        make_space(store)
    store = rig.reopen_after_kill()
    assert contents(store) == kept
    assert_whole(store)


def test_a_line_without_its_entry_is_logged_again_from_the_database() -> None:
    rig = Rig()
    store = rig.open()
    write_keys(store)
    store.writer.delete(KEYS[0], False)
    was = dots(store)
    lose_entry(store, KEYS[0])
    lose_entry(store, KEYS[1])
    damage_entry(store, KEYS[2])
    store = reopen_as_copy(rig)
    assert dots(store) == was
    assert_whole(store)


def test_lines_below_the_floor_stay() -> None:
    rig = Rig()
    store = rig.open()
    write_keys(store)
    store.retention.truncate()
    was = dots(store)
    store = reopen_as_copy(rig)
    assert dots(store) == was
    assert store.entries == 0
    assert_whole(store)


# -- what is nowhere any more


@pytest.mark.parametrize("truncated", [False, True], ids=["logged", "truncated"])
@pytest.mark.parametrize("foreign", [False, True], ids=["our own", "a peer's"])
@pytest.mark.parametrize("left", [None, b"another value"], ids=["nothing left", "another value left"])
def test_a_lost_entry_comes_back_from_a_peer(truncated: bool, foreign: bool, left: bytes | None) -> None:
    rig = Rig(1)
    store, peer = rig.open(), Rig(2).open()
    write_keys(peer if foreign else store)
    pull(store, peer) if foreign else pull(peer, store)
    if truncated:
        store.retention.truncate()
    else:
        damage_entry(store, KEYS[4])
    stamp, origin = dots(store)[KEYS[4]]
    if left is None:
        store._state.db.delete(KEYS[4])
    else:
        store._state.db.put(KEYS[4], left)
    store = reopen_as_copy(rig)
    assert store.lost == 1
    assert contents(store).get(KEYS[4]) == left
    reconcile(peer, store)
    assert contents(store) == contents(peer)
    assert written_of(store, KEYS[4]) == (stamp, origin)
    assert_whole(store)
    store = rig.reopen_after_kill()
    assert store.lost == 0


@pytest.mark.parametrize("seed", range(30))
def test_power_loss_while_a_loss_is_mended_does_not_hide_the_loss(seed: int) -> None:
    """What was written of the repair may survive in any part: never a line gone that the vector still claims."""
    rig = Rig(seed)
    store, peer = rig.open(), Rig(seed + 1_000).open()
    write_keys(peer)
    pull(store, peer)
    store.retention.truncate()
    for key in rig.rng.sample(KEYS, 3):
        store._state.db.delete(key)
    store.close()
    rig.db_disk, rig.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    rig.die_at = "repair: a batch"
    with pytest.raises(Died):
        rig.open()
    rig.db_disk.power_loss(rig.rng)
    rig.rs_disk.power_loss(rig.rng)
    rig.die_at, rig.boot = None, b"third"
    store = rig.open()
    reconcile(peer, store)
    assert set(contents(store)) == set(KEYS)
    assert_whole(store)


def test_an_entry_that_is_sound_but_not_of_its_line_does_not_become_a_key() -> None:
    rig = Rig()
    store = rig.open()
    write_keys(store)
    stamp, origin = dots(store)[KEYS[4]]
    store._state.rs.put(log_key(origin, stamp), encode_entry(stamp, b"k?4", b"vk04")[0])
    store._state.db.delete(KEYS[4])
    store = reopen_as_copy(rig)
    assert set(contents(store)) == set(KEYS) - {KEYS[4]}
    assert store.lost == 1


def written_of(store: Store, key: bytes) -> tuple[int, int]:
    line = store._state.rs.get(INDEX + key)
    assert line is not None
    return decode_index(line).written_dot


def test_a_loss_takes_the_horizon_back_with_the_vector() -> None:
    rig = Rig(1)
    store, peer = rig.open(), Rig(2).open()
    write_keys(peer)
    peer.writer.delete(KEYS[9], False)
    pull(store, peer)
    store.retention.truncate()
    store.retention.drop_tombstones(peer.vector[peer.origin])
    store._state.db.delete(KEYS[4])
    give_up(store)
    assert store.horizon.get(peer.origin, 0) <= store.vector[peer.origin] < peer.vector[peer.origin]


def test_a_loss_forgets_what_was_applied_of_scans_that_broke_off() -> None:
    """They may have brought what is lost: nobody would send it again."""
    rig = Rig(1)
    store, peer = rig.open(), Rig(2).open()
    write_keys(peer)
    assert not pull(store, peer, allow(3))
    assert store.resumable(peer.origin)
    got = sorted(contents(store))[-1]
    lose_entry(store, got)
    store._state.db.delete(got)
    give_up(store)
    assert not store.resumable(peer.origin)
    assert pull(store, peer)
    assert contents(store) == contents(peer)
    assert_whole(store)


def test_a_loss_nowhere_near_a_scan_leaves_no_line_of_it_on_the_disk() -> None:
    rig = Rig(1)
    store = rig.open()
    write_keys(store)
    store._state.rs.put(resume_key(7, 8), encode_intervals([(1, 2)]))
    lose_entry(store, KEYS[0])
    store._state.db.delete(KEYS[0])
    store = reopen_as_copy(rig)
    give_up(store)
    assert store._state.rs.get(resume_key(7, 8)) is None


# -- a new origin where the old one has a floor


def renew_with_floor(rig: Rig, count: int = 2_500) -> Store:
    """A store with more lines below its floor than one batch takes over, and some above; not open any more."""
    store = rig.open()
    store.writer.write([(b"%05d" % i, b"v%d" % i) for i in range(count)], False)
    store.writer.write([(b"%05d" % i, None) for i in range(50)], False)
    store.retention.truncate()
    store.writer.write([(b"%05d" % i, b"new") for i in range(count - 100, count + 100)], False)
    meta = load_meta(store._state.rs)
    assert meta is not None
    meta.identity, meta.traced = NEW_ORIGIN_REQUESTED, False  # as of a version without histories
    store_meta(store._state.rs, meta)
    rig.kill()
    return store


@pytest.mark.parametrize(
    "step",
    [
        None,
        "origin change: announced",
        "origin change: a batch of rows taken over",
        "origin change: a batch taken over",
    ],
)
def test_a_new_origin_takes_over_lines_below_the_floor_as_well(step: str | None) -> None:
    rig = Rig(3)
    before = renew_with_floor(rig)
    was = {key: stamp for key, (stamp, _) in dots_of(rig).items()}
    rig.die_at = step
    if step is not None:
        with pytest.raises(Died):
            rig.open()
    store = rig.reopen_after_kill()
    assert store.origin != before.origin
    assert {key: stamp for key, (stamp, _) in dots(store).items()} == was
    assert {origin for _, origin in dots(store).values()} == {store.origin}
    assert before.origin not in store.vector
    assert store.floor.get(before.origin, 0) == 0
    assert_whole(store)
    peer = Rig(4).open()
    peer.writer.put(b"a", b"1", False)
    pull(store, peer)
    assert_whole(store)


def dots_of(rig: Rig) -> dict[bytes, tuple[int, int]]:
    """Without opening it as a replica."""
    engine = MemoryEngine(rig.rs_disk)
    lines = {key[1:]: INDEX_HEAD.unpack_from(line)[:2] for key, line in engine.scan(INDEX, following(INDEX))}
    engine.close()
    return lines


def test_a_new_origin_takes_over_the_horizon_above_what_is_beyond_doubt() -> None:
    rig = Rig()
    store = rig.open()
    write_keys(store)
    store.writer.delete(KEYS[0], False)
    newest = store.vector[store.origin]
    assert store.retention.drop_tombstones(newest) == 1
    meta = load_meta(store._state.rs)
    assert meta is not None
    meta.identity, meta.traced = NEW_ORIGIN_REQUESTED, False
    store_meta(store._state.rs, meta)
    store = rig.reopen_after_kill()
    assert store.horizon == {store.origin: newest}
    assert store.vector[store.origin] >= newest
    assert store._state.rs.get(horizon_key(store.origin)) == encode_stamp(newest)


def test_a_new_origin_keeps_what_the_histories_of_the_old_one_vouch_for() -> None:
    """Whatever another continuation of the old origin wrote has an epoch: nothing that was forgotten comes back."""
    rig = Rig()
    store = rig.open()
    write_keys(store)
    store.writer.delete(KEYS[0], False)
    old, newest = store.origin, store.vector[store.origin]
    assert store.retention.drop_tombstones(newest) == 1
    meta = load_meta(store._state.rs)
    assert meta is not None
    assert meta.traced
    meta.identity = NEW_ORIGIN_REQUESTED
    store_meta(store._state.rs, meta)
    store = rig.reopen_after_kill()
    assert store.origin != old
    assert (store.vector[old], store.horizon) == (newest, {old: newest})
    assert {origin for _, origin in dots(store).values()} == {old}
    assert_whole(store)
