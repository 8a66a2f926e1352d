"""`level-replicator adopt`, on real directories."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.cli import main as cli
from level_replicator.cli.maintenance import Adopt
from level_replicator.cli.target import INTERRUPTED
from level_replicator.core.limits import MAX_KEY_BYTES
from level_replicator.storage.recovery import adopt as adoption
from level_replicator.storage.state.state import ReplicationState

DATA = {b"%03d" % i: b"value %d" % i for i in range(500)}


def make_db(path: Path, data: dict[bytes, bytes] = DATA) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with plyvel.DB(os.fspath(path), create_if_missing=True) as db, db.write_batch() as batch:
        for key, value in data.items():
            batch.put(key, value)


def test_a_directory_with_a_db_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_db(tmp_path / "db")
    assert cli.main(["adopt", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert re.fullmatch(r"500 keys adopted in \d+\.\d s \([\d,]+ keys/s\)\n", told.out)
    assert told.err == ""
    with lrep.open(tmp_path) as replica:
        assert dict(replica) == DATA
    assert cli.main(["adopt", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing to adopt: the replication set has 500 keys already\n"
    assert cli.main(["verify", str(tmp_path)]) == 0


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_db(tmp_path / "db")
    assert cli.main(["adopt", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"keys", "seconds"}
    assert told["keys"] == 500


def test_a_directory_that_is_itself_a_leveldb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_db(tmp_path / "plain")
    assert cli.main(["adopt", str(tmp_path / "plain")]) == 2
    assert "--rs" in capsys.readouterr().err
    assert cli.main(["adopt", str(tmp_path / "plain"), "--rs", str(tmp_path / "new" / "rs")]) == 0
    with (
        plyvel.DB(os.fspath(tmp_path / "plain")) as db,
        plyvel.DB(os.fspath(tmp_path / "new" / "rs"), **lrep.RS_OPTIONS) as rs,
        lrep.install(db, rs) as replica,
    ):
        assert dict(replica) == DATA


def test_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*arguments: object, status: int = 2) -> str:
        assert cli.main(["adopt", *map(str, arguments)]) == status
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("level-replicator adopt: ")
        assert told.err.count("\n") == 1
        return told.err

    assert "there is no LevelDB" in error(tmp_path)
    assert "there is no LevelDB" in error(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
    with lrep.open(tmp_path / "live"):
        assert "is open already" in error(tmp_path / "live", status=1)
    make_db(tmp_path / "one" / "db")
    assert "directory of its own" in error(tmp_path / "one", "--rs", tmp_path / "one" / "db")
    (tmp_path / "file").write_text("")
    assert "file" in error(tmp_path / "one", "--rs", tmp_path / "file")
    make_db(tmp_path / "other" / "db")
    assert "not a replication set" in error(tmp_path / "one", "--rs", tmp_path / "other" / "db", status=1)
    make_db(tmp_path / "large" / "db", {b"long key" + bytes(MAX_KEY_BYTES): b"v"})
    assert "long key" in error(tmp_path / "large")
    with plyvel.DB(os.fspath(tmp_path / "one" / "db")) as db:
        assert dict(db) == DATA


def test_an_interrupt_says_that_it_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_db(tmp_path / "db")
    monkeypatch.setattr(adoption, "_CHUNK_KEYS", 100)
    adopt_chunk = adoption._adopt

    def interrupted(state: ReplicationState, chunk: list[tuple[bytes, int]]) -> None:
        if state.keys == 300:
            raise KeyboardInterrupt
        adopt_chunk(state, chunk)

    monkeypatch.setattr(adoption, "_adopt", interrupted)
    assert cli.main(["adopt", str(tmp_path)]) == INTERRUPTED
    assert "the same command continues the adoption" in capsys.readouterr().err
    monkeypatch.setattr(adoption, "_adopt", adopt_chunk)
    assert cli.main(["adopt", str(tmp_path)]) == 0
    with lrep.open(tmp_path) as replica:
        assert dict(replica) == DATA


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    make_db(tmp_path / "db")
    code = (
        "import sys\nfrom level_replicator.cli import output, main as cli\n"
        "from level_replicator.storage.recovery import adopt as adoption\n"
        "output._REDRAW_S = 0.0\nadoption._CHUNK_KEYS = 100\nsys.exit(cli.main(['adopt', sys.argv[1]]))\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"NO_COLOR": "1"},
    )
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert re.search(r"\radopt: 300 keys, [\d,]+ keys/s", shown)
    assert shown.endswith("\r\n")
    assert done.stdout.startswith(b"500 keys adopted")


def test_help_says_that_it_may_be_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["adopt", "--help"])
    assert stopped.value.code == 0
    assert Adopt.HELP in " ".join(capsys.readouterr().out.split())
