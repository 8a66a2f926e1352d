"""Which writes of a key met on which node, as seen from outside: what `on_conflict` has to report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from level_replicator.core.entry import INDEX_HEAD, Entry, decode_context, decode_index
from level_replicator.core.keys import INDEX

if TYPE_CHECKING:
    from tests.sim.node import SimNode
    from tests.sim.truth import Dot


class Meeting(NamedTuple):
    """An entry arrived at a node that had another one as the row of the key."""

    node: str
    key: bytes
    row: Dot
    arrived: Dot


class Meetings:
    """Those of one world. `lossy`: the nodes that may have lost batches that they had written."""

    def __init__(self) -> None:
        self.met: list[Meeting] = []
        self.lossy: set[str] = set()
        self._unsure: dict[str, list[tuple[bytes, Dot | None, Dot]]] = {}

    @contextmanager
    def watching(
        self, node: SimNode, entries: Iterable[tuple[int, Entry]], equal: Collection[int] = ()
    ) -> Iterator[None]:
        """Around the merging of entries. When the node is killed in it, the next open shows what was merged.

        `equal`: places of entries that came without a value. They are passed over if our value has been overwritten."""
        arriving = [(entry.key, row_of(node, entry.key), (entry.stamp, origin)) for origin, entry in entries]
        self._unsure[node.name] = arriving
        yield
        del self._unsure[node.name]
        for at, (key, row, arrived) in enumerate(arriving):
            if at not in equal or _reflects(node, key, arrived):
                self._note(node, key, row, arrived)

    def opened(self, node: SimNode) -> None:
        """A node has been opened, perhaps after a kill."""
        for key, row, arrived in self._unsure.pop(node.name, []):
            if _reflects(node, key, arrived):
                self._note(node, key, row, arrived)

    def _note(self, node: SimNode, key: bytes, row: Dot | None, arrived: Dot) -> None:
        node.world.truth.arrived(node.name, key, arrived)
        if row not in (None, arrived):
            self.met.append(Meeting(node.name, key, row, arrived))


def _reflects(node: SimNode, key: bytes, dot: Dot) -> bool:
    """Whether the row of a key names this entry, or that it was merged."""
    assert node.store is not None
    line = node.store._state.rs.get(INDEX + key)
    if line is None:
        return False
    row = decode_index(line)
    return (row.stamp, row.origin) == dot or decode_context(row.context).get(dot[1], 0) >= dot[0]


def row_of(node: SimNode, key: bytes) -> Dot | None:
    """The dot of the row of a key."""
    assert node.store is not None
    line = node.store._state.rs.get(INDEX + key)
    if line is None:
        return None
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(line)
    return stamp, origin
