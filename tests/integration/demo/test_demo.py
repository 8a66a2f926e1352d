"""The demo as a user runs it: as a process, with its output in a pipe."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from level_replicator.cli.demo.command import add_arguments

pytestmark = pytest.mark.slow

PATIENCE_S = 300


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "level_replicator.cli.main", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "FORCE_COLOR": "1"},
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    root.mkdir()
    for number in range(150):
        (root / f"{number:03d}").write_bytes(os.urandom(number * 10))
    return root


def test_converges_on_a_small_directory(small: Path, tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    result = demo("--input", small, "--seed", 1, "--keep", keep)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    last = re.fullmatch(r"converged: ([\d,]+) keys, sha256 [0-9a-f]{64}", lines[-1])
    assert last is not None, result.stdout
    for event in ("killed with SIGKILL", "is back", "1-3 is cut", "1-3 is healed", "entries/s", "MB/s"):
        assert event in result.stdout
    assert "\x1b" not in result.stdout
    with plyvel.DB(str(keep / "node3" / "db")) as db:
        kept = dict(db.iterator())
    assert len(kept) == int(last[1].replace(",", ""))
    untouched = [name for name in small.iterdir() if kept.get(os.fsencode(name.name)) == name.read_bytes()]
    assert len(untouched) >= 150 - 15


def test_a_data_set_with_fewer_entries_than_nodes_works(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"key": "only", "value": "one"}) + "\n")
    result = demo("--input", path)
    assert result.returncode == 0, result.stderr
    assert "converged: " in result.stdout.splitlines()[-1]


def test_a_timeout_reports_the_differences(small: Path) -> None:
    result = demo("--input", small, "--timeout", "0.000001")
    assert result.returncode == 1
    assert "not in sync" in result.stderr
    assert "converged" not in result.stdout
    left = re.search(r"left in (\S+)", result.stderr)
    assert left is not None
    assert (Path(left[1]) / "node1" / "db").is_dir()
    subprocess.run(["rm", "-rf", left[1]], check=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--input", "/does/not/exist"], "does not exist"),
        (["--keep", "/proc/version"], "File exists"),
        (["--keep", os.path.dirname(__file__)], "not empty"),
        (["--timeout", "soon"], "seconds"),
        (["--timeout", "-1"], "seconds"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], complaint: str) -> None:
    result = demo(*arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_help_names_every_option() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    result = demo("--help")
    assert result.returncode == 0
    for action in parser._actions:
        assert action.option_strings[-1] in result.stdout


def test_without_rich_it_is_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from level_replicator.cli.demo import command, screen

    monkeypatch.setitem(sys.modules, "rich.live", None)
    monkeypatch.delitem(sys.modules, "level_replicator.cli.demo.rich_screen", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(command.open_screen(), screen.PlainScreen)
    assert "level-replicator[demo]" in capsys.readouterr().err
