"""Which writes of a key met on which node, as seen from outside: what `on_conflict` has to report."""

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
    """Whether one of the two was re-stamped. That one has the context of the row that it was: what it had met there has
    been reported there."""


_Arrival = tuple[bytes, "IndexRow | None", "Dot", bool, bool]


class Meetings:
    """Those of one world. `lossy`: the nodes that may have lost batches that they had written."""

    def __init__(self) -> None:
        self.met: list[Meeting] = []
        self.lossy: set[str] = set()
        self._unsure: dict[str, list[_Arrival]] = {}

    @contextmanager
    def watching(self, node: SimNode, entries: Iterable[tuple[int, Entry]]) -> Iterator[None]:
        """Around the merging of entries. When the node is killed in it, the next open shows what was merged.

        Some may be left out: as doubtful, or since our value, which theirs was equal to, has been overwritten."""
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
        for key, arrived, context in seen:  # a re-stamped entry brings all that its row had met
            for origin, stamp in decode_context(context).items():
                self.compared(node, key, (stamp, origin), of=arrived)

    def opened(self, node: SimNode) -> None:
        """A node has been opened, perhaps after a kill."""
        for arrival in self._unsure.pop(node.name, []):
            self._note(node, *arrival)

    def compared(self, node: SimNode, key: bytes, written: Dot, of: Dot | None = None) -> None:
        """Our row may reflect this write now, without its entry: a row of a peer with an equal value, or one that the
        write `of` had seen."""
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
            return  # the last: a put that was buried under a tombstone
        if _reflects(row, arrived):
            return  # it has been here before, and met what was the row then
        if row.deleted and deleted:
            return  # nothing is lost; one of them may be a put that was buried before
        self.met.append(Meeting(node.name, key, row.written_dot, arrived, restamped or bool(row.written)))


def _arrived(node: SimNode, key: bytes, written: Dot) -> None:
    assert node.store is not None
    node.world.truth.arrived(node.name, key, written, node.store.branches, node.store.histories)


def _reflects(row: IndexRow, dot: Dot) -> bool:
    """Whether a row carries this write, or it was merged into it."""
    return row.written_dot == dot or decode_context(row.context).get(dot[1], 0) >= dot[0]


def index_row(node: SimNode, key: bytes) -> IndexRow | None:
    assert node.store is not None
    line = node.store._state.rs.get(INDEX + key)
    return None if line is None else decode_index(line)


def row_of(node: SimNode, key: bytes) -> Dot | None:
    """The write that the row of a key carries."""
    row = index_row(node, key)
    return None if row is None else row.written_dot
