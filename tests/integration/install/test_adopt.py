"""`install` and `open` with `adopt`, on real LevelDBs: data that other programs wrote becomes a master's."""

import base64
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.storage.recovery import adopt as adoption
from tests.harness.waiting import wait_until

HERE = Path(__file__).parent
DATA = {b"key %04d" % i: b"value %d" % i for i in range(1_000)}


def make_db(directory: Path, data: dict[bytes, bytes] = DATA) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    with plyvel.DB(os.fspath(directory / "db"), create_if_missing=True) as db, db.write_batch() as batch:
        for key, value in data.items():
            batch.put(key, value)
    return directory


def converge(one: lrep.Replica, other: lrep.Replica) -> None:
    """Until both know all that either knows."""
    assert one.wait_synced(60)
    wait_until(lambda: one.status()["vector"] == other.status()["vector"], "one vector for both")


def server(replica: lrep.Replica) -> dict[str, object]:
    assert replica.address is not None
    return {"servers": {f"127.0.0.1:{replica.address[1]}": {}}}


def stopping_at(keys: int, error: BaseException) -> Callable[[int], None]:
    def progress(done: int) -> None:
        if done >= keys:
            raise error

    return progress


# -- one node


def test_data_becomes_a_masters(tmp_path: Path) -> None:
    told: list[int] = []
    with lrep.open(make_db(tmp_path), adopt=True, progress=told.append) as replica:
        assert dict(replica) == DATA
        status = replica.status()
        assert (status["keys"], status["entries"]) == (1_000, 0)
        assert status["floor"] == status["vector"] != {}
        replica.put(b"key 0001", b"overwritten")
        replica.delete(b"key 0002")
    assert told[-1] == 1_000
    with lrep.open(tmp_path) as replica:
        assert len(list(replica)) == 999
        assert replica.get(b"key 0001") == b"overwritten"
        assert replica.verify().sound


def test_nothing_to_adopt_is_no_error(tmp_path: Path) -> None:
    for _ in range(2):
        with lrep.open(tmp_path / "empty", adopt=True) as replica:
            replica.put(b"k", b"v")
    lrep.open(make_db(tmp_path / "full"), adopt=True).close()
    told: list[int] = []
    with lrep.open(tmp_path / "full", adopt=True, progress=told.append) as replica:
        assert dict(replica) == DATA
    assert told == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the caller"), OSError("a broken pipe")])
def test_an_interrupted_adoption_leaves_the_handles_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(adoption, "_CHUNK_KEYS", 100)
    make_db(tmp_path)
    with (
        plyvel.DB(os.fspath(tmp_path / "db")) as db,
        plyvel.DB(os.fspath(tmp_path / "rs"), create_if_missing=True) as rs,
    ):
        with pytest.raises(type(error)) as raised:
            lrep.install(db, rs, adopt=True, progress=stopping_at(500, error))
        assert raised.value is error
        assert not db.closed
        lines = dict(rs.iterator(prefix=b"i"))
        assert len(lines) == 500
        with pytest.raises(lrep.ConfigError, match=r"interrupted.*adopt=True"):
            lrep.install(db, rs)
        with lrep.install(db, rs, adopt=True) as replica:
            assert dict(replica) == DATA
            assert lines.items() <= dict(rs.iterator(prefix=b"i")).items()
            assert replica.status()["keys"] == 1_000


