"""A copy of a live replica: whole, of one instant, and a new origin when it is opened."""

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import plyvel
import pytest

from level_replicator.core.errors import ConfigError, StorageError
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import open_engine
from level_replicator.storage.maintenance import backup as backing_up
from level_replicator.storage.state.meta import load_meta
from level_replicator.storage.state.schema import LOG, following
from level_replicator.storage.store import Store
from tests.unit.storage.rig import START_MS, Rig, contents, dots, pull

OPTIONS = {"bloom_filter_bits": 10}
_MARK = backing_up._MARK


def open_store(path: Path, seed: int = 0, boot: bytes = b"boot") -> Store:
    path.mkdir(exist_ok=True)
    db, rs = open_engine(path / "db"), open_engine(path / "rs", **OPTIONS)
    return Store(db, rs, now_ms=lambda: START_MS, random_bytes=Random(seed).randbytes, boot=boot)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "live")
    store.writer.write([(b"%05d" % i, b"value %d" % i) for i in range(3_000)], False)
    store.writer.delete(b"00000", False)
    yield store
    store.close()


def back_up(store: Store, path: Path) -> int:
    return store.backup(path, OPTIONS, lambda keys: None)


def assert_whole(store: Store) -> None:
    report = store.verify(repair=False, progress=lambda keys: None)
    assert report.sound, report
    assert store.entries == sum(1 for _ in store._state.rs.scan_keys(LOG, following(LOG)))
    assert store.keys == len(contents(store))


def test_a_backup_is_everything_and_goes_on_as_a_new_origin(store: Store, tmp_path: Path) -> None:
    store.retention.truncate(before=dots(store)[b"01000"][0])
    assert back_up(store, tmp_path / "backup") == 2_999
    assert sorted(each.name for each in (tmp_path / "backup").iterdir()) == ["db", "rs"]
    assert not (tmp_path / "backup.part").exists()
    copy = open_store(tmp_path / "backup", 7, boot=b"another machine")
    assert copy.origin != store.origin
    vector = {**store.vector, copy.origin: 1}  # where the new origin begins
    assert (contents(copy), dots(copy), copy.vector) == (contents(store), dots(store), vector)
    assert (copy.floor, copy.horizon, copy.entries) == (store.floor, store.horizon, store.entries)
    assert_whole(copy)
    copy.writer.put(b"of the copy", b"1", False)
    copy.close()


def test_its_meta_record_is_that_of_an_orderly_stop(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup")
    rs = open_engine(tmp_path / "backup" / "rs")
    meta = load_meta(rs)
    rs.close()
    assert meta is not None
    assert meta.clean
    assert (meta.keys, meta.entries) == (store.keys, store.entries)


def test_a_backup_while_others_write_is_of_one_instant(store: Store, tmp_path: Path) -> None:
    """Pairs of keys are written in one batch: the copy has both, or neither."""
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.writer.write([(b"a%06d" % number, b"%d" % number), (b"z%06d" % number, b"%d" % number)], False)
            store.writer.put(b"last", b"%d" % number, False)
            if number == 100:
                begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(30)
        back_up(store, tmp_path / "backup")
    finally:
        stop.set()
        thread.join()
    copy = open_store(tmp_path / "backup", 7)
    held = contents(copy)
    firsts = {key[1:] for key in held if key.startswith(b"a")}
    assert firsts == {key[1:] for key in held if key.startswith(b"z")}
    assert len(firsts) >= 100
    assert int(held[b"last"]) in (len(firsts), len(firsts) - 1)
    assert_whole(copy)
    copy.close()


def test_after_a_restore_what_was_written_since_comes_back(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup")
    peer = Rig(3).open()
    store.writer.write([(b"00001", b"since"), (b"00002", None), (b"new", b"since")], False)
    pull(peer, store, frame_entries=500)
    restored = open_store(tmp_path / "backup", 7)
    restored.writer.put(b"of the restored", b"1", False)
    pull(restored, peer, frame_entries=500)
    pull(peer, restored, frame_entries=500)
    assert contents(restored) == contents(peer) == {**contents(store), b"of the restored": b"1"}
    assert_whole(restored)
    restored.close()


def test_an_empty_replica(tmp_path: Path) -> None:
    store = open_store(tmp_path / "live")
    assert back_up(store, tmp_path / "backup") == 0
    copy = open_store(tmp_path / "backup", 7)
    assert copy.keys == 0
    copy.close()
    store.close()


def test_an_empty_directory_is_taken(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    assert back_up(store, tmp_path / "backup") == 2_999
    assert (tmp_path / "backup" / "db").is_dir()


def test_what_is_in_the_way_stays(store: Store, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "other.part").mkdir()
    (tmp_path / "other.part" / "precious").write_text("x")
    for name, text in (("full", "not empty"), ("file", "not empty"), ("other", "not made by a backup")):
        with pytest.raises(ConfigError, match=text):
            back_up(store, tmp_path / name)
    with pytest.raises(ConfigError, match="Not a directory"):
        back_up(store, tmp_path / "file" / "below")
    assert (full / "precious").exists()
    assert (tmp_path / "other.part" / "precious").exists()
    assert not (tmp_path / "full.part").exists()


def test_what_an_interrupted_one_left_goes(store: Store, tmp_path: Path) -> None:
    part = tmp_path / "backup.part"
    (part / "db").mkdir(parents=True)
    (part / _MARK).touch()
    (part / "db" / "000003.log").write_bytes(b"half")
    assert back_up(store, tmp_path / "backup") == 2_999
    assert not part.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_progress_that_raises_leaves_nothing(store: Store, tmp_path: Path, error: type[BaseException]) -> None:
    def stop(keys: int) -> None:
        raise error

    with pytest.raises(error):
        store.backup(tmp_path / "backup", OPTIONS, stop)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["live"]
    store.writer.put(b"k", b"v", False)


def test_progress_goes_on_until_the_end(store: Store, tmp_path: Path) -> None:
    """Also while the replication set is copied: a replica that closes ends a backup at its next progress."""
    told: list[int] = []
    store.backup(tmp_path / "backup", OPTIONS, told.append)
    assert told == [2_999, 2_999]


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_full_disk_leaves_nothing_and_the_replica_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Of a batch and the last line, each of both LevelDBs, any may be the one that does not fit."""
    write, left = backing_up._write, [nth]

    def full(engine: Engine, pairs: list[tuple[bytes, bytes]], *, sync: bool) -> None:
        left[0] -= 1
        if not left[0]:
            raise plyvel.IOError(b"No space left on device")
        write(engine, pairs, sync=sync)

    monkeypatch.setattr(backing_up, "_write", full)
    with pytest.raises(StorageError, match="No space left on device"):
        back_up(store, tmp_path / "backup")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["live"]
    monkeypatch.undo()
    store.writer.put(b"k", b"v", False)
    assert back_up(store, tmp_path / "backup") == 3_000
