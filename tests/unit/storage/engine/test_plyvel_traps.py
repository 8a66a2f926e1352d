"""What is wrong in plyvel and LevelDB themselves, and why the engine does what it does.

When a test here fails because a new version is right, the way around it in the engine can go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.core.errors import LockedError
from level_replicator.storage.engine.directory import IDENTITY_FILE
from level_replicator.storage.engine.plyvel import open_engine

TRY_TO_OPEN = """
import sys
from level_replicator import plyvel
try:
    plyvel.DB(sys.argv[1])
except plyvel.IOError:
    print("refused")
else:
    print("opened")
"""


def open_elsewhere(path: Path) -> str:
    command = [sys.executable, "-c", TRY_TO_OPEN, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_reverse_iterator_loses_the_entry_at_start_when_it_is_the_greatest(tmp_path: Path) -> None:
    with plyvel.DB(str(tmp_path), create_if_missing=True) as db:
        db.put(b"k", b"v")
        assert list(db.iterator(start=b"k", reverse=True)) == []
        assert list(db.iterator(start=b"k", stop=b"l", reverse=True)) == []
        assert list(db.iterator(start=b"k", stop=b"l")) == [(b"k", b"v")]
        assert list(db.iterator(start=b"j", reverse=True)) == [(b"k", b"v")]


@pytest.mark.skipif(sys.platform != "linux", reason="locks differ between systems")
def test_a_second_open_in_the_same_process_gives_up_the_lock_against_others(tmp_path: Path) -> None:
    with plyvel.DB(str(tmp_path), create_if_missing=True):
        assert open_elsewhere(tmp_path) == "refused"
        with pytest.raises(plyvel.IOError):
            plyvel.DB(str(tmp_path))
        assert open_elsewhere(tmp_path) == "opened"


def test_the_engine_refuses_a_second_open_without_giving_up_the_lock(tmp_path: Path) -> None:
    with plyvel.DB(str(tmp_path), create_if_missing=True):
        for path in (tmp_path, tmp_path / ".." / tmp_path.name):
            with pytest.raises(LockedError):
                open_engine(path)
        assert open_elsewhere(tmp_path) == "refused"


def test_leveldb_leaves_the_identity_file_alone(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, write_buffer_size=65_536)
    identity = engine.identity()
    file = os.stat(tmp_path / IDENTITY_FILE)
    for life in range(3):
        for number in range(2_000):
            engine.put(b"%d %d" % (number % 500, life), os.urandom(200))
        engine.db.compact_range(start=b"", stop=b"\xff")
        assert engine.identity() == identity
        engine.close()
        engine = open_engine(tmp_path)
    assert engine.identity() == identity
    engine.close()
    plyvel.repair_db(str(tmp_path))
    after = os.stat(tmp_path / IDENTITY_FILE)
    assert (after.st_ino, after.st_ctime_ns, after.st_size) == (file.st_ino, file.st_ctime_ns, 0)
