"""Nodes in processes of their own, linked by relays. A relay always forwards to the present port of its target."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from level_replicator.testing.node_process import NodeProcess
from level_replicator.testing.relay import Relay

Link = tuple[int, int]
"""The numbers of the node that dials and of its target."""
NodeT = TypeVar("NodeT", bound=NodeProcess)


class Network(Generic[NodeT]):
    """Nodes, and one relay for each link, in the order of `links`. `up` contains the numbers of the running nodes.

    `make` is called with the number of a node and the addresses that it dials, and returns the node, not started."""

    def __init__(self, links: Sequence[Link], make: Callable[[int, list[str]], NodeT]) -> None:
        self.links = list(links)
        self.up: set[int] = set()
        self.relays: list[Relay] = []
        self.nodes: list[NodeT] = []
        try:
            self.relays += [Relay() for _ in links]
            self.nodes += [make(node, self._dialled_by(node)) for node in range(1 + max(max(link) for link in links))]
        except BaseException:
            self.close()
            raise

    def spawn_all(self) -> None:
        """Start all processes without waiting for them. Call `await_start` next."""
        for node in self.nodes:
            node.spawn()

    def await_start(self) -> None:
        """Wait until all nodes listen. Raises ProcessError."""
        for number, node in enumerate(self.nodes):
            node.await_start()
            self._connect_relays(number)

    def start_all(self) -> None:
        """Start all nodes at once, and wait until they listen. If one fails, close all and raise ProcessError."""
        try:
            self.spawn_all()
            self.await_start()
        except BaseException:
            self.close()
            raise

    def start(self, number: int) -> None:
        """Start one node, and connect the relays to it. Raises ProcessError."""
        self.nodes[number].start()
        self._connect_relays(number)

    def kill(self, number: int) -> None:
        self.up.discard(number)
        self.nodes[number].kill()

    def cut(self, one: int, other: int) -> None:
        """Cut the relays between two nodes, in both directions, until `heal`."""
        for relay in self._between(one, other):
            relay.cut()

    def heal(self, one: int, other: int) -> None:
        for relay in self._between(one, other):
            relay.heal()

    def heal_all(self) -> None:
        """Heal all relays, and start all nodes that are down."""
        for relay in self.relays:
            relay.heal()
        for number in range(len(self.nodes)):
            if number not in self.up:
                self.start(number)

    def stop(self) -> None:
        """Stop all nodes, one after another. Raises ProcessError."""
        for number, node in enumerate(self.nodes):
            node.stop()
            self.up.discard(number)

    def close(self) -> None:
        """Kill all nodes and close all relays. Idempotent."""
        for number in range(len(self.nodes)):
            self.kill(number)
        for relay in self.relays:
            relay.close()

    def _dialled_by(self, node: int) -> list[str]:
        return [relay.address for relay, (dialler, _) in zip(self.relays, self.links, strict=True) if dialler == node]

    def _between(self, one: int, other: int) -> list[Relay]:
        return [relay for relay, link in zip(self.relays, self.links, strict=True) if set(link) == {one, other}]

    def _connect_relays(self, number: int) -> None:
        self.up.add(number)
        for relay, (_, target) in zip(self.relays, self.links, strict=True):
            if target == number:
                relay.target_port = self.nodes[number].port
