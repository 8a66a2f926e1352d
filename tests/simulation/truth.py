"""All writes, as observed from outside, and the promises about the final contents that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from level_replicator.core.entry import decode_index
from level_replicator.core.epochs import Branches, Histories, History, family_of
from level_replicator.storage.state.schema import INDEX

if TYPE_CHECKING:
    from level_replicator.storage.state.state import ReplicationState
    from level_replicator.storage.store import Store
    from tests.simulation.node import SimNode

Dot = tuple[int, int]


@dataclass(eq=False)
class Op:
    """One write of one key. `written`: its dot when it was made, which it keeps however often it is re-stamped.
    `certain`: acknowledged, and not among what a power loss or a restore may take.

    `past`: the operations on the key that the writer's state reflected, and theirs."""

    key: bytes
    value: bytes | None
    written: Dot
    node: str
    certain: bool = True
    homeless: bool = False
    """Whether the node that made it lost it: then it is certain only as long as another node has it."""
    synced: bool = False
    past: frozenset[Op] = frozenset()
    seen: frozenset[Op] = frozenset()
    """The operations on the key that had come to the writer, and those that these had seen: less than `past`, since a
    vector covers also what was superseded on the way."""
    surely_seen: frozenset[Op] = frozenset()
    """As `seen`, without what came to a node that lost something since, in a power loss, a restore or a copy."""
    history: History = ()
    """Of its origin, when it was written."""

    def dot(self, branches: Branches) -> Dot:
        """Return the name of `written` on a node that knows these branches."""
        stamp, origin = self.written
        for epoch, start in self.history:
            if epoch in branches and stamp > start:
                origin = epoch
        return stamp, origin

    def is_known_as(self, branches: Branches, histories: Histories) -> bool:
        """Return whether that name means this write on such a node, not one of another continuation of its origin."""
        stamp, origin = self.dot(branches)
        mine = [epoch for epoch, _ in self.history]
        mine = mine[mine.index(origin) + 1 :] if origin in mine else mine
        theirs = [epoch for epoch, start in histories.get(origin, ()) if stamp > start]
        return mine[-1:] == theirs[-1:]

    def is_covered(self, store: Store) -> bool:
        """Return whether the vector of a node covers this write."""
        stamp, origin = self.dot(store.branches)
        return stamp <= store.vector.get(origin, 0) and self.is_known_as(store.branches, store.histories)

    def is_row_of(self, state: ReplicationState) -> bool:
        """Return whether the index row of the key carries this write, and not another one of the same name."""
        line = state.rs.get(INDEX + self.key)
        if line is None or decode_index(line).written_dot != self.dot(state.branches):
            return False
        return self.is_known_as(state.branches, state.histories)


Past = dict[bytes, frozenset[Op]]


def place_of(written: Dot, value: bytes | None) -> tuple[int, int, bool, int, int]:
    """Return the position of a write in the order of all writes of its key, as a sort key."""
    stamp, origin = written
    return stamp, family_of(origin), value is None, crc32(value or b""), origin


class Truth:
    """All operations that a node has acknowledged, or that were on its disk after it was killed during the write."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.by_key: dict[bytes, list[Op]] = {}
        self.serial = 0
        self._seen: dict[tuple[str, bytes], frozenset[Op]] = {}
        self._surely_seen: dict[tuple[str, bytes], frozenset[Op]] = {}

    def value(self, size: int) -> bytes:
        """Return a value that no other operation has."""
        self.serial += 1
        return b"v%d" % self.serial + b"." * size

    def reflected(self, node: SimNode, key: bytes) -> frozenset[Op]:
        """Return the operations on a key that a node's state reflects: those that its vector covers, the one that its
        row carries, and all operations that these reflected."""
        assert node.store is not None
        state = node.store._state
        reflected: set[Op] = set()
        for op in self.by_key.get(key, []):
            if op.is_row_of(state) or op.is_covered(node.store):
                reflected |= op.past | {op}
        return frozenset(reflected)

    def acknowledge(
        self,
        node: str,
        operations: list[tuple[bytes, bytes | None]],
        last: Dot,
        synced: bool,
        past: Past,
        history: History = (),
    ) -> None:
        """Record a batch, whose operations got consecutive stamps that end with `last`. `history`: of its origin."""
        stamp, origin = last
        first = stamp - len(operations) + 1
        for i, (key, value) in enumerate(operations):
            dot = (first + i, origin)
            op = Op(key, value, dot, node, synced=synced, past=past[key], history=history)
            op.seen = self._seen.get((node, key), frozenset())
            op.surely_seen = self._surely_seen.get((node, key), frozenset())
            self._seen[(node, key)] = op.seen | {op}
            self._surely_seen[(node, key)] = op.surely_seen | {op}
            self.ops.append(op)
            self.by_key.setdefault(key, []).append(op)
        if synced:
            for op in self.ops:
                op.synced = op.synced or op.node == node

    def arrived(self, node: str, key: bytes, written: Dot, branches: Branches, histories: Histories) -> None:
        """Record that a node with these branches and histories merged a write of another node."""
        for op in self.by_key.get(key, []):
            if op.dot(branches) == written and op.is_known_as(branches, histories):
                self._seen[(node, key)] = self._seen.get((node, key), frozenset()) | op.seen | {op}
                sure = self._surely_seen.get((node, key), frozenset())
                self._surely_seen[(node, key)] = sure | op.surely_seen | {op}

    def lost(self, node: str) -> None:
        """Record that a node lost writes: it is no longer sure which ones it has seen."""
        self._surely_seen = {at: ops for at, ops in self._surely_seen.items() if at[0] != node}

    def copied(self, node: str, source: str) -> None:
        """Record that a node continues with a copy of the directory of the node `source`."""
        for (name, key), seen in list(self._seen.items()):
            if name == source:
                self._seen[(node, key)] = self._seen.get((node, key), frozenset()) | seen

    def broken(self, key: bytes, value: bytes | None, written: Dot, branches: Branches, *, drops: bool) -> str | None:
        """Return which promise the final value of a key breaks; None: it breaks none.

        `written`: of the final row. `drops`: whether tombstones are dropped in this world. Then a write that is
        concurrent with a delete may reappear when every node has dropped the tombstone; otherwise the greatest write
        wins."""
        ops = self.by_key.get(key, [])
        certain = [op for op in ops if op.certain]
        candidates = [op for op in ops if op.value == value]
        if value is not None:
            if not candidates:
                return f"{key!r} is {value!r}, which nobody wrote"
            overwritten = frozenset().union(*(op.past for op in certain))
            if all(op in overwritten for op in candidates):
                return f"{key!r} is {value!r} of {candidates[0].written}, which was overwritten or deleted"
        places = {op: place_of(op.dot(branches), op.value) for op in ops}
        place = place_of(written, value)
        if value is not None or not drops:
            # if nothing stands, a tombstone may have been issued for a write of this stamp
            place = max([place, *(places[op] for op in candidates)])
        superseded = frozenset().union(*(op.past for op in ops))
        lost = [op for op in certain if op not in superseded and places[op] > place]
        if drops:
            newest_delete = max((places[op] for op in ops if op.value is None), default=place_of((0, 0), None))
            lost = [op for op in lost if op.value is not None and places[op] > newest_delete]
        if lost:
            best = max(lost, key=lambda op: places[op])
            return f"{key!r} is {value!r} of {written}, but {best.value!r} of {best.written} was acknowledged"
        return None
