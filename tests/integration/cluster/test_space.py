"""Truncated logs, dropped tombstones, nodes that were away: in real processes, on real disks and sockets."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from level_replicator.testing.process import ProcessEnded
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.process import ClusterNode
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
Start = Callable[..., ClusterNode]
VALUE_BYTES = 1_000
KEYS = 4_000


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Start]:
    made: list[ClusterNode] = []

    def make(name: str, servers: list[str], **config: Any) -> ClusterNode:
        one = ClusterNode(tmp_path / name, servers, **config)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.kill()


def fill(node: ClusterNode, numbers: range, size: int = VALUE_BYTES) -> None:
    """Write values that LevelDB cannot compress."""
    for first in range(numbers.start, numbers.stop, 500):
        run = range(first, min(first + 500, numbers.stop))
        node.write(*[(b"key%06d" % number, Random(number).randbytes(size)) for number in run])


def disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def received(node: ClusterNode) -> int:
    return sum(peer["bytes_in"] for peer in node.call("status")["peers"])


def dropped_tombstones(node: ClusterNode) -> bool:
    return bool(node.call("status")["horizon"])


def test_a_node_comes_back_after_truncation_and_dropped_tombstones(process: Start) -> None:
    """It is in sync again, keeps the writes that it made alone, and brings no deleted key back."""
    a = process("a", [], tombstone_ttl=0.5)
    b = process("b", [f"127.0.0.1:{a.port}"], tombstone_ttl=0.5)
    away = process("away", [f"127.0.0.1:{a.port}"])
    fill(a, range(KEYS))
    wait_in_sync(a, b, away)
    away.stop()
    deleted = [(b"key%06d" % number, None) for number in range(0, KEYS, 40)]
    a.write(*deleted)
    b.write((b"of b", b"1"), (b"key000001", b"overwritten"))
    wait_in_sync(a, b)
    wait_until(lambda: dropped_tombstones(a) and dropped_tombstones(b), "tombstones leave")
    before = disk_bytes(a.folder / "rs")
    assert a.call("truncate")
    b.call("truncate")
    after = disk_bytes(a.folder / "rs")
    assert before > KEYS * VALUE_BYTES
    assert after < before / 4, f"the log had {before} bytes and still has {after}"
    away.servers = []
    away.start()
    away.write((b"unseen", b"kept"), (b"key000003", b"of away"))
    away.stop()
    away.servers = [f"127.0.0.1:{a.port}"]
    away.start()
    wait_in_sync(a, b, away)
    wire = received(away)
    for node in (a, b, away):
        node.stop()
    contents = check_equal([node.folder for node in (a, b, away)])[0].db
    assert contents[b"unseen"] == b"kept"
    assert contents[b"key000003"] == b"of away"
    assert contents[b"key000001"] == b"overwritten"
    assert not any(key in contents for key, _ in deleted)
    assert len(contents) == KEYS - len(deleted) + 2
    assert wire < KEYS * 25, f"{wire} bytes for what differs, of {KEYS * VALUE_BYTES} that are stored"


def test_a_new_node_is_bulk_loaded_from_a_truncated_log(process: Start) -> None:
    a = process("a", [])
    fill(a, range(KEYS))
    a.call("truncate")
    assert a.call("status")["entries"] == 0
    new = process("new", [f"127.0.0.1:{a.port}"])
    wait_in_sync(a, new)
    assert received(new) < KEYS * (VALUE_BYTES + 100)
    a.write((b"live", b"again"))
    wait_in_sync(a, new)
    a.stop()
    new.stop()
    assert len(check_equal([a.folder, new.folder])[0].db) == KEYS + 1


@pytest.mark.parametrize("step", ["entries: between rs and db", "resolve: between rs and db"])
def test_killed_during_a_reconciliation(step: str, process: Start) -> None:
    a = process("a", [], tombstone_ttl=0.3)
    victim = process("victim", [f"127.0.0.1:{a.port}"])
    fill(a, range(1_000), 4)
    wait_in_sync(a, victim)
    victim.stop()
    a.write(*[(b"key%06d" % number, None) for number in range(0, 1_000, 3)], (b"new", b"1"))
    wait_until(lambda: dropped_tombstones(a), "tombstones leave")
    with contextlib.suppress(ProcessEnded):
        victim.start(kill_at=[step, 0])
    assert victim.died() == -signal.SIGKILL
    victim.start()
    wait_in_sync(a, victim)
    a.stop()
    victim.stop()
    contents = check_equal([a.folder, victim.folder])[0].db
    assert contents.keys() == {b"new", *(b"key%06d" % number for number in range(1_000) if number % 3)}


def test_the_log_stays_within_its_bounds(process: Start) -> None:
    """The log is truncated in the background while a peer pulls."""
    a = process("a", [], log_max_bytes=300_000)
    b = process("b", [f"127.0.0.1:{a.port}"], log_max_age=0.5)
    for _ in range(8):
        fill(a, range(1_000))
    wait_in_sync(a, b)
    wait_until(lambda: b.call("status")["entries"] == 0, "old entries leave the log")
    wait_until(lambda: a.call("status")["log_bytes"] <= 300_000, "the log shrinks")
    a.write((b"after", b"1"))
    wait_in_sync(a, b)
    a.stop()
    b.stop()
    assert len(check_equal([a.folder, b.folder])[0].db) == 1_001


def test_a_reader_that_falls_behind_the_floor_reconciles(master: Make) -> None:
    """It is connected, and live, when the log is truncated between two of its rounds."""
    a = master("a")
    b = master("b", [a.address])
    wait_in_sync(a, b)
    for round_ in range(20):
        with a.replica.write_batch() as batch:
            for number in range(300):
                batch.put(b"%d" % number, b"%d" % round_)
        a.replica.truncate()
    wait_in_sync(a, b)
    assert a.contents() == b.contents()
    assert set(a.contents().values()) == {b"19"}
