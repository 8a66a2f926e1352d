"""Nodes that are linked by relays: they start together, find each other again, and leave nothing behind."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from level_replicator.testing.network import Network
from level_replicator.testing.node_process import NodeProcess
from level_replicator.testing.process import ProcessEnded, RequestFailed
from tests.harness.local_node import wait_in_sync

PAIR = [(0, 1), (1, 0)]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network[NodeProcess]]:
    def make(number: int, servers: list[str]) -> NodeProcess:
        return NodeProcess(tmp_path / str(number), servers, heartbeat=0.1)

    with closing(Network(PAIR, make)) as network:
        network.start_all()
        yield network


def test_nodes_replicate_through_relays_after_cuts_and_kills(network: Network[NodeProcess]) -> None:
    one, other = network.nodes
    one.write((b"a", b"1"))
    wait_in_sync(one, other)
    network.cut(0, 1)
    assert all(relay.is_cut for relay in network.relays)
    one.write((b"b", b"\0\xff"), (b"a", None))
    network.heal(0, 1)
    network.kill(1)
    assert network.up == {0}
    network.heal_all()
    assert network.up == {0, 1}
    wait_in_sync(one, other)
    assert one.contents() == other.contents() == {b"b": b"\0\xff"}
    network.stop()
    assert network.up == set()


def test_close_leaves_no_process(network: Network[NodeProcess]) -> None:
    network.close()
    network.close()
    assert all(node.process.returncode is not None for node in network.nodes)
    with pytest.raises(ProcessEnded):
        network.nodes[0].call("status")


def test_a_node_that_cannot_start_says_why_and_ends_the_others(tmp_path: Path) -> None:
    def make(number: int, servers: list[str]) -> NodeProcess:
        return NodeProcess(tmp_path / str(number), servers, heartbeat=0.1 if number == 0 else -1)

    network = Network(PAIR, make)
    with pytest.raises(RequestFailed, match=r"node 1 could not open: ConfigError: .*heartbeat"):
        network.start_all()
    assert all(node.process.returncode is not None for node in network.nodes)
