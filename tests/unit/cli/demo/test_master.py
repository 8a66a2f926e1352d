"""A node of the demo: acknowledged work survives SIGKILL, reports count over all runs, and a failure says why."""

from collections.abc import Iterator
from pathlib import Path

import plyvel
import pytest

from level_replicator.cli.demo.master import Master
from level_replicator.testing.process import ProcessEnded


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    made = Master("node 1", tmp_path / "node1", [])
    yield made
    made.kill()


def contents(master: Master) -> dict[bytes, bytes]:
    with plyvel.DB(str(master.database)) as db:
        return dict(db.iterator())


def test_acknowledged_work_survives_a_kill(master: Master) -> None:
    assert master.state == "not started"
    master.start()
    assert master.state == "running"
    assert master.status is not None
    master.send([(b"a", b"1"), (b"b", b"2")], atomic=True)
    master.send([(b"b", None), (b"c", b"\0\xff")], atomic=False)
    master.await_answers()
    master.kill()
    assert master.state == "killed"
    master.start()
    assert master.runs == 2
    master.send([(b"d", b"4")], atomic=False)
    master.await_answers()
    master.stop()
    master.kill()
    assert master.state == "stopped"
    assert contents(master) == {b"a": b"1", b"c": b"\0\xff", b"d": b"4"}


def test_a_node_that_ends_unasked_says_how(master: Master) -> None:
    master.start()
    master.process.kill()
    with pytest.raises(ProcessEnded, match="by SIGKILL"):
        master.send([(b"a", b"1")], atomic=False)


def test_received_entries_count_over_all_runs(master: Master, tmp_path: Path) -> None:
    other = Master("node 2", tmp_path / "node2", [])
    try:
        other.start()
        other.write((b"a", b"1"))
        master.servers = [other.address]
        master.start()
        master.process.wait_for(lambda: master.received[0] == 1, "receive an entry", 60)
        master.kill()
        other.write((b"b", b"2"))
        master.start()
        master.process.wait_for(lambda: master.received[0] == 2, "receive another entry", 60)
    finally:
        other.kill()
