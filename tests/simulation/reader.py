"""Simulated programs that keep a copy of the database by the changes feed of any running node."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from level_replicator.core.records import Change
from level_replicator.core.version_vector import decode_cursor, encode_cursor
from level_replicator.storage.feed.change_feed import ChangeReader
from tests.simulation.checks import Broken
from tests.simulation.meetings import index_row

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.truth import Dot


class Reader:
    """A program that stores its cursor, as text, after each chunk, and sometimes forgets the rest of its state.

    steady     probability that it reads from the first running node, not from any
    returns    probability that it returns to contents and cursor that it stored earlier
    repeats    probability that it returns to an earlier cursor, with its present contents. Such a reader stays with one
               node: no other node could know of a write that the reader has seen and a power loss took
    """

    def __init__(self, rng: Random, *, steady: float = 0.9, returns: float = 0.0, repeats: float = 0.0) -> None:
        self.contents: dict[bytes, bytes] = {}
        self._rng = rng
        self._steady, self._returns, self._repeats = steady, returns, repeats
        self.cursor: str | None = None
        self._reader: ChangeReader | None = None
        self._of: tuple[str, int] | None = None
        self._stored: tuple[str | None, dict[bytes, bytes]] = (None, {})
        self._seen: dict[bytes, Dot] = {}
        """Key → dot of the last reported change."""

    def live(self, running: list[SimNode]) -> None:
        """Read a chunk or all, or do nothing, at random."""
        rng = self._rng
        if not running or rng.random() < 0.5:
            return
        if self._repeats:
            node = next((node for node in running if node.name == "n0"), None)
            if node is None:
                return
        else:
            node = running[0] if rng.random() < self._steady else rng.choice(running)
        if rng.random() < 0.1:
            self._stored = (self.cursor, dict(self.contents))
        if rng.random() < self._returns:
            self.contents = dict(self._stored[1])
            self.go_on(self._stored[0])
        elif self._stored[0] is not None and rng.random() < self._repeats:
            self.go_on(self._stored[0])
        if rng.random() < 0.1:
            self._read_all(node)
        else:
            self.read(node)

    def go_on(self, cursor: str | None) -> None:
        """Continue at an earlier cursor, with the present contents."""
        self.cursor, self._reader = cursor, None

    def read(self, node: SimNode) -> bool:
        """Read a chunk. Return False if there is none."""
        assert node.store is not None
        if self._reader is None or self._of != (node.name, node.life) or self._rng.random() < 0.1:
            most = self._rng.choice([1, 3, 50])
            since = None if self.cursor is None else decode_cursor(self.cursor)
            self._reader = ChangeReader(node.store._state, since, b"", most_entries=most)
            self._of = (node.name, node.life)
        if not self._reader.has_news():
            return False
        before = dict(self._reader.cursor.vector)
        chunk = self._reader.read()
        for place, item in enumerate(chunk.items):
            if not isinstance(item, Change):
                if item.complete:
                    self.contents.clear()
                continue
            if chunk.ordered:
                stamp, origin = chunk.dots[place]
                if stamp <= before.get(origin, 0):
                    raise Broken(f"the changes of {origin:016x} are not in their order")
                before[origin] = stamp
            self._seen[item.key] = (item.stamp, int(item.origin, 16))
            if item.value is None:
                self.contents.pop(item.key, None)
            else:
                self.contents[item.key] = item.value
        self.cursor = encode_cursor(self._reader.cursor)
        return True

    def finish(self, node: SimNode) -> None:
        """Read to the end. Raise Broken if the contents are not those of the node."""
        self._read_all(node)
        assert node.store is not None
        there = dict(node.store._state.db.scan())
        if self.contents != there:
            keys = sorted(
                key for key in self.contents.keys() | there.keys() if self.contents.get(key) != there.get(key)
            )
            raise Broken(f"the changes feed of {node.name} did not report the present values of {keys}")

    def _read_all(self, node: SimNode) -> None:
        """Read to the end. Raise Broken if the contents lack anything that the vector of the node covers.

        Excused: keys whose row is above the vector, since the scan that brought them is not complete, and they are
        reported when the vector covers them; and keys of which the reader has seen a newer change on another node."""
        while self.read(node):
            pass
        if node.world.forked:
            return  # excused: a cursor has no epochs; one of a continuation that a node does not know claims too much
        assert node.coordinator is not None
        assert node.store is not None
        state = node.store._state
        for key in self.contents.keys() | dict(state.db.scan()).keys():
            if self.contents.get(key) == state.db.get(key):
                continue
            row = index_row(node, key)
            known = row is None or row.stamp <= state.vector.get(row.origin, 0)
            if known and (row is None or row.written_dot >= self._seen.get(key, (0, 0))):
                raise Broken(
                    f"a reader of {node.name} has {self.contents.get(key)!r} for {key!r}, not {state.db.get(key)!r},"
                    " though it has read all changes that the node knows"
                )
