"""How a directory was left, and what is made of it."""

import msgspec
import pytest

from level_replicator.core.entry import DELETE, encode_entry, encode_index
from level_replicator.core.errors import ConfigError, FormatError, StorageError
from level_replicator.storage.state.meta import NEW_ORIGIN_REQUESTED, encode_meta, load_meta, store_meta
from level_replicator.storage.state.schema import INDEX, LOG, META, following, log_key
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk
from tests.unit.storage.rig import Rig, allow, assert_sound, contents, dots, hide_copy, pull


def test_origin_is_kept_over_stop_and_kill() -> None:
    rig = Rig()
    store = rig.open()
    origin = store.origin
    store.writer.put(b"k", b"v", False)
    store.close()
    assert rig.open().origin == origin
    assert rig.reopen_after_kill().origin == origin


def test_counts_come_from_meta_after_a_stop_and_from_the_index_after_a_kill() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.write([(b"a", b"1"), (b"b", b"1"), (b"c", None)], False)
    store.close()
    store = rig.open()
    assert (store.keys, store.entries) == (2, 3)
    store.writer.delete(b"a", False)
    store = rig.reopen_after_kill()
    assert (store.keys, store.entries) == (1, 3)


def test_a_copied_directory_is_a_new_origin_and_loses_nothing() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"k", b"v", False)
    store.close()
    copy = Rig(7)
    copy.db_disk, copy.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    duplicate = copy.open()
    assert duplicate.origin != store.origin
    assert contents(duplicate) == {b"k": b"v"}
    assert duplicate.vector[store.origin] == dots(duplicate)[b"k"][0]
    again = duplicate.origin
    duplicate.close()
    assert copy.open().origin == again


def test_an_orderly_stop_needs_no_comparison_after_a_power_loss() -> None:
    for seed in range(20):
        rig = Rig(seed)
        store = rig.open()
        store.writer.write([(b"%d" % i, b"v") for i in range(5)], False)
        origin = store.origin
        store.close()
        rig.db_disk.power_loss(rig.rng)
        rig.rs_disk.power_loss(rig.rng)
        rig.boot = b"second"
        store = rig.open()
        assert store.origin == origin
        assert len(contents(store)) == 5
        assert_sound(store)


def test_power_loss_gives_a_new_origin_that_takes_over_what_is_left() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"synced", b"1", True)
    store.close()
    store = rig.open()
    old = store.origin
    store.writer.put(b"unsynced", b"2", False)
    stamp = store.vector[old]
    rig.kill()
    rig.boot = b"second"
    store = rig.open()
    assert store.origin != old
    assert contents(store) == {b"synced": b"1", b"unsynced": b"2"}
    assert dots(store)[b"synced"][1] == old
    assert dots(store)[b"unsynced"] == (stamp, store.origin)
    assert store.vector[old] == dots(store)[b"synced"][0]
    assert_sound(store)


@pytest.mark.parametrize("seed", range(60))
def test_power_loss_leaves_a_sound_replica_with_all_that_was_synced(seed: int) -> None:
    rig = Rig(seed)
    store = rig.open()
    model: dict[bytes, bytes | None] = {}
    for i in range(40):
        key, value = b"k%d" % rig.rng.randrange(8), b"%d" % i if rig.rng.random() < 0.7 else None
        synced = i < 20
        store.writer.write([(key, value)], synced)
        if synced:
            model[key] = value
        else:
            model.pop(key, None)  # overwritten by what may be lost or not
    rig.db_disk.power_loss(rig.rng)
    rig.rs_disk.power_loss(rig.rng)
    rig.boot = b"second"
    store = rig.open()
    assert_sound(store)
    for key, value in model.items():
        assert contents(store).get(key) == value


def test_a_key_that_only_the_database_knows_is_the_oldest_write_there_is() -> None:
    """The replication set lost it: it must survive, but lose to anything that a peer knows of the key."""
    rig = Rig()
    store = rig.open()
    store.writer.put(b"other", b"x", True)
    store._state.db.put(b"only-here", b"v")
    store._state.db.put(b"known-elsewhere", b"stale")
    peer = Rig(1).open()
    peer.writer.put(b"known-elsewhere", b"newer", False)
    rig.kill()
    rig.boot = b"second"
    store = rig.open()
    assert contents(store)[b"only-here"] == b"v"
    assert_sound(store)
    pull(store, peer)
    pull(peer, store)
    assert contents(store) == contents(peer)
    assert contents(store)[b"known-elsewhere"] == b"newer"
    assert contents(peer)[b"only-here"] == b"v"


