"""Plan of a seed: nodes, dialed connections, clocks and faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from level_replicator.core.limits import SEND_BUFFER_BYTES

TOPOLOGIES = ("pair", "chain", "ring", "star", "mesh")


@dataclass
class Plan:
    nodes: list[str]
    dials: list[tuple[str, str]]
    keys: list[bytes]
    steps: int
    delays_ms: list[int]
    skews_ms: dict[str, int]
    clock: str
    faults: dict[str, float] = field(default_factory=dict)
    adopted: dict[str, list[bytes]] = field(default_factory=dict)
    """Node → keys that are in its database before it becomes a replica. `equal_data`: all nodes have equal values."""
    equal_data: bool = False
    retention_ms: tuple[int, int] | None = None
    """Ages in milliseconds at which each node automatically drops tombstones, and log entries. They are short, so that
    stale nodes are frequent."""
    gone: str | None = None
    """A node that has disappeared for good when the faults end. The other nodes still reach each other."""
    sync_rate: float = 0.0
    most_value_bytes: int = 20
    pieces: list[int] = field(default_factory=lambda: [7, 100, 5_000, 100_000, 100_000])
    buffers: list[int] = field(default_factory=lambda: [300, 5_000, SEND_BUFFER_BYTES])

    @property
    def drops(self) -> bool:
        """Whether tombstones are dropped: then stamps alone do not decide which of two concurrent writes wins."""
        return self.faults.get("drop_tombstones", 0) > 0 or self.retention_ms is not None

    @property
    def faultless(self) -> bool:
        """Whether nothing breaks a connection. A clock that is far off breaks connections too."""
        return self.clock != "far" and self.gone is None and not any(self.faults.values())

    @property
    def tree(self) -> bool:
        """Whether there is only one path between any two nodes."""
        return len({frozenset(dial) for dial in self.dials}) == len(self.nodes) - 1


def make_plan(seed: int) -> Plan:
    """Return the random plan of a seed, the same each time."""
    rng = Random(seed)
    topology = rng.choice(TOPOLOGIES)
    count = 2 if topology == "pair" else rng.randint(3, 5)
    nodes = [f"n{i}" for i in range(count)]
    links = _links(topology, nodes)
    dials: list[tuple[str, str]] = []
    for a, b in links:
        how = rng.random()
        if how < 0.75:
            dials.append((a, b))
        if how > 0.5:
            dials.append((b, a))
    keys = [b"k%d" % i for i in range(rng.choice([1, 2, 6, 40]))]
    clock = rng.choice(["exact", "exact", "skewed", "frozen", "jumping", "far"])
    skew = {"exact": 0, "frozen": 0, "skewed": 20_000, "jumping": 20_000, "far": 0}[clock]
    plan = Plan(
        nodes=nodes,
        dials=dials,
        keys=keys,
        steps=rng.randint(20, 150),
        delays_ms=rng.choice([[0], [0, 1, 2], [1, 5, 30], [0, 200, 1_000]]),
        skews_ms={name: rng.randint(-skew, skew) for name in nodes},
        clock=clock,
        sync_rate=rng.choice([0.0, 0.1, 1.0]),
        most_value_bytes=rng.choice([20, 20, 3_000]),
    )
    if clock == "far":
        plan.skews_ms[rng.choice(nodes)] = 8 * 3_600_000
    if rng.random() < 0.8:
        for fault, rate in {
            "cut": 0.06,
            "drop": 0.06,
            "kill": 0.04,
            "kill_in_step": 0.04,
            "stop": 0.03,
        }.items():
            plan.faults[fault] = rate * rng.choice([0, 1, 3])
        if rng.random() < 0.3:
            plan.faults["power_loss"] = 0.03
        if rng.random() < 0.2:
            plan.faults["restore"] = 0.02
    if rng.random() < 0.5:
        for space, rate in {"truncate": 0.08, "drop_tombstones": 0.06}.items():
            plan.faults[space] = rate * rng.choice([0, 1, 1, 3])
    if seed % 7 == 0:  # so that all other seeds stay what they were
        plan.faults["copy"] = rng.choice([0, 0.01, 0.03])
        plan.equal_data = rng.random() < 0.5
        for name in nodes:
            if rng.random() < 0.6:
                plan.adopted[name] = rng.sample(keys, rng.randint(1, len(keys)))
    if seed % 3 == 1:
        own = Random(seed * 5 + 3)  # so that all else stays as it was
        plan.retention_ms = (own.choice([0, 50, 300, 2_000]), own.choice([0, 100, 1_000, 1 << 40]))
        plan.faults["cut"] = plan.faults.get("cut", 0) or own.choice([0.02, 0.06, 0.12])
        plan.faults["kill"] = plan.faults.get("kill", 0) or own.choice([0, 0.02, 0.05])
    if seed % 11 == 4:
        own = Random(seed * 5 + 5)
        plan.faults["unseen_restore"] = own.choice([0.02, 0.05])
        plan.faults["unseen_copy"] = own.choice([0, 0.02])
    if seed % 5 == 2:
        plan.gone = Random(seed * 5 + 4).choice([None, *(each for each in nodes if _connected_without(plan, each))])
    return plan


def _connected_without(plan: Plan, gone: str) -> bool:
    left = [name for name in plan.nodes if name != gone]
    reached, new = set(), left[:1]
    while new:
        at = new.pop()
        reached.add(at)
        ends = [pair for pair in plan.dials if at in pair and gone not in pair]
        new.extend(other for pair in ends for other in pair if other not in reached)
    return len(left) > 1 and len(reached) == len(left)


def _links(topology: str, nodes: list[str]) -> list[tuple[str, str]]:
    chain = list(pairwise(nodes))
    if topology == "ring":
        return [*chain, (nodes[-1], nodes[0])]
    if topology == "star":
        return [(nodes[0], other) for other in nodes[1:]]
    if topology == "mesh":
        return [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :]]
    return chain
