"""The shared notes of two laptops, as the README of the example sets them up."""

import subprocess
import sys
from pathlib import Path

import pytest

from level_replicator.cli import main as cli
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until
from tests.integration.examples.running import EXAMPLES, running

pytestmark = pytest.mark.slow

FOLDER = EXAMPLES / "shared_notes"


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "notes.py", str(folder), *words]


def notes(folder: Path, *words: str) -> str:
    done = subprocess.run(command(folder, *words), cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_conflict_loses_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], free_ports: FreePorts) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    ports = free_ports(2)
    prints = []
    for folder in folders:
        folder.mkdir()
        assert cli.main(["keygen", str(folder / "pems.json")]) == 0
        prints.append(capsys.readouterr().out.strip())
    for me, folder in enumerate(folders):
        (folder / "notes.toml").write_text(
            f'port = {ports[me]}\npems = "pems.json"\n\n'
            f'[servers."127.0.0.1:{ports[1 - me]}"]\nfingerprint = "{prints[1 - me]}"\n'
        )
    notes(folders[0], "add", "groceries", "milk")
    notes(folders[1], "add", "groceries", "eggs")
    notes(folders[1], "add", "other", "text")
    with (
        running(command(folders[0], "sync"), FOLDER, tmp_path / "errors 0") as first,
        running(command(folders[1], "sync"), FOLDER, tmp_path / "errors 1") as second,
    ):
        assert (first.line(), second.line()) == ("ready", "ready")
        wait_until(lambda: len(notes(folders[0], "list").splitlines()) == 3, lambda: notes(folders[0], "list"))
        wait_until(lambda: notes(folders[0], "list") == notes(folders[1], "list"), "both the same")
        titles = notes(folders[0], "list").splitlines()
        assert titles[0] == "groceries"
        assert titles[1].startswith("groceries (by ")
        texts = {notes(folders[1], "show", title).strip() for title in titles}
        assert texts == {"milk", "eggs", "text"}
        notes(folders[1], "delete", titles[1])  # while `sync` runs there
        wait_until(lambda: titles[1] not in notes(folders[0], "list"), "the delete")
