"""What really happened, which no node knows: operations with their causal past, and what each node's state reflects."""

from collections.abc import Mapping
from dataclasses import dataclass

Dot = tuple[int, int]
"""(stamp, origin) of a write."""

Seen = dict[bytes, frozenset[int]]
"""Key → the operations that one node's state of it reflects."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A put (with its value) or a delete (None). `past`: those on this key that the writer's state reflected."""

    key: bytes
    value: bytes | None
    past: frozenset[int]


class Truth:
    """Of one world.

    ops         every operation, by its number
    seen        node → what its state reflects
    restamped   operations that a node wrote again, since nobody could tell whether they had been deleted
    returned    (node, key) of tombstones that a pull brought back to where they had been dropped before it began
    """

    def __init__(self, nodes: int) -> None:
        self.ops: list[Operation] = []
        self.seen: dict[int, Seen] = {node: {} for node in range(1, nodes + 1)}
        self.restamped: set[int] = set()
        self.returned: list[tuple[int, bytes]] = []
        self._op_of: dict[Dot, int] = {}

    def wrote(self, node: int, key: bytes, value: bytes | None, dot: Dot) -> None:
        """A node wrote by itself."""
        op = len(self.ops)
        past = self.seen[node].get(key, frozenset())
        self.ops.append(Operation(key, value, past))
        self._op_of[dot] = op
        self.seen[node][key] = past | {op}

    def merged(self, node: int, key: bytes, dot: Dot) -> None:
        """A node met an entry, whether it won or not."""
        op = self._op_of[dot]
        self.seen[node][key] = self.seen[node].get(key, frozenset()) | {op} | self.ops[op].past

    def took_over(self, node: int, theirs: Seen) -> None:
        """A node took a vector over, and so all that was reflected behind it."""
        seen = self.seen[node]
        for key, ops in theirs.items():
            seen[key] = seen.get(key, frozenset()) | ops

    def wrote_again(self, node: int, key: bytes, old: Dot, new: Dot) -> None:
        """A node wrote the same operation under a fresh stamp."""
        op = self._op_of[new] = self._op_of[old]
        self.restamped.add(op)
        self.merged(node, key, new)

    def fault(self, standing: Mapping[bytes, Dot]) -> str | None:
        """What is wrong with what all nodes hold, None: nothing. `standing`: the dot of each key that has a value."""
        if self.returned:
            return f"returned: (node, key) of tombstones that had been dropped: {self.returned}"
        for key in sorted({op.key for op in self.ops}):
            past = {number: op.past for number, op in enumerate(self.ops) if op.key == key}
            overwritten = frozenset[int]().union(*past.values())
            if key in standing:
                op = self._op_of[standing[key]]
                if op in overwritten and op not in self.restamped:
                    return f"zombie: {key!r} holds {self.ops[op].value!r}, which was overwritten"
                continue
            last = [self.ops[op].value for op in sorted(past.keys() - overwritten)]
            if None not in last:
                return f"lost: {key!r} is absent, and nobody deleted {last}"
        return None
