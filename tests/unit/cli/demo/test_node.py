"""A node of the demo: acknowledged work survives SIGKILL, reports count over all runs, and a failure says why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.cli.demo.node import DemoNode
from level_replicator.testing.process import ProcessEnded


@pytest.fixture
def node(tmp_path: Path) -> Iterator[DemoNode]:
    made = DemoNode("node 1", tmp_path / "node1", [])
    yield made
    made.kill()


def contents(node: DemoNode) -> dict[bytes, bytes]:
    with plyvel.DB(str(node.database)) as db:
        return dict(db.iterator())


def test_acknowledged_work_survives_a_kill(node: DemoNode) -> None:
    assert node.state == "not started"
    node.start()
    assert node.state == "running"
    assert node.status is not None
    node.send([(b"a", b"1"), (b"b", b"2")], atomic=True)
    node.send([(b"b", None), (b"c", b"\0\xff")], atomic=False)
    node.await_answers()
    node.kill()
    assert node.state == "killed"
    node.start()
    assert node.runs == 2
    node.send([(b"d", b"4")], atomic=False)
    node.await_answers()
    node.stop()
    node.kill()
    assert node.state == "stopped"
    assert contents(node) == {b"a": b"1", b"c": b"\0\xff", b"d": b"4"}


def test_a_node_that_ends_unasked_says_how(node: DemoNode) -> None:
    node.start()
    node.process.kill()
    with pytest.raises(ProcessEnded, match="by SIGKILL"):
        node.send([(b"a", b"1")], atomic=False)


def test_received_entries_count_over_all_runs(node: DemoNode, tmp_path: Path) -> None:
    other = DemoNode("node 2", tmp_path / "node2", [])
    try:
        other.start()
        other.write((b"a", b"1"))
        node.servers = [other.address]
        node.start()
        node.process.wait_for(lambda: node.received[0] == 1, "receive an entry", 60)
        node.kill()
        other.write((b"b", b"2"))
        node.start()
        node.process.wait_for(lambda: node.received[0] == 2, "receive another entry", 60)
    finally:
        other.kill()
