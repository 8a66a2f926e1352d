"""Closing during calls of other threads, and forks."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import plyvel
import pytest

from level_replicator.core.errors import ClosedError, ReplicationError
from level_replicator.database.arguments import Bytes
from level_replicator.database.database import Database
from level_replicator.database.gate import Gate
from level_replicator.database.iterators import Snapshot
from tests.unit.database.writers import StraightWriter

ROOT = Path(__file__).parents[3]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = (sys.executable, "-W", "ignore", *command)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_close_may_race_every_call(tmp_path: Path) -> None:
    done = run("-m", "tests.unit.database.hammer", "60", os.fspath(tmp_path / "db"))
    assert (done.returncode, done.stderr) == (0, "")


class BlockingWriter(StraightWriter):
    """Stays inside a put until it is released."""

    def __init__(self, db: plyvel.DB) -> None:
        super().__init__(db)
        self.inside, self.go_on = threading.Event(), threading.Event()

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        self.inside.set()
        self.go_on.wait()
        super().put(key, value, sync)


def test_close_waits_for_the_write_that_is_inside(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "db")
    raw = plyvel.DB(path, create_if_missing=True)
    writer = BlockingWriter(raw)
    db = Database(raw, writer, sync_default=False)
    put = threading.Thread(target=db.put, args=(b"k", b"v"))
    put.start()
    writer.inside.wait()
    close = threading.Thread(target=db.close)
    close.start()
    while not db.closed:  # until the closer waits for the writer
        pass
    with pytest.raises(ClosedError):
        db.get(b"k")
    assert not raw.closed
    writer.go_on.set()
    put.join()
    close.join()
    assert raw.closed
    with plyvel.DB(path) as again:
        assert again.get(b"k") == b"v"


def test_a_signal_handler_that_closes_amid_a_call_gets_an_error_and_no_hang(raw: plyvel.DB) -> None:
    class InterruptedWriter(StraightWriter):
        def put(self, key: bytes, value: Bytes, sync: bool) -> None:
            signal.raise_signal(signal.SIGUSR1)

    db = Database(raw, InterruptedWriter(raw), sync_default=False)
    before = signal.signal(signal.SIGUSR1, lambda *_: db.close())
    try:
        with pytest.raises(ReplicationError, match="signal handler"):
            db.put(b"k", b"v")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not db.closed
    db.close()
    assert raw.closed


def test_an_error_inside_leaves_the_gate_free(db: Database, raw: plyvel.DB) -> None:
    for call in (lambda: db.get(1), lambda: db.get_property(1), lambda: db.iterator(start=1)):
        with pytest.raises(TypeError):
            call()
    db.close()
    assert raw.closed


def test_close_deletes_once_and_fails_once() -> None:
    deleted = []

    def delete() -> None:
        deleted.append(True)
        raise OSError("disk")

    gate = Gate()
    with pytest.raises(OSError, match="disk"):
        gate.close(delete)
    gate.close(delete)
    assert deleted == [True]
    with pytest.raises(ClosedError), gate:
        pass


def test_a_close_that_was_interrupted_goes_on_at_the_next() -> None:
    gate = Gate()
    deleted: list[str] = []

    def delete() -> None:
        deleted.append("tried")
        if len(deleted) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate.close(delete)
    gate.close(delete)
    gate.close(delete)
    assert len(deleted) == 2


def test_a_handle_dropped_while_the_database_is_deleted_outlives_that() -> None:
    class FakeHandle:
        pass

    def delete() -> None:
        snapshots.clear()
        seen.append(handle() is not None)

    gate = Gate()
    seen: list[bool] = []
    snapshots = [Snapshot(gate, FakeHandle)]
    handle = weakref.ref(snapshots[0]._raw)
    gate.close(delete)
    seen.append(handle() is not None)
    assert seen == [True, False]


def test_a_forked_child_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    done = run("-m", "tests.unit.database.forking", os.fspath(tmp_path / "db"))
    assert (done.returncode, done.stderr) == (0, "")
