"""plyvel and plyvel_next: both kinds of handles can be installed, and each binding opens the files of the other."""

import random
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

import level_replicator as lrep
from level_replicator.storage.engine import plyvel as engine
from tests.harness import bindings

OPTIONS: list[dict[str, Any]] = [{}, lrep.RS_OPTIONS, {"compression": None}, {"bloom_filter_bits": 10}]
OTHER = {"plyvel": "plyvel_next", "plyvel_next": "plyvel"}


def _pairs() -> list[tuple[bytes, bytes]]:
    """Values of every kind that matters to Snappy, in more than one table file."""
    chosen = random.Random(1)
    keys = [b"key %06d" % number for number in range(4000)]
    return [(key, chosen.randbytes(300) if n % 2 else key * 30) for n, key in enumerate(keys)]


def _write(binding: ModuleType, path: Path, options: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    pairs = _pairs()
    with binding.DB(str(path), create_if_missing=True, **options) as db:
        for key, value in pairs:
            db.put(key, value)
        db.put(b"deleted", b"")
        db.compact_range()
        db.delete(b"deleted")
        db.put(*pairs[0])  # this one is in the log file only
    return pairs


@bindings.BOTH
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("writer", OTHER)
def test_a_directory_of_one_opens_with_the_other(tmp_path: Path, writer: str, options: dict[str, Any]) -> None:
    pairs = _write(bindings.import_binding(writer), tmp_path / "db", options)
    reader = bindings.import_binding(OTHER[writer])
    with reader.DB(str(tmp_path / "db"), paranoid_checks=True, **options) as db:
        assert list(db.iterator(verify_checksums=True)) == pairs
        assert all(db.get(key, verify_checksums=True) == value for key, value in pairs[::100])
        assert db.get(b"deleted") is None
        db.compact_range()
        db.put(b"other", b"1")
    with bindings.import_binding(writer).DB(str(tmp_path / "db"), **options) as db:
        assert list(db) == [*pairs, (b"other", b"1")]


@pytest.mark.parametrize("name", bindings.EACH)
def test_handles_of_either_binding_are_installed(tmp_path: Path, name: str) -> None:
    binding = bindings.import_binding(name)
    handles = [binding.DB(str(tmp_path / part), create_if_missing=True) for part in ("db", "rs")]
    with lrep.install(*handles, {"port": 0}) as a, lrep.open(tmp_path / "b", {"servers": {_address(a): {}}}) as b:
        a.put(b"from-a", b"1")
        b.put(b"from-b", b"2")
        assert b.wait_synced(30)
        assert a.wait_synced(30)
        assert list(a) == list(b) == [(b"from-a", b"1"), (b"from-b", b"2")]
        with a.raw_iterator() as raw:
            raw.seek(b"z")
            with pytest.raises(binding.IteratorInvalidError):
                raw.key()


@bindings.BOTH
def test_a_handle_of_each_is_installed(tmp_path: Path) -> None:
    db = bindings.import_binding("plyvel").DB(str(tmp_path / "db"), create_if_missing=True)
    rs = bindings.import_binding("plyvel_next").DB(str(tmp_path / "rs"), create_if_missing=True)
    with lrep.install(db, rs) as replica:
        replica.put(b"k", b"v")
    with lrep.open(tmp_path) as replica:
        assert replica.get(b"k") == b"v"
        assert replica.verify().found == 0


@bindings.BOTH
@pytest.mark.parametrize("holder", OTHER)
def test_a_directory_that_the_other_binding_has_open_is_locked(tmp_path: Path, holder: str) -> None:
    """LevelDB's own lock does not see the other binding in the same process."""
    held = bindings.import_binding(holder).DB(str(tmp_path / "db"), create_if_missing=True)
    with (
        held,
        mock.patch.object(engine, "plyvel", bindings.import_binding(OTHER[holder])),
        pytest.raises(lrep.LockedError, match="is open already"),
    ):
        lrep.open(tmp_path)


@pytest.mark.parametrize("name", bindings.EACH)
def test_a_corrupt_database_of_either_binding_is_a_storage_error(tmp_path: Path, name: str) -> None:
    binding = bindings.import_binding(name)
    _write(binding, tmp_path / "db", {})
    (manifest,) = (tmp_path / "db").glob("MANIFEST-*")
    manifest.write_bytes(b"no manifest")
    with mock.patch.object(engine, "plyvel", binding), pytest.raises(lrep.StorageError, match="cannot be opened"):
        lrep.open(tmp_path)


@pytest.mark.parametrize("name", bindings.EACH)
def test_damaged_blocks_of_either_binding_are_reported(tmp_path: Path, name: str) -> None:
    binding = bindings.import_binding(name)
    with mock.patch.object(engine, "plyvel", binding):
        with lrep.open(tmp_path) as replica:
            for key, value in _pairs():
                replica.put(key, value)
        with binding.DB(str(tmp_path / "rs")) as rs:
            rs.compact_range(start=b"", stop=b"\xff")
        for table in (tmp_path / "rs").glob("*.ldb"):
            content = bytearray(table.read_bytes())
            content[100:200] = bytes(100)
            table.write_bytes(content)
        with pytest.raises(lrep.StorageError, match=r"Corruption.* damaged"), lrep.open(tmp_path) as replica:
            replica.verify()


def _address(replica: lrep.Replica) -> str:
    assert replica.address is not None
    return f"{replica.address[0]}:{replica.address[1]}"
