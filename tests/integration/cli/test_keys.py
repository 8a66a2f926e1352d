"""`level-replicator keygen` and `fingerprint`."""

import json
import stat
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.cli import main as cli
from level_replicator.cli.keys import Fingerprint, Keygen


def test_a_key_file_and_its_fingerprint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pems.json"
    assert cli.main(["keygen", str(path)]) == 0
    told = capsys.readouterr().out
    assert told == lrep.fingerprint(path) + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()).keys() == {"private", "public", "cert"}
    assert cli.main(["fingerprint", str(path)]) == 0
    assert capsys.readouterr().out == told
    certificate = tmp_path / "cert.pem"
    certificate.write_text(json.loads(path.read_text())["cert"])
    assert cli.main(["fingerprint", str(certificate), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(certificate), "fingerprint": told.strip()}
    before = path.read_bytes()
    assert cli.main(["keygen", str(path)]) == 2
    assert "keys are never overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_kinds_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pems.json"
    assert cli.main(["keygen", str(path), "--key", "ed25519", "--name", "x", "--days", "30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "fingerprint": lrep.fingerprint(path)}
    assert cli.main(["keygen", str(tmp_path / "other"), "--days", "1e99"]) == 2
    assert "days" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_what_is_no_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text("hello")
    for each in (path, tmp_path / "missing", tmp_path):
        assert cli.main(["fingerprint", str(each)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("level-replicator fingerprint: ")


@pytest.mark.parametrize("command", [Keygen, Fingerprint])
def test_help(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command.NAME, "--help"])
    assert stopped.value.code == 0
    assert command.HELP in " ".join(capsys.readouterr().out.split())
