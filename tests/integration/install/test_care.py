"""truncate, verify and backup of a replica: what they take, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_bytes": -1},
        {"max_bytes": "1"},
        {"max_bytes": True},
        {"max_age": -5},
        {"max_age": float("nan")},
        {"max_age": float("inf")},
    ],
)
def test_a_bound_that_is_none_is_told(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        with pytest.raises(lrep.ConfigError, match="max_"):
            replica.truncate(**arguments)
        assert replica.status()["entries"] == 1


def test_bounds_that_are_some(tmp_path: Path) -> None:
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        assert replica.truncate(max_age=3_600) == 0
        assert replica.truncate(max_age=1e15) == 0
        assert replica.truncate(max_bytes=10**9) == 0
        assert replica.truncate(max_age=0) == 1


def test_verify_wants_a_peer_by_name(tmp_path: Path) -> None:
    with (
        lrep.open(tmp_path) as replica,
        pytest.raises(lrep.ConfigError, match="True is not a str"),
    ):
        replica.verify(True)  # type: ignore[call-overload]


@pytest.mark.parametrize("inside", ["db", "rs", "db/copy", "rs/a/b"])
def test_a_backup_into_itself_is_refused(tmp_path: Path, inside: str) -> None:
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        with pytest.raises(lrep.ConfigError, match="which is copied: give a path outside"):
            replica.backup(tmp_path / inside)
        assert replica.verify().sound


def test_what_was_adopted_with_rs_is_verified_and_copied_with_rs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, rs = str(tmp_path / "plain"), str(tmp_path / "plain-rs")
    with plyvel.DB(plain, create_if_missing=True) as db:
        db.put(b"k", b"v")
    assert main(["adopt", plain, "--rs", rs]) == 0
    assert main(["verify", plain]) == 2
    assert "with --rs" in capsys.readouterr().err
    assert main(["verify", plain, "--rs", rs]) == 0
    assert main(["backup", plain, str(tmp_path / "copy"), "--rs", rs]) == 0
    assert main(["verify", str(tmp_path / "copy")]) == 0
    assert main(["verify", plain, "--rs", str(tmp_path / "nowhere")]) == 2


def test_what_is_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has it any more: that is not the same as repaired."""
    with lrep.open(tmp_path) as replica:
        replica.put(b"k", b"v")
        replica.truncate()
    with plyvel.DB(str(tmp_path / "db")) as db:
        db.delete(b"k")
    assert main(["verify", str(tmp_path), "--repair"]) == 1
    assert "lost                 1" in capsys.readouterr().out
    assert main(["verify", str(tmp_path), "--repair"]) == 1
    assert "given up             1" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 0
