"""One node of the reference: what it stores, and what it does to that by itself."""

from collections.abc import Mapping
from typing import Any, NamedTuple

START_MS = 1_000_000
"""What the wall clock of a world shows at first, in ms since 1970; well above any skew."""

COUNTER_BITS = 16


class Line(NamedTuple):
    """Of the index. `value`: None in a tombstone."""

    stamp: int
    origin: int
    value: bytes | None


def stale(vector: Mapping[int, int], horizon: Mapping[int, int]) -> bool:
    """Whether who has this vector missed tombstones that were dropped behind this horizon."""
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


def raise_to(stamps: dict[int, int], others: Mapping[int, int]) -> None:
    """The greater one of each origin."""
    for origin, stamp in others.items():
        if stamp > stamps.get(origin, 0):
            stamps[origin] = stamp


class RefNode:
    """`number` is also its origin. vector, floor and horizon hold no zeros.

    clock            the greatest stamp that it has issued or followed
    newest_dropped   the newest stamp among tombstones dropped here, 0 before the first one
    retired          (stamp, origin) of each tombstone that became too old here; for the truth, no rule looks at it
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.skew_ms = 0
        self.clock = 0
        self.index: dict[bytes, Line] = {}
        self.vector: dict[int, int] = {}
        self.floor: dict[int, int] = {}
        self.horizon: dict[int, int] = {}
        self.newest_dropped = 0
        self.retired: frozenset[tuple[int, int]] = frozenset()

    @property
    def log(self) -> set[bytes]:
        """Keys whose line is in the log: those above the floor."""
        return {key for key, line in self.index.items() if line.stamp > self.floor.get(line.origin, 0)}

    def values(self) -> dict[bytes, bytes]:
        """What the database holds."""
        return {key: line.value for key, line in self.index.items() if line.value is not None}

    def picture(self) -> dict[str, Any]:
        """A copy of all that it stores but its clock."""
        return {
            "index": dict(self.index),
            "log": self.log,
            "vector": dict(self.vector),
            "floor": dict(self.floor),
            "horizon": dict(self.horizon),
            "newest_dropped": self.newest_dropped,
        }

    # -- writing

    def next_stamp(self, now_ms: int) -> int:
        self.clock = max(self.clock + 1, (now_ms + self.skew_ms) << COUNTER_BITS)
        return self.clock

    def follow(self, stamp: int) -> None:
        self.clock = max(self.clock, stamp)

    def write(self, key: bytes, value: bytes | None, now_ms: int) -> int:
        """A put or, with None, a delete of its own. Its stamp."""
        stamp = self.next_stamp(now_ms)
        self.index[key] = Line(stamp, self.number, value)
        self.vector[self.number] = stamp
        return stamp

    def merge(self, key: bytes, theirs: Line) -> None:
        """An entry of a peer: the greatest dot wins."""
        mine = self.index.get(key)
        if mine is None or theirs[:2] > mine[:2]:
            self.index[key] = theirs
        self.follow(theirs.stamp)

    # -- space

    def cut(self, origin: int, how: str) -> int:
        """The stamp that a truncation of "all" or "half" of an origin's log comes up to. ValueError: neither."""
        if how == "all":
            return self.vector.get(origin, 0)
        if how != "half":
            raise ValueError(f"how much is {how!r}?")
        floor = self.floor.get(origin, 0)
        stamps = sorted(line.stamp for line in self.index.values() if line.origin == origin and line.stamp > floor)
        return stamps[(len(stamps) - 1) // 2] if stamps else floor

    def truncate(self, cuts: Mapping[int, int]) -> None:
        """The log up to these stamps goes, as far as the vector covers it."""
        raise_to(self.floor, {origin: min(stamp, self.vector.get(origin, 0)) for origin, stamp in cuts.items()})

    def drop_tombstones(self, age_ms: int) -> None:
        """All that are covered by the vector and so old by this node's clock leave the index."""
        newest = self.clock - (age_ms << COUNTER_BITS)
        for key, line in list(self.index.items()):
            if line.value is None and line.stamp <= min(newest, self.vector.get(line.origin, 0)):
                self.retired |= {line[:2]}
                self.drop(key)

    def drop(self, key: bytes) -> None:
        """A tombstone leaves the index. It raises the horizon, unless it is above the vector: who does not know a
        tombstone cannot say that others missed it, and a horizon above all vectors made everybody stale for ever."""
        line = self.index.pop(key)
        if line.stamp <= self.vector.get(line.origin, 0):
            raise_to(self.horizon, {line.origin: line.stamp})
            self.newest_dropped = max(self.newest_dropped, line.stamp)
