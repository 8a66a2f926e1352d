"""The events of the demo: three nodes, a third of the data each, edits of the same keys, a SIGKILL, a cut link."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from random import Random

from level_replicator.cli.demo.checks import Ledger, behind, out_of_sync
from level_replicator.cli.demo.data_sets import DataSet
from level_replicator.cli.demo.errors import DemoFailure
from level_replicator.cli.demo.feeder import Feeder, Tally
from level_replicator.cli.demo.node import DemoNode
from level_replicator.cli.demo.screen import Row, Screen
from level_replicator.testing.network import Network

NODES = 3
CUT_LINK, CUT_NAME = (0, 2), "1-3"
VICTIM = 1
CUT_AT = 0.3
"""Progress of the first node at which the link is cut."""
KILL_AT = 0.5
"""Progress of the victim at which it is killed."""
CUT_S = 2.0
DOWN_S = 1.0
LOOK_INTERVAL_S = 0.1
STABLE_S = 0.5
MOST_CONTESTED_KEYS = 64


@dataclass
class Outcome:
    """The result of a run, after all nodes were in sync and stopped."""

    nodes: list[DemoNode]
    ledger: Ledger
    tallies: list[Tally] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    fed_s: float = 0.0
    in_sync_s: float = 0.0


class Scenario:
    """One run. Everything random is drawn from `seed`; the timing depends on the machine."""

    def __init__(self, data: DataSet, place: Path, seed: int, timeout_s: float, screen: Screen) -> None:
        self._data = data
        self._seed = seed
        self._timeout_s = timeout_s
        self._screen = screen
        self._ledger = Ledger()
        self._healed = threading.Event()
        self._healers: list[threading.Timer] = []
        self._incidents: list[str] = []

        def make(number: int, servers: list[str]) -> DemoNode:
            return DemoNode(f"node {number + 1}", place / f"node{number + 1}", servers)

        self._network = Network(list(permutations(range(NODES), 2)), make)
        self._nodes = self._network.nodes
        self._feeders = [self._feeder(index) for index in range(NODES)]

    def run(self) -> Outcome:
        """Run to the end. Raises DemoFailure, ProcessError, and InputError for data that cannot be read any more."""
        with self._ending():
            self._network.spawn_all()
            self._look()
            self._network.await_start()
            self._screen.event(f"{NODES} nodes run, each a process, each linked to each")
            began_s = time.monotonic()
            self._screen.event(f"writing {len(self._data.keys):,} entries of {self._data.title}, and edits")
            for feeder in self._feeders:
                feeder.start()
            self._watch(lambda: not any(feeder.is_alive() for feeder in self._feeders))
            fed_s = time.monotonic() - began_s
            self._screen.event("everything is written; waiting until all are in sync")
            self._watch(self._healed.is_set)
            in_sync_s = self._await_in_sync()
            in_sync_s -= began_s
            self._screen.event("all in sync; stopping")
            self._network.stop()
        tallies = [feeder.tally for feeder in self._feeders]
        return Outcome(self._nodes, self._ledger, tallies, self._incidents, fed_s, in_sync_s)

    def _feeder(self, index: int) -> Feeder:
        # spread over the data set: its neighbours are rarely written at the same time
        random = Random(f"{self._seed} contested")
        count = min(MOST_CONTESTED_KEYS, max(1, len(self._data.keys) // 10))
        contested = random.sample(self._data.keys, count)
        share = range(index, len(self._data.keys), NODES)
        incidents: dict[float, Callable[[], None]] = {}
        if index == CUT_LINK[0]:
            incidents[CUT_AT] = self._cut
        if index == VICTIM:
            incidents[KILL_AT] = self._kill
        random = Random(f"{self._seed} {index}")
        return Feeder(self._nodes[index], self._data, share, contested, random, self._ledger, incidents)

    def _cut(self) -> None:
        self._network.cut(*CUT_LINK)
        self._screen.event(f"the link {CUT_NAME} is cut")
        healer = threading.Timer(CUT_S, self._heal, (time.monotonic(),))
        self._healers.append(healer)
        healer.start()

    def _heal(self, cut_at_s: float) -> None:
        self._network.heal(*CUT_LINK)
        down_s = time.monotonic() - cut_at_s
        self._screen.event(f"the link {CUT_NAME} is healed after {down_s:.1f} s")
        self._incidents.append(f"the link {CUT_NAME} was cut, and healed after {down_s:.1f} s")
        self._healed.set()

    def _kill(self) -> None:
        victim = self._feeders[VICTIM]
        name, acknowledged = victim.node.name, victim.tally.writes
        killed_at_s = time.monotonic()
        self._network.kill(VICTIM)
        self._screen.event(f"{name} is killed with SIGKILL after {acknowledged:,} acknowledged writes")
        time.sleep(DOWN_S)
        self._network.start(VICTIM)
        down_s = time.monotonic() - killed_at_s
        self._screen.event(f"{name} is back after {down_s:.1f} s, and writes the unacknowledged batch again")
        self._incidents.append(
            f"{name} was killed with SIGKILL after {acknowledged:,} writes, and was back after {down_s:.1f} s"
        )

    def _watch(self, done: Callable[[], bool]) -> None:
        while not done():
            self._look()
        for feeder in self._feeders:
            if feeder.failure is not None:
                raise feeder.failure

    def _look(self) -> None:
        self._screen.show([self._row(feeder) for feeder in self._feeders])
        for feeder in self._feeders:
            if feeder.failure is not None:
                raise feeder.failure
        time.sleep(LOOK_INTERVAL_S)

    def _await_in_sync(self) -> float:
        """Return the time, on the monotonic clock, since which all have been in sync. Raises DemoFailure."""
        limit_s = time.monotonic() + self._timeout_s
        in_sync_since_s: float | None = None
        while in_sync_since_s is None or time.monotonic() - in_sync_since_s < STABLE_S:
            differing = out_of_sync(self._nodes)
            if differing:
                in_sync_since_s = None
            elif in_sync_since_s is None:
                in_sync_since_s = time.monotonic()
            if time.monotonic() > limit_s:
                reasons = differing or [f"in sync, but not yet for {STABLE_S} s"]
                head = f"not in sync {self._timeout_s:g} s after the last write:"
                raise DemoFailure("\n  ".join([head, *reasons]))
            self._look()
        return in_sync_since_s

    def _row(self, feeder: Feeder) -> Row:
        node = feeder.node
        status = node.status
        live = {"live", "scanning"}
        return Row(
            name=node.name,
            state=node.state,
            links=sum(peer.state in live for peer in status.peers) if status and node.state == "running" else 0,
            written=feeder.tally.writes,
            received=node.received[0],
            behind=behind(node, self._nodes),
            keys=status.keys if status else 0,
        )

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Leave no thread, process or port behind, whatever happens."""
        try:
            yield
        finally:
            for healer in self._healers:
                healer.cancel()
            for feeder in self._feeders:
                feeder.cancel()
            for feeder in self._feeders:
                if feeder.ident is not None:
                    # it may be starting its node again: the new process must be killed as well
                    while feeder.is_alive():
                        feeder.node.kill()
                        feeder.join(LOOK_INTERVAL_S)
            self._network.close()
