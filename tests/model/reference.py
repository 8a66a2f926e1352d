"""The rules of replication, as small as they can be written: what the real code is compared with, step by step.

A node is a dict of keys and three little vectors. There is no disk, no network, no batch. Every rule can be
switched off by its name, to see what it is for: without it nodes diverge, lose a write, or bring a deleted key back.

    clock      a clock does not follow the vectors that are taken over
    stale      a node that missed dropped tombstones is taken for current
    restamp    a stale node's unseen writes keep their old stamps
    covered    an absent key accepts what we knew and dropped the tombstone of
    horizon    the horizon of the peer that a stale node rejoined from is not taken over
    tombstone  a stale node keeps its own tombstones, older than some that it missed
    midway     what was dropped here since the pull began is not looked at again
    alone      a stale node goes on with its other pulls while it walks
    floor      a log is read below its floor as if nothing were missing
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

FILL_SHARE = 8
"""A node that knows only its own writes is filled if it has no more than this part of what it is filled with."""

RULES = ("clock", "stale", "restamp", "covered", "horizon", "tombstone", "midway", "alone", "floor")

Vector = dict[int, int]
Key = bytes


class Line(NamedTuple):
    """What stands of a key. `op`: the operation that it is, for the truth."""

    stamp: int
    origin: int
    value: bytes | None
    op: int

    @property
    def dot(self) -> tuple[int, int]:
        return self.stamp, self.origin


@dataclass
class Truth:
    """All operations: (key, value, those on the key that it follows). `restamped`: written again by a stale node."""

    ops: list[tuple[Key, bytes | None, frozenset[int]]] = field(default_factory=list)
    restamped: set[int] = field(default_factory=set)


def missed(vector: Vector, horizon: Vector) -> bool:
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


class Node:
    """`seen`: key → operations that its state of the key reflects."""

    def __init__(self, origin: int, truth: Truth, off: str | None) -> None:
        self.origin = origin
        self.truth = truth
        self.off = off
        self.now_ms = 0
        self.clock = 0
        self.index: dict[Key, Line] = {}
        self.vector: Vector = {}
        self.floor: Vector = {}
        self.horizon: Vector = {}
        self.dropped = 0
        self.seen: dict[Key, set[int]] = {}
        self.filling = False

    # -- writes

    def write(self, key: Key, value: bytes | None) -> None:
        self.truth.ops.append((key, value, frozenset(self._seen(key))))
        op = len(self.truth.ops) - 1
        self._seen(key).add(op)
        self._put(key, value, op)

    def _put(self, key: Key, value: bytes | None, op: int) -> None:
        self.clock = max(self.clock + 1, self.now_ms << 16)
        self.index[key] = Line(self.clock, self.origin, value, op)
        self.vector[self.origin] = self.clock

    def _seen(self, key: Key) -> set[int]:
        return self.seen.setdefault(key, set())

    def follow(self, stamp: int) -> None:
        self.clock = max(self.clock, stamp)

    # -- space

    def logged(self, line: Line) -> bool:
        return line.stamp > self.floor.get(line.origin, 0)

    def truncate(self, before: int) -> None:
        for origin, stamp in self.vector.items():
            self.floor[origin] = max(self.floor.get(origin, 0), min(stamp, before))
        self.floor = {origin: stamp for origin, stamp in self.floor.items() if stamp}

    def is_filled(self, vector: Vector) -> None:
        """A node that knows nothing but its own writes is not to log what a walk brings."""
        for origin, stamp in vector.items():
            if origin != self.origin:
                self.floor[origin] = max(self.floor.get(origin, 0), stamp)
        self.filling = True

    def drop_tombstones(self, before: int) -> None:
        for key, line in list(self.index.items()):
            if line.value is None and line.stamp <= min(before, self.vector.get(line.origin, 0)):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        self.forget(self.index.pop(key))

    def forget(self, line: Line) -> None:
        """A tombstone that we know is gone. (That one is gone above our vector tells nobody anything.)"""
        self.horizon[line.origin] = max(line.stamp, self.horizon.get(line.origin, 0))
        self.dropped = max(self.dropped, line.stamp)

    # -- what a pull brings

    def merge(self, key: Key, theirs: Line) -> None:
        mine = self.index.get(key)
        if mine is None or theirs.dot > mine.dot:
            self.index[key] = theirs
            self.follow(theirs.stamp)
        self._seen(key).update({theirs.op}, self.truth.ops[theirs.op][2])

    def restamp(self, key: Key) -> None:
        line = self.index[key]
        self.truth.restamped.add(line.op)
        self._put(key, line.value, line.op)

    def contents(self) -> dict[Key, bytes]:
        return {key: line.value for key, line in self.index.items() if line.value is not None}


class Pull:
    """One pull of `reader` from a snapshot of `source`. `mode`: wait, log or walk."""

    def __init__(self, reader: Node, source: Node) -> None:
        self.reader, self.off = reader, reader.off
        self.index = dict(source.index)
        self.vector, self.horizon, self.dropped = dict(source.vector), dict(source.horizon), source.dropped
        self.seen = {key: set(ops) for key, ops in source.seen.items()}
        self.known = dict(reader.vector)
        self.whole = True
        self.stale = self._missed(reader.vector, source.horizon)
        below = any(reader.vector.get(o, 0) < stamp for o, stamp in source.floor.items() if o != reader.origin)
        if self._missed(source.vector, reader.horizon) and not self.stale:
            self.mode = "wait"
        elif source.filling and (self.stale or below):
            self.mode = "wait"  # it gets all of it, or nothing
        elif self.stale or (below and self.off != "floor"):
            self.mode = "walk"
            if self.off != "clock":
                reader.follow(max(self.vector.values(), default=0))
            if (
                reader.vector.keys() <= {reader.origin}
                and len(reader.contents()) <= len(source.contents()) // FILL_SHARE
            ):
                reader.is_filled(self.vector)
        else:
            self.mode = "log"
            self.entries = {
                line.dot for line in source.index.values() if source.logged(line) and self._lacks(reader, line)
            }

    def _missed(self, vector: Vector, horizon: Vector) -> bool:
        return self.off != "stale" and missed(vector, horizon)

    @staticmethod
    def _lacks(reader: Node, line: Line) -> bool:
        return line.origin != reader.origin and line.stamp > reader.vector.get(line.origin, 0)

    def _doubtful(self, line: Line) -> bool:
        """Whether the reader may have dropped a tombstone of the key that is newer. As of now."""
        if self.off == "midway" or not self._missed(self.vector, self.reader.horizon):
            return False
        return line.stamp <= self.reader.dropped

    def entry(self, key: Key) -> None:
        """The source's entry of a key arrives by log."""
        theirs = self.index[key]
        if key not in self.reader.index and self._doubtful(theirs):
            self.whole = False
        else:
            self.reader.merge(key, theirs)

    def settle(self, keys: set[Key]) -> None:
        """The walk comes to these keys: what is to be taken is fetched later."""
        again = []
        for key in sorted(keys & (self.index.keys() | self.reader.index.keys())):
            theirs, mine = self.index.get(key), self.reader.index.get(key)
            if mine is None:
                assert theirs is not None
                self.whole = self.whole and (self._knew(theirs) or not self._doubtful(theirs))
            elif theirs is not None:
                self.reader._seen(key).update({theirs.op}, self.reader.truth.ops[theirs.op][2])
            elif self._only_ours(key, mine):
                again.append(key)
        for key in again:
            self.reader.restamp(key)

    def _only_ours(self, key: Key, mine: Line) -> bool:
        """Whether it is to be written again."""
        unsure = self.stale and mine.stamp <= self.dropped
        if mine.value is None:
            if unsure and self.off != "tombstone":
                line = self.reader.index.pop(key)
                if line.stamp <= self.known.get(line.origin, 0):
                    self.reader.forget(line)
            return False
        if mine.stamp <= self.vector.get(mine.origin, 0):
            del self.reader.index[key]  # the source knew it, and dropped its tombstone
            return False
        return unsure and self.off != "restamp"

    def _knew(self, theirs: Line) -> bool:
        """Whether the reader had it, and dropped its tombstone."""
        return self.off != "covered" and theirs.stamp <= self.known.get(theirs.origin, 0)

    def fill(self, key: Key) -> None:
        """The source's entry of a key arrives by walk."""
        theirs = self.index[key]
        if key not in self.reader.index:
            if self._knew(theirs):
                return
            if self._doubtful(theirs):
                self.whole = False
                return
        self.reader.merge(key, theirs)

    def end(self) -> None:
        """It is over, complete or not."""
        if self.mode == "walk":
            self.reader.filling = False

    def finish(self) -> None:
        """All has arrived."""
        reader = self.reader
        if not self.whole:
            return
        for origin, stamp in self.vector.items():
            reader.vector[origin] = max(stamp, reader.vector.get(origin, 0))
            if self.off != "clock":
                reader.follow(stamp)
        for key, ops in self.seen.items():
            reader._seen(key).update(ops)
        if self.mode == "walk" and self.stale and self.off != "horizon":
            for origin, stamp in self.horizon.items():
                reader.horizon[origin] = max(stamp, reader.horizon.get(origin, 0))
            reader.dropped = max(reader.dropped, self.dropped)


def broken_promise(nodes: list[Node], truth: Truth) -> str | None:
    """What does not hold after everybody has exchanged everything; None when all does."""
    states = [node.contents() for node in nodes]
    if any(state != states[0] for state in states):
        return f"diverged: {states}"
    for key in {key for key, _, _ in truth.ops}:
        ops = {op: past for op, (of, _, past) in enumerate(truth.ops) if of == key}
        overwritten = frozenset().union(*ops.values())
        standing = nodes[0].index.get(key)
        if standing is not None and standing.value is not None:
            if standing.op in overwritten and standing.op not in truth.restamped:
                return f"{key!r} came back as {standing.value!r}"
        elif all(truth.ops[op][1] is not None for op in ops if op not in overwritten):
            return f"{key!r} is lost"
    return None
