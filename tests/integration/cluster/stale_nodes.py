"""Four masters whose memory of deletes is shorter than their absences. Real processes, real time.

`python -m tests.integration.cluster.stale_nodes --topology ring --runs 20` runs many in a row and prints each outcome.

Tombstones are dropped after TOMBSTONE_TTL_S and log entries after LOG_MAX_AGE_S, while nodes are killed or cut off for
several times as long: stale nodes are frequent. All nodes write all the time, each also to keys that only it writes.
When everything is healed and in sync, every node must hold for each single-author key what its author did last.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from random import Random

from level_replicator.testing.process import ProcessError
from tests.harness.compare import Contents, first_difference
from tests.harness.network import SHOWN_KEYS, Cluster, held_by_node
from tests.harness.process import ClusterNode
from tests.integration.cluster.authors import Author
from tests.integration.cluster.topology import CHAIN, MESH_OF_FOUR, RING, Link

TOPOLOGIES = {"chain": CHAIN, "ring": RING, "mesh": MESH_OF_FOUR}
TOMBSTONE_TTL_S = 2.0
LOG_MAX_AGE_S = 1.5
SECONDS = 25.0
DOWN_S = (0.3, 6.0)
"""How long a node is away, or a link is cut: from well below TOMBSTONE_TTL_S to well above it."""
LINK_UP_S = (0.2, 2.0)
"""How long a link is up between two cuts: shorter than it is down, so that news travels by detours, and late."""
NODE_UP_S = (3.0, 12.0)
BETWEEN_TRUNCATIONS_S = 4.0
PACE_S = 0.01
"""Between two writes of one node."""


@dataclass(frozen=True, order=True)
class Event:
    """What happens `at_s` seconds after the start to a node or to a link, which `number` names."""

    at_s: float
    kind: str  # kill, start, cut, heal, truncate
    number: int


def plan(random: Random, nodes: int, links: int, seconds: float) -> list[Event]:
    """Draw the faults of one run, in order of time. What is down at the end stays down until the run heals all."""
    events: list[Event] = []
    for link in range(links):
        events += _alternate(random, ("cut", "heal"), link, LINK_UP_S, seconds)
    for node in range(nodes):
        events += _alternate(random, ("kill", "start"), node, NODE_UP_S, seconds)
    for _ in range(int(seconds / BETWEEN_TRUNCATIONS_S)):
        events.append(Event(random.uniform(0, seconds), "truncate", random.randrange(nodes)))
    return sorted(events)


def _alternate(
    random: Random, kinds: tuple[str, str], number: int, up_s: tuple[float, float], seconds: float
) -> Iterator[Event]:
    """Draw when node or link `number` goes down (the first of `kinds`) and comes back (the second)."""
    at = 0.0
    for kind in cycle(kinds):
        at += random.uniform(*(up_s if kind == kinds[0] else DOWN_S))
        if at >= seconds:
            return
        yield Event(at, kind, number)


@dataclass
class Outcome:
    """`wrong`: what each single-author key that is not as its author left it should be, and what the nodes hold."""

    acknowledged: int = 0
    faults: int = 0
    wrong: list[str] = field(default_factory=list)
    unequal: str = ""

    @property
    def holds(self) -> bool:
        return not self.wrong and not self.unequal

    def __str__(self) -> str:
        equal = "nodes not equal" if self.unequal else "nodes equal"
        work = f"{self.acknowledged} acknowledged operations, {self.faults} faults"
        lines = [f"{len(self.wrong)} single-author keys wrong, {equal} ({work})", *self.wrong[:SHOWN_KEYS]]
        if len(self.wrong) > SHOWN_KEYS:
            lines.append(f"and {len(self.wrong) - SHOWN_KEYS} more keys")
        if self.unequal:
            lines.append(self.unequal)
        return "\n    ".join(lines)


class StaleNodes:
    """One run. Its faults come from `seed` alone; what they meet depends on the machine as well."""

    def __init__(self, folder: Path, links: list[Link], seed: int, seconds: float) -> None:
        self._seconds = seconds
        self._network: Cluster[ClusterNode] = Cluster(
            links, lambda number, servers: _node(folder / str(number), servers)
        )
        self._network.start_all()
        self._authors = [Author(seed, node) for node in range(len(self._network.nodes))]
        self._events = plan(Random(seed), len(self._authors), len(links), seconds)

    def run(self) -> Outcome:
        """Play the faults, heal everything, wait until all nodes are in sync, stop them and judge what they hold."""
        begun = time.monotonic()
        for author in self._authors:
            self._write(author)
        for event in self._events:
            time.sleep(max(0.0, begun + event.at_s - time.monotonic()))
            self._perform(event)
        time.sleep(max(0.0, begun + self._seconds - time.monotonic()))
        for node in self._network.up:
            error = self._network.nodes[node].call("pause")
            assert error is None, f"node {node} stopped writing: {error}"
            self._authors[node].ended(self._network.nodes[node].acked, killed=False)
        self._network.heal_all()
        self._network.wait_in_sync()
        self._network.stop()
        return self._judge()

    def close(self) -> None:
        self._network.close()

    def _perform(self, event: Event) -> None:
        network = self._network
        match event.kind:
            case "kill":
                network.kill(event.number)
                self._authors[event.number].ended(network.nodes[event.number].acked, killed=True)
            case "start":
                network.start(event.number)
                self._write(self._authors[event.number])
            case "cut":
                network.relays[event.number].cut()
            case "heal":
                network.relays[event.number].heal()
            case "truncate" if event.number in network.up:
                network.nodes[event.number].call("truncate")

    def _write(self, author: Author) -> None:
        order = {"seed": author.seed, "node": author.node, "first": author.first}
        self._network.nodes[author.node].call("run", workload="authors", pace_s=PACE_S, **order)

    def _judge(self) -> Outcome:
        outcome = Outcome(faults=sum(event.kind in ("kill", "cut", "truncate") for event in self._events))
        folders = [process.folder for process in self._network.nodes]
        contents = {node: Contents(folder).db for node, folder in enumerate(folders)}
        for author in self._authors:
            outcome.acknowledged += author.first - len(author.in_flight)
            for key, allowed in author.allowed().items():
                if any(each.get(key) not in allowed for each in contents.values()):
                    wanted = " or ".join(map(repr, allowed))
                    outcome.wrong.append(f"{key!r} must be {wanted}: {held_by_node(contents, key)}")
        outcome.unequal = first_difference(folders)
        return outcome


def _node(folder: Path, servers: list[str]) -> ClusterNode:
    return ClusterNode(folder, servers, tombstone_ttl=TOMBSTONE_TTL_S, log_max_age=LOG_MAX_AGE_S)


@contextlib.contextmanager
def stale_nodes(folder: Path, topology: str, seed: int, seconds: float = SECONDS) -> Iterator[StaleNodes]:
    run = StaleNodes(folder, TOPOLOGIES[topology], seed, seconds)
    try:
        yield run
    finally:
        run.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.cluster.stale_nodes", description=__doc__)
    parser.add_argument("--topology", choices=[*TOPOLOGIES, "all"], default="all", help="default: all, in turns")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each later run takes the next one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long faults and writes last in each run")
    options = parser.parse_args()
    topologies = list(TOPOLOGIES) if options.topology == "all" else [options.topology]
    failed = 0
    for number, seed in zip(range(options.runs), count(options.seed)):
        topology = topologies[number % len(topologies)]
        with tempfile.TemporaryDirectory() as folder, stale_nodes(Path(folder), topology, seed, options.seconds) as run:
            try:
                outcome: object = run.run()
                holds = isinstance(outcome, Outcome) and outcome.holds
            except (AssertionError, ProcessError) as error:
                outcome, holds = repr(error), False
        failed += not holds
        print(f"{topology}, seed {seed}: {'holds' if holds else 'FAILS'}: {outcome}", flush=True)
    print(f"{options.runs - failed} of {options.runs} runs hold, {failed} fail")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
