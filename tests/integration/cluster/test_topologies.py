"""All nodes of every topology write at once, while nodes are stopped, killed and started, and links are cut."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.harness.compare import check_equal
from tests.harness.local_node import wait_in_sync
from tests.harness.network import Cluster
from tests.harness.process import ClusterNode
from tests.harness.workload import own_key
from tests.integration.cluster.topology import ALL

pytestmark = pytest.mark.slow

SEED = 1
FAULTS = 8
STEPS_BETWEEN_FAULTS = 40


@pytest.fixture(params=sorted(ALL))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster[ClusterNode]]:
    def make(number: int, servers: list[str]) -> ClusterNode:
        return ClusterNode(tmp_path / str(number), servers)

    with contextlib.closing(Cluster(ALL[request.param], make)) as cluster:
        cluster.start_all()
        yield cluster


def test_all_nodes_end_up_equal(cluster: Cluster[ClusterNode]) -> None:
    random = Random(SEED)
    nodes = cluster.nodes
    for number, node in enumerate(nodes):
        node.run(SEED, number)
    for fault in range(FAULTS):
        victim = random.randrange(len(nodes))
        relay = random.choice(cluster.relays)
        nodes[victim].wait_acked(random.randrange(1, STEPS_BETWEEN_FAULTS))
        match fault % 4:
            case 0 | 2:
                cluster.kill(victim)
                others = [node for number, node in enumerate(nodes) if number != victim]
                random.choice(others).wait_acked(STEPS_BETWEEN_FAULTS)
                cluster.start(victim)
                nodes[victim].run(SEED, victim)
            case 1:
                relay.cut()
                nodes[victim].wait_acked(STEPS_BETWEEN_FAULTS)
                relay.heal()
            case 3:
                nodes[victim].stop()
                cluster.start(victim)
                nodes[victim].run(SEED, victim)
    for node in nodes:
        node.call("pause")
    wait_in_sync(*nodes)
    cluster.stop()
    contents = check_equal([node.folder for node in nodes])
    for number, node in enumerate(nodes):
        assert node.acked > 0
        lost = [serial for serial in range(node.acked + 1) if own_key(number, serial) not in contents[0].db]
        assert not lost
