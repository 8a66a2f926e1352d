"""What the README shows, run as it stands but for its ports and directories."""

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import plyvel
import pytest

import level_replicator as lrep
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until

README = Path(__file__).parents[3] / "README.md"


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


def test_adopting(tmp_path: Path, blocks: list[str]) -> None:
    (tmp_path / "notes").mkdir()
    with plyvel.DB(str(tmp_path / "notes" / "db"), create_if_missing=True) as db:
        for number in range(10):
            db.put(b"%d" % number, b"from before")
    (code,) = (block for block in blocks if "adopt=True" in block)
    code = "import level_replicator as lrep\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["10", "10"], "")


def test_the_settings_of_secure_peers(tmp_path: Path, blocks: list[str]) -> None:
    """(The three secure servers run in tests/integration/security/test_namespaces.py.)"""
    (code,) = (block for block in blocks if "sha256:…" in block)
    ours = lrep.generate_pems()
    code = code.replace("sha256:…", lrep.fingerprint(ours)).replace('"pems.json"', repr(ours))
    code = re.sub(r"10\.0\.0\.2:\d+", "127.0.0.1:1", code)
    theirs = lrep.generate_pems()
    names: dict[str, Any] = {"my_users": {lrep.fingerprint(theirs)}}
    exec(compile(code, "README.md", "exec"), names)
    with lrep.open(tmp_path / "a", names["config"]) as a:
        assert a.address is not None
        server = {f"127.0.0.1:{a.address[1]}": {"fingerprint": lrep.fingerprint(ours)}}
        with lrep.open(tmp_path / "b", {"servers": server, "pems": theirs}) as b:
            a.put(b"key", b"value")
            assert b.wait_synced(60)
            assert dict(b) == {b"key": b"value"}


def test_the_changes_feed(blocks: list[str]) -> None:
    (code,) = (block for block in blocks if "replica.changes(" in block)
    code = "import level_replicator as lrep\n" + code + "print(len(cursor) > 5)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("b'order 1' b'3 apples' ")
    assert done.stdout.endswith("True\n")


def test_from_other_processes(blocks: list[str]) -> None:
    programs = [
        block for block in blocks if any(word in block for word in ("lrep.connect(", "share=True", "lrep.aio.wrap"))
    ]
    told = []
    for code in programs:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        told.append(done.stdout)
    assert told == ["[(b'a', b'1')] 1\n", "True b'some-value'\n", "b'some-key' b'some-value'\n"]


def test_its_command_lines(tmp_path: Path, text: str) -> None:
    """All of them, in order, with the three servers running."""
    for name in ("notes/db", "plain"):
        (tmp_path / name).mkdir(parents=True)
        with plyvel.DB(str(tmp_path / name), create_if_missing=True) as db:
            db.put(b"key", b"from before")
    text = text.replace(" WHERE", f" {tmp_path}/lrep-0").replace(" COPY", " copied").replace(" DIR", " put")
    lines = [
        shlex.split(line, comments=True)
        for line in re.findall(r"^    ((?:lrep|level-replicator) .*)$", text, re.MULTILINE)
    ]
    serve = next(line for line in lines if line[1] == "serve")
    lines.remove(serve)
    assert {line[1] for line in lines} == {
        *("put", "scan", "status", "log", "doctor", "backup", "keygen", "adopt", "verify", "restore")
    }
    ports = [server.rpartition(":")[2] for server in serve if server.startswith("127.0.0.1:")]
    others = [["lrep", "serve", f"{tmp_path}/lrep-{me}", "--port", port] for me, port in enumerate(ports, 1)]
    programs = Path(sys.executable).parent
    printed = ""
    with ExitStack() as stack:
        for program, *arguments in [*others, serve]:
            server = subprocess.Popen(
                [programs / program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(server)
            stack.callback(server.terminate)
            assert server.stdout is not None
            assert server.stdout.readline().startswith("ready")
        with lrep.connect(tmp_path / "lrep-0") as node:
            wait_until(lambda: {peer["state"] for peer in node.status()["peers"]} == {"live"}, "all live")
        for program, *arguments in lines:
            done = subprocess.run(
                [programs / program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            printed += done.stdout
            if arguments[0] == "put":
                with lrep.connect(f"127.0.0.1:{ports[0]}") as other:
                    wait_until(lambda other=other: other.get(b"some-key") is not None, "it on the second server")
    assert "some-key\tsome-value" in printed
    assert printed.count("1 keys adopted") == 2
