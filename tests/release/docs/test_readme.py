"""The code and the commands of the README run as they are, except for ports and directories."""

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until

README = Path(__file__).parents[3] / "README.md"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def text(tmp_path: Path, free_ports: FreePorts) -> str:
    text = README.read_text(encoding="utf-8")
    ports = free_ports(3)
    for port, free in zip((8000, 8001, 8002), ports, strict=True):
        text = text.replace(str(port), str(free))
    return text.replace("/tmp/", f"{tmp_path}/")


@pytest.fixture
def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_first_example(blocks: list[str]) -> None:
    code = blocks[0] + "print(replica.get(b'some-key'))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'some-value'\n", "")


def test_three_servers(tmp_path: Path, blocks: list[str]) -> None:
    (code,) = (block for block in blocks if "ports[me]" in block)
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(me)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for me in range(3)
    ]
    for server in servers:
        assert server.stdout is not None
        while "enter to stop" not in server.stdout.readline():
            assert server.poll() is None
    for server in servers:
        server.communicate("\n", timeout=60)
        assert server.returncode == 0
    contents = []
    for me in range(3):
        db = plyvel.DB(str(tmp_path / f"lrep-{me}" / "db"))
        contents.append(dict(db))
        db.close()
    assert {b"hello from 0", b"hello from 1", b"hello from 2"} == set().union(*contents)


def test_three_secure_servers_on_one_machine(tmp_path: Path, text: str, blocks: list[str]) -> None:
    """(On three machines they run in tests/integration/security/test_namespaces.py.)"""
    for line in re.findall(r"^    lrep (keygen .*)$", text, re.MULTILINE):
        command, _, trusted = line.partition(" >> ")
        with (tmp_path / trusted).open("a") as file:
            subprocess.run(
                [PROGRAMS / "lrep", *shlex.split(command)], cwd=tmp_path, stdout=file, check=True, timeout=60
            )
    (code,) = (block for block in blocks if "trusted.txt" in block)
    (tmp_path / "secure.py").write_text(code, "utf-8")
    commands = re.findall(r"^    python (secure\.py .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    servers = [
        subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    for server in servers:
        assert server.stdout is not None
        assert "enter to show" in server.stdout.readline()
    for number in range(3):
        with lrep.connect(tmp_path / f"node-{number}") as node:
            wait_until(lambda node=node: len(list(node.iterator())) == 3, "all three writes")
    shown = [server.communicate("\n", timeout=60)[0] for server in servers]
    assert [server.returncode for server in servers] == [0, 0, 0]
    everything = str({b"hello from node-%d" % number: b"world" for number in range(3)})
    assert [out.splitlines()[0] for out in shown] == [everything] * 3


def test_its_command_lines(tmp_path: Path, text: str) -> None:
    """All of them, in order, with the three servers running."""
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^    (lrep .*)$", text, re.MULTILINE)]
    serve = [line for line in lines if line[1] == "serve"]
    others = [line for line in lines if line[1] not in ("serve", "keygen")]
    assert (len(serve), [line[1] for line in others]) == (3, ["put", "scan", "status", "doctor"])
    printed = ""
    with ExitStack() as stack:
        for program, *arguments in serve:
            server = subprocess.Popen(
                [PROGRAMS / program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(server)
            stack.callback(server.terminate)
            assert server.stdout is not None
            assert server.stdout.readline().startswith("ready")
        with lrep.connect(tmp_path / "lrep-0") as node:
            wait_until(lambda: {peer["state"] for peer in node.status()["peers"]} == {"live"}, "all live")
        for program, *arguments in others:
            done = subprocess.run(
                [PROGRAMS / program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            printed += done.stdout
            if arguments[0] == "put":
                with lrep.connect(tmp_path / "lrep-1") as other:
                    wait_until(lambda other=other: other.get(b"some-key") is not None, "it on the second server")
    assert "some-key\tsome-value" in printed


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_its_pictures_exist() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(pictures) == 3
    assert [each for each in pictures if not (README.parent / each).is_file()] == []
