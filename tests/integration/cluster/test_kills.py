"""Kills at every step: acknowledged writes are kept and replicate, and others are whole or absent."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from level_replicator.testing.process import ProcessEnded
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.process import ClusterNode

Make = Callable[..., LocalNode]
Start = Callable[..., ClusterNode]
WRITES = 5


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Start]:
    made: list[ClusterNode] = []

    def make(name: str, servers: list[str]) -> ClusterNode:
        one = ClusterNode(tmp_path / name, servers)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.kill()


@pytest.mark.parametrize("let_pass", [0, WRITES - 1])
@pytest.mark.parametrize("step", ["before rs", "between rs and db", "after db"])
def test_killed_within_a_write(step: str, let_pass: int, master: Make, process: Start) -> None:
    peer = master("peer")
    victim = process("victim", [])
    victim.stop()
    victim.start(kill_at=[step, let_pass])
    acknowledged = 0
    with contextlib.suppress(ProcessEnded):
        for serial in range(WRITES):
            victim.write(*[(b"%d/%d" % (serial, part), b"%d" % serial) for part in range(3)], (b"gone", None))
            acknowledged += 1
    assert victim.died() == -signal.SIGKILL
    assert acknowledged == let_pass
    victim.servers = [peer.address]
    victim.start()
    wait_in_sync(peer, victim)
    victim.stop()
    peer.close()
    db = check_equal([peer.folder, victim.folder])[0].db
    whole = acknowledged if step == "before rs" else acknowledged + 1
    assert db == {b"%d/%d" % (serial, part): b"%d" % serial for serial in range(whole) for part in range(3)}


@pytest.mark.parametrize("let_pass", [0, 2])
@pytest.mark.parametrize("step", ["apply: before rs", "apply: between rs and db", "apply: after db"])
def test_killed_while_it_applies(step: str, let_pass: int, master: Make, process: Start) -> None:
    peer = master("peer")
    victim = process("victim", [peer.address])
    victim.write((b"own", b"1"))
    wait_in_sync(peer, victim)
    victim.stop()
    for serial in range(4_000):  # several frames
        peer.put(b"%d" % (serial % 3_500), b"%d" % serial)
    peer.replica.delete(b"own")
    with contextlib.suppress(ProcessEnded):
        victim.start(kill_at=[step, let_pass])
    assert victim.died() == -signal.SIGKILL
    victim.start()
    wait_in_sync(peer, victim)
    victim.stop()
    peer.close()
    assert len(check_equal([peer.folder, victim.folder])[0].db) == 3_500


@pytest.mark.parametrize("step", ["origin change: announced", "origin change: a batch taken over"])
def test_killed_while_it_takes_a_new_origin(step: str, master: Make, process: Start) -> None:
    """The copy of a killed node takes over, under a new origin, the writes of the old origin since the last open."""
    original = process("original", [])
    original.write(*[(b"%d" % serial, b"value") for serial in range(2_500)])
    original.kill()
    copied = original.folder.with_name("copied")
    shutil.copytree(original.folder, copied)
    original.folder = copied
    with pytest.raises(ProcessEnded):
        original.start(kill_at=[step, 0])
    assert original.died() == -signal.SIGKILL
    peer = master("peer")
    original.servers = [peer.address]
    original.start()
    wait_in_sync(peer, original)
    original.stop()
    peer.close()
    db = check_equal([peer.folder, copied])[0].db
    assert db == {b"%d" % serial: b"value" for serial in range(2_500)}
