"""A network of nodes for tests, with a wait until they are in sync that reports the differences when it fails."""

from __future__ import annotations

from collections.abc import Iterable

from level_replicator.replication.peers import PeerState
from level_replicator.testing.network import Network, NodeT
from tests.harness.waiting import wait_until

SHOWN_KEYS = 10
"""Keys that a message shows."""
PULLING = (PeerState.SCANNING, PeerState.RECONCILING)


class Cluster(Network[NodeT]):
    """Nodes, their relays, and the wait until they are in sync."""

    def wait_in_sync(self, nodes: Iterable[int] | None = None) -> None:
        """Wait until the vectors of `nodes` (default: of all) are equal, and no pull between any nodes is under way.

        Then the contents are equal as well, and stay so while nodes are stopped one after another."""
        numbers = list(range(len(self.nodes)) if nodes is None else nodes)

        def in_sync() -> bool:
            statuses = [self.nodes[node].call("status") for node in numbers]
            puller = any(peer["state"] in PULLING for status in statuses for peer in status["peers"])
            return not puller and all(status["vector"] == statuses[0]["vector"] for status in statuses)

        wait_until(in_sync, lambda: self._what_is_missing(numbers))

    def _what_is_missing(self, numbers: list[int]) -> str:
        """Say of each node which origins it lags behind in, what its peers are doing, and which keys differ."""
        statuses = {node: self.nodes[node].call("status") for node in numbers}
        newest: dict[str, int] = {}
        for status in statuses.values():
            for origin, stamp in status["vector"].items():
                newest[origin] = max(stamp, newest.get(origin, 0))
        lines = [f"the nodes {numbers} are in sync"]
        for node, status in statuses.items():
            behind = {
                origin: f"{status['vector'].get(origin, 0)} of {stamp}"
                for origin, stamp in newest.items()
                if status["vector"].get(origin, 0) < stamp
            }
            peers = {peer["address"]: (peer["state"], peer["last_error"]) for peer in status["peers"]}
            lines.append(f"node {node} (origin {status['origin']}) is behind in {behind or 'nothing'}; peers: {peers}")
        contents = {node: self.nodes[node].contents() for node in numbers}
        keys = set[bytes]().union(*contents.values())
        differing = sorted(key for key in keys if len({each.get(key) for each in contents.values()}) > 1)
        lines.append(f"{len(differing)} keys differ between nodes")
        lines += [f"{key!r}: {held_by_node(contents, key)}" for key in differing[:SHOWN_KEYS]]
        return "\n    ".join(lines)


def held_by_node(contents: dict[int, dict[bytes, bytes]], key: bytes) -> str:
    """Say what each node holds for `key`; `contents`: node → its keys and values."""
    held = {node: each.get(key) for node, each in contents.items()}
    if len(set(held.values())) == 1:
        return f"all nodes hold {next(iter(held.values()))!r}"
    return ", ".join(f"node {node} holds {value!r}" for node, value in held.items())
