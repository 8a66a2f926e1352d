"""What was written, as seen from outside: the measure of what must hold in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.core.keys import INDEX

if TYPE_CHECKING:
    from tests.sim.node import SimNode

Dot = tuple[int, int]


@dataclass(eq=False)
class Op:
    """One write of one key. `certain`: acknowledged, and not among what a power loss or a restore may take.

    `past`: the operations on the key that the writer's state reflected, and theirs. `restamped`: a node that had missed
    dropped tombstones wrote it again."""

    key: bytes
    value: bytes | None
    dot: Dot
    node: str
    certain: bool = True
    synced: bool = False
    past: frozenset[Op] = frozenset()
    restamped: bool = False
    dots: set[Dot] = field(default_factory=set)
    seen: frozenset[Op] = frozenset()
    """The operations on the key that had come to the writer, and those that these had seen: less than `past`, since a
    vector covers also what was superseded on the way."""


Past = dict[bytes, frozenset[Op]]


class Truth:
    """All operations that a node has acknowledged, or that turned out to be there after it died in the middle."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.by_key: dict[bytes, list[Op]] = {}
        self.serial = 0
        self.renewed: set[int] = set()
        self._seen: dict[tuple[str, bytes], frozenset[Op]] = {}

    def value(self, size: int) -> bytes:
        """A value that no other operation has."""
        self.serial += 1
        return b"v%d" % self.serial + b"." * size

    def reflected(self, node: SimNode, key: bytes) -> frozenset[Op]:
        """The operations on a key that a node's state reflects: those that its vector covers, the one that stands,
        and all that these followed."""
        assert node.store is not None
        state = node.store._state
        line = state.rs.get(INDEX + key)
        standing = None if line is None else INDEX_HEAD.unpack_from(line)[:2]
        value = state.db.get(key)
        reflected: set[Op] = set()
        for op in self.by_key.get(key, []):
            covered = any(stamp <= state.vector.get(origin, 0) for stamp, origin in op.dots)
            # a value that was written again by a process that died before it could tell
            again = standing is not None and standing >= op.dot and op.value is not None and op.value == value
            if covered or standing in op.dots or again:
                reflected |= op.past | {op}
        return frozenset(reflected)

    def acknowledge(
        self, node: str, operations: list[tuple[bytes, bytes | None]], last: Dot, synced: bool, past: Past
    ) -> None:
        """A batch, whose operations got consecutive stamps that end with `last`."""
        stamp, origin = last
        first = stamp - len(operations) + 1
        for i, (key, value) in enumerate(operations):
            dot = (first + i, origin)
            op = Op(key, value, dot, node, synced=synced, past=past[key], dots={dot})
            op.seen = self._seen.get((node, key), frozenset())
            self._seen[(node, key)] = op.seen | {op}
            self.ops.append(op)
            self.by_key.setdefault(key, []).append(op)
        if synced:
            for op in self.ops:
                op.synced = op.synced or op.node == node

    def arrived(self, node: str, key: bytes, dot: Dot) -> None:
        """A node merged a write of somebody else."""
        for op in self.by_key.get(key, []):
            if dot in op.dots:
                self._seen[(node, key)] = self._seen.get((node, key), frozenset()) | op.seen | {op}

    def copied(self, node: str, source: str) -> None:
        """A node goes on from a copy of the directory of another one."""
        for (name, key), seen in list(self._seen.items()):
            if name == source:
                self._seen[(node, key)] = self._seen.get((node, key), frozenset()) | seen

    def restamped(self, operations: list[tuple[bytes, bytes | None]], last: Dot) -> None:
        """A node wrote values again, under consecutive stamps that end with `last`."""
        stamp, origin = last
        for i, (key, value) in enumerate(operations):
            for op in self.by_key.get(key, []):
                if op.value == value:
                    op.restamped = True
                    op.dot = (stamp - len(operations) + 1 + i, origin)
                    op.dots.add(op.dot)

    def forget_unsynced(self, node: str) -> None:
        for op in self.ops:
            if op.node == node and not op.synced:
                op.certain = False

    def forget_since(self, node: str, count: int) -> None:
        """A backup made when there were `count` operations was restored on a node."""
        for op in self.ops[count:]:
            if op.node == node:
                op.certain = False

    def fits(self, key: bytes, value: bytes | None) -> str | None:
        """None when this may be the last word on a key by the order of stamps, else why not."""
        ops = self.by_key.get(key, [])
        certain = [op for op in ops if op.certain]
        newest = max((op.dot[0] for op in certain), default=0)
        candidates = [op for op in ops if op.value == value]
        if value is None and not certain:
            return None
        if not candidates:
            return f"{key!r} is {value!r}, which nobody wrote"
        if value is not None and not certain:
            return None
        best = max(op.dot for op in candidates)
        winner = max(op.dot for op in certain)
        if best >= winner or (best[0] == newest and (best[1] in self.renewed or winner[1] in self.renewed)):
            return None
        return f"{key!r} is {value!r} of {best}, but {winner} was acknowledged"

    def follows(self, key: bytes, value: bytes | None) -> str | None:
        """None when this may be the last word on a key by what followed what, else why not: for worlds where tombstones
        leave, so that which of two concurrent writes wins is not always a matter of their stamps."""
        ops = self.by_key.get(key, [])
        overwritten = frozenset().union(*(op.past for op in ops if op.certain))
        if value is not None:
            candidates = [op for op in ops if op.value == value]
            if not candidates:
                return f"{key!r} is {value!r}, which nobody wrote"
            if all(op in overwritten and not op.restamped for op in candidates):
                return f"{key!r} is {value!r} of {candidates[0].dot}, which was overwritten"
            return None
        maximal = [op for op in ops if op not in overwritten]
        if maximal and all(op.value is not None and op.certain for op in maximal):
            return f"{key!r} is gone, though nobody who knew {[op.value for op in maximal]} deleted it"
        return None
