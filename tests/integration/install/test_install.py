"""install and open: what they take, what they refuse, and what they leave behind when they do."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel


def _db(path: Path) -> plyvel.DB:
    return plyvel.DB(os.fspath(path), create_if_missing=True)


def test_two_replicas_as_the_readme_says(tmp_path: Path) -> None:
    with lrep.install(_db(tmp_path / "adb"), _db(tmp_path / "ars"), {"port": 0}) as a:
        assert a.address is not None
        server = f"{a.address[0]}:{a.address[1]}"
        with lrep.open(tmp_path / "b", {"servers": {server: {"name": "the first"}}, "port": None}) as b:
            assert b.address is None
            a.put(b"from-a", b"1")
            b.put(b"from-b", b"2")
            assert b.wait_synced(30)
            assert a.wait_synced(30)
            assert list(a) == list(b) == [(b"from-a", b"1"), (b"from-b", b"2")]
            status = json.loads(json.dumps(b.status()))
            assert status["keys"] == 2
            assert status["failed"] is None
            (peer,) = status["peers"]
            assert (peer["address"], peer["name"]) == (server, "the first")
            assert peer["state"] == "live"
            assert (peer["entries_in"], peer["entries_out"]) == (1, 1)
            assert status["vector"] == a.status()["vector"]


def test_what_was_written_is_there_after_close(tmp_path: Path) -> None:
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        origin = replica.status()["origin"]
    with lrep.open(tmp_path) as replica:
        assert replica.get(b"k") == b"v"
        assert replica.status()["origin"] == origin
    bare = _db(tmp_path / "db")
    assert list(bare) == [(b"k", b"v")], "nothing of ours is in the database"
    bare.close()


def test_close_is_idempotent_and_calls_after_it_raise(tmp_path: Path) -> None:
    replica = lrep.open(tmp_path, {"port": 0})
    threads = [threading.Thread(target=replica.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replica.close()
    assert replica.closed
    calls: list[Callable[[], object]] = [
        lambda: replica.put(b"k", b"v"),
        replica.status,
        lambda: replica.wait_synced(1),
        lambda: replica.get(b"k"),
    ]
    for call in calls:
        with pytest.raises(lrep.ClosedError):
            call()
    lrep.open(tmp_path).close()


def test_one_directory_for_both_is_refused_and_the_handles_stay_the_callers(tmp_path: Path) -> None:
    db = _db(tmp_path / "db")
    with pytest.raises(lrep.ConfigError, match="directory of its own"):
        lrep.install(db, db)
    assert not db.closed
    db.close()


def test_a_closed_or_foreign_handle_is_refused(tmp_path: Path) -> None:
    db, rs = _db(tmp_path / "db"), _db(tmp_path / "rs")
    rs.close()
    with pytest.raises(lrep.ConfigError, match="rs: this handle is closed"):
        lrep.install(db, rs)
    with pytest.raises(lrep.ConfigError, match=r"db: expected an open plyvel\.DB or plyvel_next\.DB, not str"):
        lrep.install("path", db)  # type: ignore[arg-type]
    db.close()


def test_installing_twice_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    db, rs = _db(tmp_path / "db"), _db(tmp_path / "rs")
    with lrep.install(db, rs) as replica:
        with pytest.raises(lrep.LockedError):
            lrep.install(db, rs)
        replica.put(b"k", b"v")
        assert replica.get(b"k") == b"v"


def test_a_leveldb_that_another_process_holds(tmp_path: Path) -> None:
    code = (
        "import sys, level_replicator as lrep\n"
        "replica = lrep.open(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()\nreplica.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(lrep.LockedError, match="is open already"):
            lrep.open(tmp_path)
        other.stdin.close()
        assert other.wait() == 0
    lrep.open(tmp_path).close()


def test_a_port_that_is_taken_is_told_and_everything_can_be_opened_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(lrep.ConfigError, match="cannot listen"):
        lrep.open(tmp_path, {"port": taken.getsockname()[1]})
    with lrep.open(tmp_path, {"port": 0}) as replica:
        replica.put(b"k", b"v")


def test_a_database_with_data_and_a_new_replication_set(tmp_path: Path) -> None:
    db = _db(tmp_path / "db")
    db.put(b"k", b"v")
    db.close()
    with pytest.raises(lrep.ConfigError, match="holds data"):
        lrep.open(tmp_path)
    db = _db(tmp_path / "db")
    assert db.get(b"k") == b"v"
    db.close()


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(lrep.ConfigError, match="file"):
        lrep.open(tmp_path / "file")


def test_new_origin(tmp_path: Path) -> None:
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        old = replica.status()["origin"]
    rs = _db(tmp_path / "rs")
    lrep.new_origin(rs)
    rs.close()
    with lrep.open(tmp_path) as replica:
        assert replica.status()["origin"] != old
        assert replica.get(b"k") == b"v"
    empty = _db(tmp_path / "empty")
    with pytest.raises(lrep.ConfigError, match="not a replication set"):
        lrep.new_origin(empty)
    empty.close()


def test_sync_as_a_default_and_an_empty_synced_batch(tmp_path: Path) -> None:
    with lrep.open(tmp_path, {"sync": True}) as replica:
        replica.put(b"k", b"v")
        replica.put(b"k", b"w", sync=False)
        with replica.write_batch(sync=True):
            pass
        assert replica.get(b"k") == b"w"


def test_it_lives_without_a_reference_and_is_closed_at_exit(tmp_path: Path) -> None:
    code = (
        "import sys, level_replicator as lrep\n"
        "lrep.open(sys.argv[1], {'port': 0}).put(b'k', b'v')\n"
        "import gc; gc.collect()\n"
        "try:\n    lrep.open(sys.argv[1])\nexcept lrep.LockedError:\n    print('still there')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still there\n", "")
    with lrep.open(tmp_path) as replica:
        assert replica.get(b"k") == b"v"


def test_wait_synced_without_anybody_and_with_a_server_that_is_down(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "alone") as replica:
        assert replica.wait_synced(0) is True
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with lrep.open(tmp_path / "waiting", {"servers": {f"127.0.0.1:{port}": {}}}) as replica:
        assert replica.wait_synced(0.05) is False
        (peer,) = replica.status()["peers"]
        assert peer["state"] in ("waiting", "connecting")


def test_close_ends_a_wait(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    replica = lrep.open(tmp_path, {"servers": {f"127.0.0.1:{port}": {}}})
    outcome: list[BaseException] = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            replica.wait_synced()
        except lrep.ClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    replica.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(outcome) == 1


@pytest.mark.parametrize("setting", ["port", "metrics"])
def test_a_port_in_use_causes_no_unclean_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture, setting: str) -> None:
    """After an unclean stop and a reboot the node would get a new origin."""
    with lrep.open(tmp_path / "other", {"port": 0}) as other:
        assert other.address is not None
        with lrep.open(tmp_path / "node") as node:
            node.put(b"k", b"v")
        with pytest.raises(lrep.ConfigError, match="cannot listen"):
            lrep.open(tmp_path / "node", {setting: other.address[1]})
    caplog.set_level(logging.INFO, logger="level_replicator")
    with lrep.open(tmp_path / "node") as node:
        assert node.get(b"k") == b"v"
    assert "unclean" not in caplog.text


def test_a_port_in_use_is_named_once(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"port": 0}) as replica:
        assert replica.address is not None
        port = replica.address[1]
        with pytest.raises(lrep.ConfigError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
            lrep.open(tmp_path / "b", {"port": port})
