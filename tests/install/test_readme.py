"""What the README shows, run as it stands but for its ports and directories."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import plyvel

import level_replicator as lrep
from level_replicator.edges.demo.ports import free_ports

README = Path(__file__).parents[2] / "README.md"


def _blocks(tmp_path: Path) -> list[str]:
    text = README.read_text(encoding="utf-8")
    ports = free_ports(3)
    for port, free in zip((8000, 8001, 8002), ports, strict=True):
        text = text.replace(str(port), str(free))
    return [block.replace("/tmp/", f"{tmp_path}/") for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


def test_the_first_example(tmp_path: Path) -> None:
    code = _blocks(tmp_path)[0] + "print(replica.get(b'some-key'))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'some-value'\n", "")


def test_three_servers(tmp_path: Path) -> None:
    (code,) = (block for block in _blocks(tmp_path) if "ports[me]" in block)
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


def test_adopting(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with plyvel.DB(str(tmp_path / "notes" / "db"), create_if_missing=True) as db:
        for number in range(10):
            db.put(b"%d" % number, b"from before")
    (code,) = (block for block in _blocks(tmp_path) if "adopt=True" in block)
    code = "import level_replicator as lrep\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["10", "10"], "")


def test_the_settings_of_secure_peers(tmp_path: Path) -> None:
    """(The three secure servers run in tests/secure/test_namespaces.py.)"""
    (code,) = (block for block in _blocks(tmp_path) if "sha256:…" in block)
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


def test_the_changes_feed(tmp_path: Path) -> None:
    (code,) = (block for block in _blocks(tmp_path) if "replica.changes(" in block)
    code = "import level_replicator as lrep\n" + code + "print(len(cursor) > 5)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("b'order 1' b'3 apples' ")
    assert done.stdout.endswith("True\n")


def test_from_other_processes(tmp_path: Path) -> None:
    blocks = [
        block
        for block in _blocks(tmp_path)
        if any(word in block for word in ("lrep.connect(", "share=True", "lrep.aio.wrap"))
    ]
    told = []
    for code in blocks:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        told.append(done.stdout)
    assert told == ["[(b'a', b'1')] 1\n", "True b'some-value'\n", "b'some-key' b'some-value'\n"]
