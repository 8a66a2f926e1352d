"""Nodes in real processes, with clients on each of them; in the end everything is healed and judged."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.harness.compare import first_difference
from tests.harness.network import Cluster
from tests.integration.cluster.topology import RING, Link
from tests.integration.judges.clients import Adder, Client, History, Reader, Visitor
from tests.integration.judges.clock import WrongClock
from tests.integration.judges.node import Node
from tests.integration.judges.sessions import Violation, check_sessions
from tests.integration.judges.set_full import SetReport, check_set

VICTIM = 3
"""The node with the faulty clock or disk, where only one has it. In a ring the others are linked without it."""
SHOWN_VIOLATIONS = 10


@dataclass
class Verdict:
    """`broken`: promises of one kind of fault that did not hold."""

    elements: SetReport
    violations: list[Violation]
    faults: int
    writes: int
    gets: int
    broken: list[str]

    @property
    def holds(self) -> bool:
        return self.elements.sound and not self.violations and not self.broken

    def __str__(self) -> str:
        lines = [
            str(self.elements),
            f"{self.writes} writes and {self.gets} reads in sessions, {len(self.violations)} violations",
        ]
        lines += [str(violation) for violation in self.violations[:SHOWN_VIOLATIONS]]
        return "\n    ".join([f"{self.faults} faults", *lines, *self.broken])


class Run:
    """One run on real processes.

    clocks       every node has a clock that can be moved
    faulty_disk  the disk of VICTIM can be made to fail
    sync         VICTIM syncs each write
    lies         node 0 lies once in so many requests; 0: never
    mutant       a rule (tests/simulation/mutants.py) that is switched off in all nodes
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        links: list[Link] = RING,
        clocks: bool = False,
        faulty_disk: bool = False,
        sync: bool = False,
        lies: int = 0,
        mutant: str | None = None,
    ) -> None:
        self.random = Random(seed)
        self.history = History()
        self.faults = 0
        self.broken: list[str] = []

        def make(number: int, servers: list[str]) -> Node:
            return Node(
                folder / str(number),
                servers,
                clock=WrongClock(folder / f"clock {number}") if clocks else None,
                faulty_disk=faulty_disk and number == VICTIM,
                sync=sync and number == VICTIM,
                lies=lies if number == 0 else 0,
                mutant=mutant,
            )

        self.network: Cluster[Node] = Cluster(links, make)
        self.network.start_all()
        self._clients: list[Client] = []
        for number, node in enumerate(self.nodes):
            self._clients += [
                Adder(number, node, self.history, seed),
                Reader(number, node, self.history),
                Visitor(number, node, self.history, seed, len(self.nodes)),
            ]

    @property
    def nodes(self) -> list[Node]:
        return self.network.nodes

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def judge(self) -> Verdict:
        """Heal everything, wait until all nodes are in sync, let all clients read once more, and judge."""
        for client in self._clients:
            client.join()
        self.network.heal_all()
        self.network.wait_in_sync()
        for client in self._clients:
            session = client.node.session()
            with contextlib.closing(session):
                client.last(session)
        self.network.stop()
        history = self.history
        differ = first_difference([node.folder for node in self.nodes])
        if differ:
            self.broken.append(f"the nodes are not equal: {differ}")
        return Verdict(
            check_set(history.adds, history.reads),
            check_sessions(history.writes, history.gets),
            self.faults,
            len(history.writes),
            len(history.gets),
            self.broken,
        )

    def close(self) -> None:
        self.network.close()
        for client in self._clients:
            client.abandon()