def test_a_process_killed_in_the_middle(tmp_path: Path) -> None:
    make_db(tmp_path)
    code = (
        "import os, signal, sys, level_replicator as lrep\n"
        "from level_replicator.storage.recovery import adopt as adoption\n"
        "adoption._CHUNK_KEYS = 100\n"
        "def progress(keys):\n    if keys == 500: os.kill(os.getpid(), signal.SIGKILL)\n"
        "lrep.open(sys.argv[1], adopt=True, progress=progress)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-9, "")
    with pytest.raises(lrep.ConfigError, match="interrupted"):
        lrep.open(tmp_path)
    with plyvel.DB(os.fspath(tmp_path / "rs")) as rs:
        lines = dict(rs.iterator(prefix=b"i"))
    with lrep.open(tmp_path, adopt=True) as replica:
        assert dict(replica) == DATA
        assert replica.verify().sound
    with plyvel.DB(os.fspath(tmp_path / "rs")) as rs:
        assert len(lines) == 500
        assert lines.items() <= dict(rs.iterator(prefix=b"i")).items()


# -- two nodes


def test_an_empty_node_gets_everything(tmp_path: Path) -> None:
    with (
        lrep.open(make_db(tmp_path / "full"), {"port": 0}, adopt=True) as full,
        lrep.open(tmp_path / "empty", server(full)) as empty,
    ):
        converge(empty, full)
        assert dict(empty) == DATA
        empty.put(b"key 0007", b"theirs")
        full.delete(b"key 0008")
        converge(empty, full)
        assert (
            dict(empty) == dict(full) == {**{k: v for k, v in DATA.items() if k != b"key 0008"}, b"key 0007": b"theirs"}
        )


def test_two_that_adopted_the_same_data_send_no_values(tmp_path: Path) -> None:
    data = {key: Random(key).randbytes(2_000) for key in DATA}
    with (
        lrep.open(make_db(tmp_path / "one", data), {"port": 0}, adopt=True) as one,
        lrep.open(make_db(tmp_path / "other", data), server(one), adopt=True) as other,
    ):
        converge(other, one)
        assert dict(one) == dict(other) == data
        (peer,) = other.status()["peers"]
        values = sum(map(len, data.values()))
        assert peer["bytes_in"] + peer["bytes_out"] < values / 8, "heads and digests, in both directions"
        assert one.status()["keys"] == other.status()["keys"] == len(data)
        assert other.verify(peer["origin"]).equal


def test_two_that_adopted_data_that_differs_end_with_the_same(tmp_path: Path) -> None:
    """Of a key that both had, the value of who adopted it last stays."""
    theirs = {key: value for key, value in DATA.items() if key[-1:] != b"3"}
    theirs |= {key: b"theirs" for key in DATA if key[-1:] == b"5"} | {b"only there": b"t", b"": b"the empty key"}
    ours = {**DATA, b"only here": b"o"}
    lrep.open(make_db(tmp_path / "one", ours), adopt=True).close()
    with (
        lrep.open(tmp_path / "one", {"port": 0}) as one,
        lrep.open(make_db(tmp_path / "other", theirs), server(one), adopt=True) as other,
    ):
        converge(other, one)
        assert dict(one) == dict(other) == {**ours, **theirs}
        assert one.verify().sound
        assert other.verify().sound
    with lrep.open(tmp_path / "one") as one, lrep.open(tmp_path / "other") as other:
        assert dict(one) == dict(other) == {**ours, **theirs}


# -- what Node wrote


@pytest.fixture
def classic_level(tmp_path: Path) -> tuple[Path, dict[bytes, bytes]]:
    """A LevelDB that `classic_level.js` wrote, and what is in it."""
    directory = tmp_path / "classic-level"
    with tarfile.open(HERE / "classic_level_db.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    pairs = json.loads((directory / "expected.json").read_text())
    return directory, {base64.b64decode(key): base64.b64decode(value) for key, value in pairs}


def test_a_database_of_classic_level(classic_level: tuple[Path, dict[bytes, bytes]], tmp_path: Path) -> None:
    directory, expected = classic_level
    assert len(expected) > 250
    with pytest.raises(lrep.ConfigError, match="adopt"):
        lrep.open(directory)
    with (
        lrep.open(directory, {"port": 0}, adopt=True) as replica,
        lrep.open(tmp_path / "empty", server(replica)) as peer,
    ):
        assert dict(replica) == expected
        assert replica.verify().sound
        converge(peer, replica)
        assert dict(peer) == expected
        peer.put(b"user:7", b"from python")
        converge(peer, replica)
        assert replica.get(b"user:7") == b"from python"


def test_nothing_is_written_into_what_is_adopted(classic_level: tuple[Path, dict[bytes, bytes]]) -> None:
    directory, expected = classic_level
    lrep.open(directory, adopt=True).close()
    assert sorted(each.name for each in directory.iterdir()) == ["db", "expected.json", "rs"]
    with plyvel.DB(os.fspath(directory / "db")) as db:
        assert dict(db) == expected
