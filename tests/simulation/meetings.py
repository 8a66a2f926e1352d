"""Observes from outside which writes of a key met on which node, and so which conflicts `on_conflict` must report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from level_replicator.core.entry import Entry, IndexRow, decode_context, decode_index
from level_replicator.storage.state.schema import INDEX

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.truth import Dot


class Meeting(NamedTuple):
    """A write arrived at a node that had another one as the row of the key. Both are named by their `written`."""

    node: str
    key: bytes
    row: Dot
    arrived: Dot
    restamped: bool
    """Whether one of the two was re-stamped. It has the context of its former row: conflicts at its former node have
    been reported there."""


_Arrival = tuple[bytes, "IndexRow | None", "Dot", bool, bool]


class Meetings:
    """Meetings of one world. `lossy`: the nodes that may have lost batches that they had written."""

    def __init__(self) -> None:
        self.met: list[Meeting] = []
        self.lossy: set[str] = set()
        self._unsure: dict[str, list[_Arrival]] = {}

    @contextmanager
    def watching(self, node: SimNode, entries: Iterable[tuple[int, Entry]]) -> Iterator[None]:
        """Observe the merging of entries in the body. If the node is killed in it, the next open shows the result.

        The node may leave entries out: doubtful ones, and those without a value whose equal value here has been
        overwritten."""
        entries = list(entries)
        arriving = [
            (entry.key, index_row(node, entry.key), entry.written_dot(origin), bool(entry.written), entry.value is None)
            for origin, entry in entries
        ]
        seen = [(entry.key, entry.written_dot(origin), entry.context) for origin, entry in entries if entry.written]
        self._unsure[node.name] = arriving
        yield
        del self._unsure[node.name]
        for arrival in arriving:
            self._note(node, *arrival)
        for key, arrived, context in seen:  # a re-stamped entry has the context of its row
            for origin, stamp in decode_context(context).items():
                self.compared(node, key, (stamp, origin), of=arrived)

    def opened(self, node: SimNode) -> None:
        """Account for entries whose merging a kill interrupted: the node has been opened again."""
        for arrival in self._unsure.pop(node.name, []):
            self._note(node, *arrival)

    def compared(self, node: SimNode, key: bytes, written: Dot, of: Dot | None = None) -> None:
        """Account for a write that a row may reflect now though no entry of it arrived.

        Either a row of a peer with an equal value carried it, or the write `of` had seen it."""
        now = index_row(node, key)
        if now is not None and _reflects(now, written) and (of is None or _reflects(now, of)):
            _arrived(node, key, written)

    def _note(
        self, node: SimNode, key: bytes, row: IndexRow | None, arrived: Dot, restamped: bool, deleted: bool
    ) -> None:
        now = index_row(node, key)
        if now is None or not _reflects(now, arrived):
            return
        _arrived(node, key, arrived)
        if row is None or (now.deleted and now.written_dot == arrived):
            return  # in the second case a put was buried under a tombstone
        if _reflects(row, arrived):
            return  # it has been here before, and met the row of that time
        if row.deleted and deleted:
            return  # nothing is lost; one of them may be a put that was buried before
        self.met.append(Meeting(node.name, key, row.written_dot, arrived, restamped or bool(row.written)))


def _arrived(node: SimNode, key: bytes, written: Dot) -> None:
    assert node.store is not None
    node.world.truth.arrived(node.name, key, written, node.store.branches, node.store.histories)


def _reflects(row: IndexRow, dot: Dot) -> bool:
    """Return whether a row carries this write, or was merged with it."""
    return row.written_dot == dot or decode_context(row.context).get(dot[1], 0) >= dot[0]


def index_row(node: SimNode, key: bytes) -> IndexRow | None:
    assert node.store is not None
    line = node.store._state.rs.get(INDEX + key)
    return None if line is None else decode_index(line)


def row_of(node: SimNode, key: bytes) -> Dot | None:
    """Return the write that the row of a key carries; None: the key has no row."""
    row = index_row(node, key)
    return None if row is None else row.written_dot
