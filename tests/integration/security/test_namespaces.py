"""The README's secure servers on three machines: each runs in a network namespace of its own.

Needs root and iproute2, which .ci/run sees to."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from level_replicator.cli import main as cli

README = Path(__file__).parents[3] / "README.md"
ADDRESSES = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _may_make_namespaces() -> bool:
    if shutil.which("ip") is None:
        return False
    name = f"lrep{os.getpid()}try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    _ip("netns", "del", name)
    return True


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Create three namespaces with an address each, on one switch."""
    names = [f"lrep{os.getpid()}n{place}" for place in range(3)]
    switch = f"lrep{os.getpid()}sw"
    made = []
    try:
        for name in (switch, *names):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for place, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{place}", "netns", switch)
            _ip("-n", switch, "link", "set", f"port{place}", "master", "br0", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        yield names
    finally:
        for name in made:
            _ip("netns", "del", name)


def _keygen(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["keygen", str(path)]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.skipif(not _may_make_namespaces(), reason="no root, or no iproute2: network namespaces cannot be made")
def test_two_nodes_replicate_and_a_third_with_an_unknown_key_receives_nothing(
    namespaces: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "trusted.txt" in block)
    folders = [tmp_path / address for address in ADDRESSES]
    fingerprints = []
    for folder in folders:
        folder.mkdir()
        fingerprints.append(_keygen(folder / f"{folder.name}.json", capsys))
    for folder in folders:
        (folder / "trusted.txt").write_text("\n".join(fingerprints))
    (folders[2] / f"{folders[2].name}.json").unlink()
    _keygen(folders[2] / f"{folders[2].name}.json", capsys)  # not the one whose fingerprint the others have
    servers = []
    for name, me, folder in zip(namespaces, ADDRESSES, folders, strict=True):
        others = [f"{address}:8000" for address in ADDRESSES if address != me]
        command = ["ip", "netns", "exec", name, sys.executable, "-c", code, me, f"{me}:8000", *others]
        servers.append(
            subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    for server in servers:
        assert server.stdout is not None
        assert "enter to show" in server.stdout.readline(), server.communicate()[1]
    # the third first: while the others are there to refuse it
    told = [server.communicate("\n", timeout=60) for server in reversed(servers)][::-1]
    assert [server.returncode for server in servers] == [0, 0, 0], told
    shown = [out.splitlines() for out, _ in told]
    first_two = str({b"hello from 10.77.0.1": b"world", b"hello from 10.77.0.2": b"world"})
    assert [lines[0] for lines in shown] == [first_two, first_two, str({b"hello from 10.77.0.3": b"world"})]
    assert any(re.fullmatch(r"10\.77\.0\.[12]:8000 live ", line) for line in shown[0] + shown[1])
    for address in ADDRESSES[:2]:
        assert any(
            re.fullmatch(rf"{re.escape(address)}:8000 \w+ the peer says: not accepted: .*", line) for line in shown[2]
        )
