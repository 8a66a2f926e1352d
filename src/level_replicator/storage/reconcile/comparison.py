"""Comparison of this node's index with that of a peer: a reconciliation that counts differences and changes nothing."""

from dataclasses import dataclass, field
from itertools import islice

from level_replicator.core.limits import RESOLVE_ROWS
from level_replicator.protocol.events import RangeEntriesReceived
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.reconcile.initiator import DifferenceHandler, Merged, Resolved
from level_replicator.storage.state.index_scan import head_of, rows_of
from level_replicator.storage.state.schema import INDEX

MAX_EXAMPLES = 100


@dataclass
class Difference:
    """Differences between the indexes of two nodes, each as of a snapshot of its own.

    The snapshots are not of the same moment, and entries that are in transit between the nodes count as differences.

    only_here   number of keys that only this node has
    only_there  number of keys that only the peer has
    differing   number of keys with different rows
    examples    up to MAX_EXAMPLES pairs of the name of one of these three counts and a key
    """

    only_here: int = 0
    only_there: int = 0
    differing: int = 0
    examples: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not (self.only_here or self.only_there or self.differing)

    def note(self, kind: str, key: bytes) -> None:
        """Count a key. `kind`: name of the count, as in `examples`."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((kind, key))


class Comparison(DifferenceHandler):
    """Count the differences that an Initiator finds. `snapshot`: of this node's index; `close` closes it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.difference = Difference()
        self._snapshot = snapshot

    def resolve(self, low: bytes, high: bytes, theirs: list[tuple[bytes, bytes]]) -> Resolved:
        run = [(key[len(INDEX) :], row) for key, row in islice(rows_of(self._snapshot, low, high), RESOLVE_ROWS + 1)]
        following = run.pop()[0] if len(run) > RESOLVE_ROWS else None
        ours = dict(run)
        heads = {key: head for key, head in theirs if key >= low and (following is None or key < following)}
        for key in sorted(ours.keys() | heads.keys()):
            if key not in heads:
                self.difference.note("only_here", key)
            elif key not in ours:
                self.difference.note("only_there", key)
            elif head_of(ours[key]) != heads[key]:
                self.difference.note("differing", key)
        return Resolved(following, [])

    def take_entries(self, received: RangeEntriesReceived) -> Merged:
        raise AssertionError("a comparison received entries, though it fetches none")

    def report_count(self, count: int) -> int:
        """Return at least 1, so that the peer sends rows in place of entries, even for a range that is empty here."""
        return max(count, 1)

    def close(self) -> None:
        self._snapshot.close()
