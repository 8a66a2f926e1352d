"""What is true of a real LevelDB only: errors on opening, the claim on a directory, threads, kills."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.core.errors import ClosedError, ConfigError, LockedError, StorageError
from level_replicator.storage.engine.directory import IDENTITY_FILE, Directory
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS, PlyvelEngine, open_engine

OPEN_WRITE_AND_WAIT = """
import sys
from level_replicator.storage.engine.plyvel import open_engine
engine = open_engine(sys.argv[1])
engine.hold()
engine.put(b"written", b"1")
print(engine.identity().hex(), flush=True)
sys.stdin.read()
"""

CLAIM_AND_FORK = """
import os, sys
from level_replicator.core.errors import LockedError
from level_replicator.storage.engine.directory import Directory

def claimed():
    other = Directory(sys.argv[1])
    try:
        other.hold()
    except LockedError:
        return "claimed"
    other.release()
    return "free"

directory = Directory(sys.argv[1])
directory.hold()
read, write = os.pipe()
released_read, released_write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    directory.release()
    os.write(released_write, b".")
    os._exit(0)
os.close(read)
print(claimed())
os.write(write, b".")
os.read(released_read, 1)
print(claimed())
os.wait()
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
directory.release()
print(claimed())
os.close(write)
os.wait()
"""


def in_another_process(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN_WRITE_AND_WAIT, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_open_makes_the_leveldb_only_if_asked(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        open_engine(tmp_path / "db", create=False)
    open_engine(tmp_path / "db").close()
    engine = open_engine(str(tmp_path / "db"), create=False)
    assert engine.name == str(tmp_path / "db")
    assert engine.db.name == str(tmp_path / "db")
    engine.close()


def test_open_passes_options_to_plyvel(tmp_path: Path) -> None:
    open_engine(tmp_path, bloom_filter_bits=10, write_buffer_size=1 << 20).close()
    with pytest.raises(StorageError, match="exists"):
        open_engine(tmp_path, error_if_exists=True)
    with pytest.raises(ConfigError, match="no_such_option"):
        open_engine(tmp_path, no_such_option=True)


def test_what_cannot_be_opened_says_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing/db.*check the path"):
        open_engine(tmp_path / "missing" / "db")
    open_engine(tmp_path / "db").close()
    (tmp_path / "db" / "CURRENT").write_bytes(b"nonsense")
    with pytest.raises(StorageError, match="restore it from a backup"):
        open_engine(tmp_path / "db")


def test_another_process_is_named_as_the_reason_and_its_death_frees_the_directory(tmp_path: Path) -> None:
    with in_another_process(tmp_path) as process:
        assert process.stdout is not None
        identity = bytes.fromhex(process.stdout.readline())
        with pytest.raises(LockedError, match=f"{tmp_path.name} is open already, in this process or another one"):
            open_engine(tmp_path)
        with pytest.raises(LockedError, match="in use by another replica"):
            Directory(str(tmp_path)).hold()
        process.send_signal(signal.SIGKILL)
        process.wait()
    engine = open_engine(tmp_path)
    engine.hold()
    assert engine.identity() == identity
    assert engine.get(b"written") == b"1"
    engine.close()


def test_only_one_engine_on_a_handle_can_claim_the_directory(tmp_path: Path) -> None:
    with plyvel.DB(str(tmp_path), create_if_missing=True) as db:
        first, second = PlyvelEngine(db), PlyvelEngine(db)
        first.hold()
        first.hold()
        with pytest.raises(LockedError, match=f"{tmp_path.name} is in use by another replica"):
            second.hold()
        first.release()
        first.release()
        second.hold()
        with pytest.raises(LockedError):
            first.hold()
        second.close()
        assert first.closed
        with pytest.raises(ClosedError):
            first.hold()
    engine = open_engine(tmp_path)
    engine.hold()
    engine.close()


def test_a_claim_ends_with_an_engine_that_nobody_has_any_more(tmp_path: Path) -> None:
    with plyvel.DB(str(tmp_path), create_if_missing=True) as db:
        PlyvelEngine(db).hold()
        other = PlyvelEngine(db)
        other.hold()
        other.release()


def test_a_forked_child_neither_ends_nor_keeps_the_claim_of_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM_AND_FORK, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["claimed", "claimed", "free"]


def test_the_identity_outlives_a_rename_and_a_change_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_engine("db")
    identity = engine.identity()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert engine.identity() == identity
    monkeypatch.chdir(tmp_path)
    engine.close()
    (tmp_path / "db").rename(tmp_path / "moved")
    engine = open_engine(tmp_path / "moved")
    assert engine.identity() == identity
    engine.close()


def test_the_same_inodes_do_not_make_the_same_directory(tmp_path: Path) -> None:
    """A file system gives freed inodes to the next files: then only the ctime tells a restored directory."""
    directory = Directory(str(tmp_path))
    before, file = directory.identity(), tmp_path / IDENTITY_FILE
    inodes, ctime = (tmp_path.stat().st_ino, file.stat().st_ino), file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == ctime:
        file.chmod(0o644)
    assert (tmp_path.stat().st_ino, file.stat().st_ino) == inodes
    assert directory.identity() != before


def test_a_directory_that_cannot_hold_our_file_is_an_error_with_advice(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    (tmp_path / IDENTITY_FILE).mkdir()
    for call in (engine.identity, engine.hold):
        with pytest.raises(StorageError, match=f"{IDENTITY_FILE}.*make the directory readable and writable"):
            call()
    engine.close()


def test_the_hot_methods_are_those_of_plyvel(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    assert (engine.get, engine.put, engine.delete) == (engine.db.get, engine.db.put, engine.db.delete)
    assert issubclass(plyvel.IOError, ENGINE_ERRORS)
    assert issubclass(plyvel.CorruptionError, ENGINE_ERRORS)
    engine.close()


def test_a_corrupt_table_raises_an_engine_error(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    for number in range(2_000):
        engine.put(b"%04d" % number, os.urandom(100))
    engine.db.compact_range(start=b"", stop=b"\xff")
    engine.close()
    for table in tmp_path.glob("*.ldb"):
        size = table.stat().st_size
        with table.open("r+b") as file:
            file.seek(size // 4)
            file.write(b"\xff" * (size // 4))
    engine = open_engine(tmp_path, paranoid_checks=True)
    with pytest.raises(ENGINE_ERRORS):
        list(engine.scan(b"0000", reverse=True))
    engine.close()


def test_a_batch_becomes_visible_at_once_to_other_threads(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    keys = [b"%02d" % number for number in range(20)]
    done = threading.Event()
    torn: list[set[bytes]] = []
    looked = threading.Event()

    def look() -> None:
        while not done.is_set():
            with engine.snapshot() as snapshot:
                values = {value for _, value in snapshot.scan()}
            if len(values) > 1:
                torn.append(values)
            looked.set()

    reader = threading.Thread(target=look)
    reader.start()
    looked.wait()
    for number in range(500):
        batch = engine.batch()
        for key in keys:
            batch.put(key, b"%d" % number)
        batch.write()
    done.set()
    reader.join()
    assert not torn
    engine.close()
