"""The site builds without a warning, and all that its pages show runs, in order, as it stands but for its ports."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import level_replicator as lrep
from tests.harness.ports import FreePorts

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [path for path in sorted(DOCS.glob("*.md")) if path.name != "commands.md"]
PYTHON, CONSOLE = "python", "console"
SAYS = {
    "tutorial": ["b'tree' b'oak'", "b'oak'", "rose", "b'flower': b'dahlia' stays, b'tulip' goes", "b'moss': b'green'"],
    "howto": ["True", "b'value'", "100", "{b'a': b'1'}", "they are in sync"],
    "coming-from": ["b'value'", '{"text": "hello"}'],
}
"""What a page says that its programs print."""


def test_it_builds(tmp_path: Path) -> None:
    for name in ("docs", "src", "packaging", "tests/conformance/protocol/transcripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    commands = (tmp_path / "site" / "commands.html").read_text("utf-8")
    assert "level-replicator doctor" in commands
    api = (tmp_path / "site" / "api.html").read_text("utf-8")
    assert "level_replicator.Replica.wait_synced" in api


def blocks(page: Path, ports: list[int]) -> list[tuple[str, str]]:
    text = page.read_text("utf-8")
    for port, free in zip((8000, 8001), ports, strict=True):
        text = text.replace(f":{port}", f":{free}").replace(f"--port {port}", f"--port {free}")
    return re.findall(rf"```({PYTHON}|{CONSOLE})\n(.*?)```", text, re.DOTALL)


@contextmanager
def pusher(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("ready"), server.communicate()[1]
        yield
    finally:
        server.terminate()
        server.communicate(timeout=60)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_shows_runs(page: Path, tmp_path: Path, free_ports: FreePorts) -> None:
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    printed = ""
    with ExitStack() as stack:
        for kind, code in blocks(page, free_ports(2)):
            commands = [[sys.executable, "-c", code]]
            if kind == CONSOLE:
                commands = [shlex.split(line[2:]) for line in code.splitlines() if line.startswith("$ ")]
            for command in commands:
                if command[:2] == ["pip", "install"]:
                    continue  # tests/release/packaging
                if command[-1] == "&":
                    stack.enter_context(pusher(command[:-1], environment, tmp_path))
                    continue
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                printed += done.stdout
    for words in SAYS.get(page.stem, []):
        assert words in printed, printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_it_shows_are_taken(page: Path, tmp_path: Path, free_ports: FreePorts) -> None:
    for text in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for port, free in zip(("8000", "9464"), free_ports(2), strict=True):
            text = re.sub(rf"(^port = |:){port}\b(?=\n|\"\n)", rf"\g<1>{free}", text, flags=re.MULTILINE)
        (tmp_path / "node.toml").write_text(text.replace("0.0.0.0", "127.0.0.1"), "utf-8")
        pems = lrep.generate_pems()
        (tmp_path / "pems.json").write_text(json.dumps(pems), "utf-8")
        (tmp_path / "trusted.txt").write_text(lrep.fingerprint(pems) + "\n", "utf-8")
        command = [sys.executable, "-m", "level_replicator.cli.main", "serve", "node", "--config", "node.toml"]
        with pusher(command, dict(os.environ), tmp_path):
            pass


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    named = set(index[index.index("{toctree}") :].split())
    assert {path.stem for path in PAGES} - {"index"} <= named
