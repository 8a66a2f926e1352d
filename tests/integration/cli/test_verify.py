"""`level-replicator verify`, on real directories."""

import base64
import json
import os
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.cli import main as cli
from tests.harness.waiting import wait_until


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    with lrep.open(tmp_path / "replica") as replica:
        for i in range(20):
            replica.put(b"%02d" % i, b"value %d" % i)
        replica.truncate()
        replica.put(b"logged", b"v")
    return tmp_path / "replica"


def around(path: Path, key: bytes, value: bytes | None) -> None:
    """A write that the replica does not hear of."""
    db = plyvel.DB(os.fspath(path / "db"))
    db.delete(key) if value is None else db.put(key, value)
    db.close()


def test_a_sound_replica(replica: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(replica)]) == 0
    assert capsys.readouterr().out == "21 keys and 0 tombstones checked\nsound\n"


def test_what_is_found_and_what_is_made_of_it(replica: Path, capsys: pytest.CaptureFixture[str]) -> None:
    around(replica, b"\xffaround", b"x")
    around(replica, b"logged", None)
    assert cli.main(["verify", str(replica), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["missing"], found["unknown"], found["left"], found["repaired"]) == (1, 1, 2, 0)
    keys = {each["kind"]: base64.b64decode(each["key_base64"]) for each in found["examples"]}
    assert keys == {"missing": b"logged", "unknown": b"\xffaround"}
    assert cli.main(["verify", str(replica), "--repair"]) == 0
    told = capsys.readouterr().out
    assert "b'logged'" in told
    assert "repaired             2" in told
    assert cli.main(["verify", str(replica), "--json"]) == 0
    with lrep.open(replica) as repaired_rows:
        assert repaired_rows.get(b"logged") == b"v"
        assert repaired_rows.get(b"\xffaround") == b"x"


def test_what_is_lost_is_told_and_comes_back(replica: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lrep.open(tmp_path / "peer", {"port": 0}) as peer:
        assert peer.address is not None
        config = {"servers": {f"127.0.0.1:{peer.address[1]}": {}}}
        with lrep.open(replica, config) as node:
            assert node.wait_synced(30)
            stamp = node.status()["vector"][node.status()["origin"]]
            while peer.status()["vector"].get(node.status()["origin"], 0) < stamp:
                assert peer.wait_synced(30)
        around(replica, b"07", None)
        assert cli.main(["verify", str(replica), "--repair"]) == 1, "it is not here, for now"
        assert "come back from peers" in capsys.readouterr().out
        with lrep.open(replica, config) as node:
            wait_until(lambda: node.status()["lost"] == 0, "the lost value, from the peer")
            assert node.get(b"07") == b"value 7"


def test_a_live_replica_and_what_is_none(replica: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lrep.open(replica):
        assert cli.main(["verify", str(replica)]) == 0
        assert "sound" in capsys.readouterr().out
    assert cli.main(["verify", str(tmp_path / "nothing")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_help_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", "--help"])
    assert stopped.value.code == 0
    assert "--repair" in capsys.readouterr().out


def test_a_damaged_file_and_what_it_says_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/operations.md has it, with no peers and no backup."""
    values = {b"%04d" % number: os.urandom(100) for number in range(2_000)}
    with lrep.open(tmp_path) as replica:
        with replica.write_batch() as batch:
            for key, value in values.items():
                batch.put(key, value)
        replica.verify()
    for name in ("db", "rs"):
        with plyvel.DB(os.fspath(tmp_path / name)) as part:
            part.compact_range(start=b"", stop=b"\xff" * 20)
    (table,) = (tmp_path / "rs").glob("*.ldb")
    with table.open("r+b") as file:
        file.seek(1_000)
        file.write(b"\xff" * 8)
    assert cli.main(["verify", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "Corruption" in told
    assert "plyvel.repair_db" in told
    assert len(told.splitlines()) == 1
    for name in ("db", "rs"):
        plyvel.repair_db(os.fspath(tmp_path / name))
    assert cli.main(["verify", str(tmp_path), "--repair"]) == 0
    with lrep.open(tmp_path) as replica:
        assert replica.verify().sound
        assert dict(replica) == values
