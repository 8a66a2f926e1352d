"""The directories that `open` refuses, so that no database is silently ignored or begun anew, and its options."""

import os
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator import plyvel


def _fill(path: Path) -> None:
    db = plyvel.DB(os.fspath(path), create_if_missing=True)
    db.put(b"key", b"value")
    db.close()


@pytest.mark.parametrize("adopt", [False, True])
def test_a_directory_that_is_itself_a_leveldb(tmp_path: Path, adopt: bool) -> None:
    _fill(tmp_path)
    before = set(os.listdir(tmp_path))
    with pytest.raises(lrep.ConfigError, match=r"is itself a LevelDB.* install\(.*level-replicator adopt .* --rs"):
        lrep.open(tmp_path, adopt=adopt)
    assert set(os.listdir(tmp_path)) == before


def test_a_leveldb_without_its_file_current_in_the_directory_itself(tmp_path: Path) -> None:
    _fill(tmp_path)
    (tmp_path / "CURRENT").unlink()
    with pytest.raises(lrep.ConfigError, match="is itself a LevelDB"):
        lrep.open(tmp_path)


def test_log_files_of_other_programs_are_no_leveldb(tmp_path: Path) -> None:
    (tmp_path / "20240131.log").touch()
    lrep.open(tmp_path).close()


@pytest.mark.parametrize("name", ["db", "rs"])
def test_the_inner_directory_of_a_replica(tmp_path: Path, name: str) -> None:
    lrep.open(tmp_path).close()
    with pytest.raises(lrep.ConfigError, match=f"belongs to the replica in {tmp_path}"):
        lrep.open(tmp_path / name)


@pytest.mark.parametrize("name", ["db", "rs"])
def test_a_leveldb_without_its_file_current(tmp_path: Path, name: str) -> None:
    """LevelDB would begin an empty database, and delete the files of the old one."""
    with lrep.open(tmp_path) as replica:
        replica.put(b"key", b"value")
    current = tmp_path / name / "CURRENT"
    content = current.read_bytes()
    current.unlink()
    files = set(os.listdir(tmp_path / name))
    with pytest.raises(lrep.StorageError, match="files of a LevelDB, but the file CURRENT is missing"):
        lrep.open(tmp_path)
    assert set(os.listdir(tmp_path / name)) == files
    current.write_bytes(content)
    with lrep.open(tmp_path) as replica:
        assert replica.get(b"key") == b"value"


def test_a_leveldb_whose_creation_was_interrupted_is_created(tmp_path: Path) -> None:
    """LevelDB writes a manifest before CURRENT: a kill in between leaves no data behind."""
    (tmp_path / "rs").mkdir()
    (tmp_path / "rs" / "MANIFEST-000001").write_bytes(b"")
    (tmp_path / "rs" / "LOCK").touch()
    with lrep.open(tmp_path) as replica:
        replica.put(b"key", b"value")


def test_a_setting_among_the_options(tmp_path: Path) -> None:
    with pytest.raises(lrep.ConfigError, match=r"port: .*second argument: open\(path, \{'port': 0\}\)"):
        lrep.open(tmp_path / "node", port=0)
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"write_buffer_siz": 1}, "'write_buffer_siz': did you mean 'write_buffer_size'"),
        ({"write_buffer_size": "large"}, "{'write_buffer_size': 'large'}"),
        ({"create_if_missing": "no"}, "create_if_missing"),
    ],
)
def test_options_that_leveldb_does_not_take(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(lrep.ConfigError, match=text):
        lrep.open(tmp_path, **options)
    lrep.open(tmp_path).close()


def test_create_if_missing(tmp_path: Path) -> None:
    with pytest.raises(lrep.ConfigError, match="does not exist, and `create_if_missing` is False"):
        lrep.open(tmp_path / "node", create_if_missing=False)
    assert not (tmp_path / "node").exists()
    lrep.open(tmp_path / "node", create_if_missing=True).close()
    with lrep.open(tmp_path / "node", create_if_missing=False) as replica:
        replica.put(b"key", b"value")


def test_create_if_missing_needs_the_replication_set_too(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    _fill(tmp_path / "db")
    with pytest.raises(lrep.ConfigError, match="rs does not exist"):
        lrep.open(tmp_path, create_if_missing=False)
    with lrep.open(tmp_path, create_if_missing=False, adopt=True) as replica:
        assert list(replica) == [(b"key", b"value")]