@pytest.mark.parametrize("step", ["origin change: announced", "origin change: a batch taken over"])
def test_a_renewal_that_is_killed_goes_on_at_the_next_open(step: str) -> None:
    rig = Rig()
    store = rig.open()
    for i in range(2_500):
        store.writer.put(b"%d" % i, b"v", False)
    old = store.origin
    rig.kill()
    rig.boot = b"second"
    rig.die_at = step
    with pytest.raises(BaseException, match=step):
        rig.open()
    store = rig.reopen_after_kill()
    assert store.origin != old
    assert old not in store.vector
    assert {origin for _, origin in dots(store).values()} == {store.origin}
    assert_sound(store)
    peer = Rig(1).open()
    assert pull(peer, store, frame_entries=500)
    assert contents(peer) == contents(store)
    assert peer.vector == store.vector


def test_what_was_forgotten_comes_back_after_renewal() -> None:
    """A backup that does not show: the peer knows more of our origin than we do."""
    rig, peer = Rig(), Rig(1).open()
    store = rig.open()
    store.writer.put(b"1", b"v", False)
    store.close()
    backup = rig.db_disk.copy(), rig.rs_disk.copy()
    store = rig.open()
    store.writer.put(b"2", b"v", False)
    pull(peer, store)
    known = peer.vector[store.origin]
    rig.kill()
    rig.db_disk, rig.rs_disk = backup
    hide_copy(rig)
    rig.now_ms += 60_000
    store = rig.open()
    old = store.origin
    assert store.forgot(known)
    store.writer.put(b"3", b"v", False)
    assert store.forgot(known), "also when it has written since, beyond what the peer knows"
    assert not store.forgot(dots(store)[b"1"][0])
    store.change_origin()
    assert store.origin != old
    pull(store, peer)
    pull(peer, store)
    assert contents(store) == contents(peer) == {b"1": b"v", b"2": b"v", b"3": b"v"}
    assert store.vector == peer.vector
    assert_sound(store)


def test_a_broken_off_scan_is_remembered_over_a_kill_and_forgotten_when_complete() -> None:
    source, rig = Rig(1).open(), Rig(2)
    for i in range(10):
        source.writer.put(b"%d" % i, b"v", False)
    store = rig.open()
    pull(store, source, allow(3))
    have = store.resumable(source.origin)
    store = rig.reopen_after_kill()
    assert store.resumable(source.origin) == have
    assert have
    assert store.resumable(99) == []
    sent = []
    pull(store, source, lambda: sent.append(1) or True)  # type: ignore[func-returns-value]
    assert len(sent) == 2  # of five frames of two entries three had been applied
    assert store.resumable(source.origin) == []


def test_data_without_a_replication_set_is_refused() -> None:
    rig = Rig()
    engine = MemoryEngine(rig.db_disk, "db")
    engine.put(b"k", b"v")
    engine.close()
    with pytest.raises(ConfigError, match="holds data"):
        rig.open()


def test_a_replication_set_that_is_none_is_refused() -> None:
    rig = Rig()
    engine = MemoryEngine(rig.rs_disk, "rs")
    engine.put(b"k", b"v")
    engine.close()
    with pytest.raises(StorageError, match="not a replication set"):
        rig.open()


@pytest.mark.parametrize(
    ("meta", "error"), [(b"\xc1", StorageError), (b"\x91\x63", FormatError), (b"\x90", StorageError)]
)
def test_meta_that_this_version_did_not_write_is_refused(meta: bytes, error: type[Exception]) -> None:
    rig = Rig()
    engine = MemoryEngine(rig.rs_disk, "rs")
    engine.put(META, meta)
    engine.close()
    with pytest.raises(error):
        rig.open()


def test_a_database_that_was_exchanged_or_emptied_is_filled_again() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.write([(b"a", b"1"), (b"b", None)], False)
    store.close()
    rig.db_disk = VirtualDisk([(b"b", b"of somebody else"), (b"c", b"too")])
    with pytest.raises(ConfigError, match="is not the database that belongs"):
        rig.open()
    rig.kill()
    store = rig.open(adopt=True)
    assert contents(store) == {b"a": b"1", b"c": b"too"}
    assert_sound(store)


