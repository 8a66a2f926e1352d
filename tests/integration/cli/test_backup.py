"""`level-replicator backup`, on real directories."""

import json
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.cli import main as cli


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    with lrep.open(tmp_path / "replica") as replica:
        for i in range(20):
            replica.put(b"%02d" % i, b"value %d" % i)
    return tmp_path / "replica"


def test_a_backup_is_a_replica_of_its_own(replica: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    assert cli.main(["backup", str(replica), str(copy)]) == 0
    assert capsys.readouterr().out == f"20 keys copied to {copy}\n"
    with lrep.open(replica) as one, lrep.open(copy) as other:
        assert list(one) == list(other)
        assert one.status()["origin"] != other.status()["origin"]
    assert cli.main(["backup", str(replica), str(tmp_path / "another"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == 20


def test_what_cannot_be(replica: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lrep.open(replica, {"socket": False}):
        assert cli.main(["backup", str(replica), str(tmp_path / "copy")]) == 1
        assert "is open already" in capsys.readouterr().err
    assert cli.main(["backup", str(replica), str(replica)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert cli.main(["backup", str(tmp_path / "nothing"), str(tmp_path / "copy")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["replica"]


def test_help_says_how_to_restore(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["backup", "--help"])
    assert stopped.value.code == 0
    assert "To restore it" in " ".join(capsys.readouterr().out.split())
