"""What was written, as seen from outside: the measure of what must hold in the end."""

from __future__ import annotations

from dataclasses import dataclass

Dot = tuple[int, int]


@dataclass
class Op:
    """One write of one key. `certain`: acknowledged, and not among what a power loss or a restore may take."""

    key: bytes
    value: bytes | None
    dot: Dot
    node: str
    certain: bool = True
    synced: bool = False


class Truth:
    """All operations that a node has acknowledged, or that turned out to be there after it died in the middle."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.by_key: dict[bytes, list[Op]] = {}
        self.serial = 0
        self.renewed: set[int] = set()

    def value(self, size: int) -> bytes:
        """A value that no other operation has."""
        self.serial += 1
        return b"v%d" % self.serial + b"." * size

    def acknowledge(self, node: str, operations: list[tuple[bytes, bytes | None]], last: Dot, synced: bool) -> None:
        """A batch, whose operations got consecutive stamps that end with `last`."""
        stamp, origin = last
        first = stamp - len(operations) + 1
        for i, (key, value) in enumerate(operations):
            op = Op(key, value, (first + i, origin), node, synced=synced)
            self.ops.append(op)
            self.by_key.setdefault(key, []).append(op)
        if synced:
            for op in self.ops:
                op.synced = op.synced or op.node == node

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
        """None when this may be the last word on a key, else why not."""
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