def test_new_origin_takes_over_the_whole_log() -> None:
    """Two duplicates have both written: what each of them wrote comes to the other."""
    rig, duplicate = Rig(1), Rig(2)
    store = rig.open()
    store.writer.put(b"before", b"v", False)
    store.close()
    duplicate.db_disk, duplicate.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    hide_copy(duplicate)
    for each, key in ((rig, b"a"), (duplicate, b"b"), (rig, b"c")):
        each.now_ms += 1_000
        store = each.open()
        store.writer.put(key, b"v", False)
        store.close()
    engine = MemoryEngine(duplicate.rs_disk, "rs")
    meta = load_meta(engine)
    assert meta is not None
    meta.identity = NEW_ORIGIN_REQUESTED
    store_meta(engine, meta)
    engine.close()
    store, other = rig.open(), duplicate.open()
    branches = store.learn_histories(other.histories, other.branches).branches
    for each in (store, other):
        each.branch(branches)
    pull(store, other)
    pull(other, store)
    assert contents(store) == contents(other)
    assert len(contents(store)) == 4
    assert store.vector == other.vector


def test_a_line_that_was_touched_does_not_hide_the_entry_that_is_left() -> None:
    """A power loss took the batch that overwrote an entry, but not the later one that only touched its line."""
    for value in (b"new", None):
        rig, peer = Rig(1), Rig(2).open()
        store = rig.open()
        peer.writer.put(b"k", b"durable", False)
        pull(store, peer)
        store.close()
        store = rig.open()
        logged = {key: store._state.rs.get(key) for key in store._state.rs.scan_keys(LOG, following(LOG))}
        store.writer.write([(b"k", value)], False)
        (new,) = store._state.rs.scan_keys(LOG, following(LOG))
        store._state.rs.delete(new)
        for key, record in logged.items():
            assert record is not None
            store._state.rs.put(key, record)
        store._state.db.put(b"k", b"durable")
        rig.kill()
        rig.boot = b"second"
        store = rig.open()
        assert contents(store) == {b"k": b"durable"}
        assert dots(store) == dots(peer)
        assert_sound(store)


def test_unlogged_lines_and_orphaned_entries_go_after_a_power_loss() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"k", b"v", False)
    rs, origin = store._state.rs, store.origin
    rs.put(INDEX + b"line-without-entry", encode_index(5, origin, DELETE, 0))
    rs.put(log_key(origin, 7), encode_entry(7, b"k", b"older")[0])
    rs.put(log_key(origin, 8), b"damaged")
    rig.kill()
    rig.boot = b"second"
    store = rig.open()
    assert contents(store) == {b"k": b"v"}
    assert_sound(store)


def test_a_set_of_format_1_opens_as_it_is_and_is_marked() -> None:
    """It has no re-stamped entries; a version that reads only format 1 would misread those that come."""
    rig = Rig()
    store = rig.open()
    store.writer.put(b"k", b"v", False)
    origin, vector = store.origin, dict(store.vector)
    store.close()
    engine = MemoryEngine(rig.rs_disk, "rs")
    meta = load_meta(engine)
    assert meta is not None
    meta.format = 1
    # as format 1 was written: twelve items, without those that came later
    engine.put(META, msgspec.msgpack.encode(msgspec.structs.astuple(meta)[:12]), sync=True)
    engine.close()
    store = rig.open()
    assert (store.origin, store.vector) == (origin, vector)
    assert contents(store) == {b"k": b"v"}
    data = store._state.rs.get(META)
    assert data is not None
    assert msgspec.msgpack.decode(data)[0] == 2


@pytest.mark.parametrize("version", [0, 3, 99])
def test_a_set_of_another_format_is_refused(version: int) -> None:
    rig = Rig()
    rig.open().close()
    engine = MemoryEngine(rig.rs_disk, "rs")
    meta = load_meta(engine)
    assert meta is not None
    meta.format = version
    engine.put(META, encode_meta(meta), sync=True)
    engine.close()
    with pytest.raises(FormatError, match=f"format {version}, this version reads up to 2"):
        rig.open()


def test_two_directories_that_never_belonged_together_are_refused() -> None:
    """To bring them in line would overwrite the database with what the other one held."""
    mine, other = Rig(1), Rig(2)
    for rig, value in ((mine, b"mine"), (other, b"theirs")):
        store = rig.open()
        for key in (b"k1", b"k2"):
            store.writer.put(key, value, True)
        store.close()
    pair = Rig(3)
    pair.db_disk, pair.rs_disk = mine.db_disk, other.rs_disk
    with pytest.raises(ConfigError, match="is not the database that belongs to the replication set"):
        pair.open()
    pair.kill()
    mine.rs_disk.kill()
    assert contents(mine.open()) == {b"k1": b"mine", b"k2": b"mine"}
