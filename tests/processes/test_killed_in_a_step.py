"""A process that kills itself between two steps of a write: what was acknowledged is there, the rest whole or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.cluster import check_directory
from tests.processes.nodes import address, level, open_node

_WRITER = """
import os, signal, sys
import plyvel
import level_replicator as lrep

path, step, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0

def die(name):
    global seen
    seen += name == step
    if seen > at:
        os.kill(os.getpid(), signal.SIGKILL)

db = plyvel.DB(path + "/db", create_if_missing=True)
rs = plyvel.DB(path + "/rs", create_if_missing=True)
replica = lrep.install(db, rs, {"servers": {server: {} for server in sys.argv[4:]}}, _on_step=die)
if len(sys.argv) > 4:
    replica.wait_synced(60)
for number in range(1000):
    with replica.write_batch() as batch:
        for key in (b"a", b"b", b"c"):
            batch.put(key, b"%d" % number)
        batch.delete(b"gone") if number % 2 else batch.put(b"gone", b"%d" % number)
    print(number, flush=True)
"""


def _run(path: Path, step: str, at: int, *servers: str) -> list[int]:
    path.mkdir()
    command = [sys.executable, "-c", _WRITER, os.fspath(path), step, str(at), *servers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("at", [0, 1, 20])
@pytest.mark.parametrize("step", ["before rs", "between rs and db", "after db"])
def test_while_writing(tmp_path: Path, step: str, at: int) -> None:
    acknowledged = _run(tmp_path / "a", step, at)
    with open_node(tmp_path / "a") as a, open_node(tmp_path / "b", address(a)) as b:
        values = {a.get(key) for key in (b"a", b"b", b"c")}
        assert len(values) == 1, "half of a batch"
        (value,) = values
        last = -1 if value is None else int(value)
        assert last == len(acknowledged) - (step == "before rs"), "the batch that it died in, or the one before"
        assert last >= (acknowledged[-1] if acknowledged else -1)
        assert (a.get(b"gone") is not None) == (last >= 0 and last % 2 == 0)
        level(a, b)
    assert check_directory(tmp_path / "a") == check_directory(tmp_path / "b")


@pytest.mark.parametrize("step", ["apply: before rs", "apply: between rs and db", "apply: after db"])
def test_while_applying_what_a_peer_sent(tmp_path: Path, step: str) -> None:
    with open_node(tmp_path / "b") as b:
        for number in range(5_000):
            b.put(b"%d" % number, b"v" * 100)
        _run(tmp_path / "a", step, 2, address(b))
        with open_node(tmp_path / "a", address(b)) as a:
            level(a, b)
            assert len(dict(a)) == 5_000
    assert check_directory(tmp_path / "a") == check_directory(tmp_path / "b")
