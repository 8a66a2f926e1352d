"""Every topology, all nodes writing at once, while nodes stop, are killed and come back, and links are cut."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.harness.compare import check_equal
from tests.harness.master import wait_level
from tests.harness.process import Process
from tests.harness.relay import Relay
from tests.harness.waiting import wait_until
from tests.harness.workload import own_key
from tests.integration.cluster.topology import ALL, Link, nodes_of

FAULTS = 8
STEPS_BETWEEN_FAULTS = 40


class Cluster:
    """Processes, and a relay for each link, which leads to wherever its target listens now."""

    def __init__(self, folder: Path, links: list[Link], seed: int) -> None:
        self.links = links
        self.seed = seed
        self.relays = [Relay() for _ in links]
        count = nodes_of(links)
        self.nodes: list[Process] = []
        for node in range(count):
            servers = [relay.address for relay, (dialler, _) in zip(self.relays, links, strict=True) if dialler == node]
            self.nodes.append(Process(folder / str(node), servers))
        self._lead()

    def run(self, node: int) -> None:
        process = self.nodes[node]
        process.ask("run", seed=self.seed, node=node, first=process.acked + 1)

    def restart(self, node: int) -> None:
        self.nodes[node].start()
        self._lead()

    def _lead(self) -> None:
        for relay, (_, target) in zip(self.relays, self.links, strict=True):
            relay.target_port = self.nodes[target].port

    def wait_written(self, node: int, more: int) -> None:
        process = self.nodes[node]
        goal = process.acked + more
        wait_until(lambda: process.acked >= goal, f"node {node} writes")

    def wait_level(self) -> None:
        wait_level(*self.nodes)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        for relay in self.relays:
            relay.close()


@pytest.fixture(params=sorted(ALL))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, ALL[request.param], seed=1)
    yield cluster
    cluster.close()


def test_all_end_up_the_same(cluster: Cluster) -> None:
    random = Random(cluster.seed)
    for node in range(len(cluster.nodes)):
        cluster.run(node)
    for fault in range(FAULTS):
        victim = random.randrange(len(cluster.nodes))
        relay = random.choice(cluster.relays)
        cluster.wait_written(victim, random.randrange(1, STEPS_BETWEEN_FAULTS))
        match fault % 4:
            case 0 | 2:
                cluster.nodes[victim].kill()
                others = [node for node in range(len(cluster.nodes)) if node != victim]
                cluster.wait_written(random.choice(others), STEPS_BETWEEN_FAULTS)
                cluster.restart(victim)
                cluster.run(victim)
            case 1:
                relay.cut()
                cluster.wait_written(victim, STEPS_BETWEEN_FAULTS)
                relay.heal()
            case 3:
                cluster.nodes[victim].stop()
                cluster.restart(victim)
                cluster.run(victim)
    for process in cluster.nodes:
        process.ask("pause")
    cluster.wait_level()
    for process in cluster.nodes:
        process.stop()
    contents = check_equal([process.folder for process in cluster.nodes])
    for number, process in enumerate(cluster.nodes):
        assert process.acked > 0
        lost = [serial for serial in range(process.acked + 1) if own_key(number, serial) not in contents[0].db]
        assert not lost
