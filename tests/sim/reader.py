"""A program that keeps a copy of the database by the changes feed, from whichever node it finds running."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from level_replicator.core.versions import Vector
from level_replicator.storage.changes import Change, ChangeReader
from tests.sim.checks import Broken

if TYPE_CHECKING:
    from tests.sim.node import SimNode


class Reader:
    """It stores its cursor after each chunk, and forgets everything else now and then."""

    def __init__(self, rng: Random) -> None:
        self.contents: dict[bytes, bytes] = {}
        self.rng = rng
        self._cursor: Vector | None = None
        self._reader: ChangeReader | None = None
        self._of: tuple[str, int] | None = None

    def read(self, node: SimNode) -> bool:
        """A chunk of what there is. False when there is nothing more."""
        assert node.store is not None
        if self._reader is None or self._of != (node.name, node.life) or self.rng.random() < 0.1:
            most = self.rng.choice([1, 3, 50])
            self._reader = ChangeReader(node.store._state, self._cursor, b"", most_entries=most)
            self._of = (node.name, node.life)
        if not self._reader.has_news():
            return False
        before = dict(self._reader.cursor)
        chunk = self._reader.read()
        for item in chunk.items:
            if not isinstance(item, Change):
                if item.complete:
                    self.contents.clear()
                continue
            if chunk.ordered:
                origin = int(item.origin, 16)
                if item.stamp <= before.get(origin, 0):
                    raise Broken(f"the changes of {item.origin} are not in their order")
                before[origin] = item.stamp
            if item.value is None:
                self.contents.pop(item.key, None)
            else:
                self.contents[item.key] = item.value
        self._cursor = dict(self._reader.cursor)
        return True

    def finish(self, node: SimNode) -> None:
        """Reads to the end; then it must have what the node has."""
        assert node.store is not None
        while self.read(node):
            pass
        there = dict(node.store._state.db.scan())
        if self.contents != there:
            keys = sorted(
                key for key in self.contents.keys() | there.keys() if self.contents.get(key) != there.get(key)
            )
            raise Broken(f"the changes feed of {node.name} did not give what there is of {keys}")
