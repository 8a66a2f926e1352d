"""Reconciliation: what becomes of a key when a reader compares its own index with that of a peer.

The log cannot bridge every gap: it may have been truncated, and tombstones may have left the index. Then
the two indexes are compared, and this table decides. The reader is one side, one snapshot of the peer the other.

A node is *stale* for another one if its vector is below the other's horizon for some origin: it missed tombstones that
the other has dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from struct import pack

from level_replicator.core.entry import Dot, IndexRow
from level_replicator.core.merge import order_of_row, reflects_unknown
from level_replicator.core.version_vector import Vector

PRINT_BYTES = 16
HEAD_BYTES = 21
"""Of an index row: dot, flags and checksum, without contexts, which may differ from node to node."""


def stale(vector: Mapping[int, int], horizon: Mapping[int, int]) -> bool:
    """Whether a node with this vector missed tombstones that were dropped behind this horizon."""
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


class Resolution(Enum):
    """What the reader does about one key."""

    KEEP = "keep"
    """Nothing: both have the same, the reader's is greater, or the peer will learn of it."""
    TAKE = "take"
    """The peer's entry is merged."""
    DOUBTFUL = "doubtful"
    """The peer's put is skipped, and its vector is not adopted this time: the reader may have dropped a greater
    tombstone. The peer, which is stale, re-stamps it when it pulls from the reader."""
    BURY = "bury"
    """The peer knew it, deleted it, and dropped the tombstone: it becomes a tombstone again, under a new dot. Removed
    without a trace, it would stay on a third node that has it, if this reconciliation does not come to its end and the
    peer never comes back."""
    RESTAMP = "restamp"
    """A peer that dropped tombstones may have dropped one of this key: the row travels again under a new dot, and
    keeps its place in the order of writes."""


@dataclass(frozen=True, slots=True)
class ReconcileContext:
    """What the two sides of a reconciliation know.

    known          the reader's vector when it began
    theirs         the peer's vector, as of its snapshot
    stale          whether the reader is stale for the peer
    their_dropped  the newest stamp of a tombstone that the peer has dropped
    """

    known: Vector
    theirs: Vector
    stale: bool
    their_dropped: int


def is_doubtful(stamp: int, deleted: bool, doubt: int) -> bool:
    """Whether an entry that would win may be older than a tombstone of its key that was dropped here.

    `doubt`: the newest stamp among the tombstones dropped here if the peer is stale for us at this moment, else 0."""
    return not deleted and stamp <= doubt


def is_dead(written: Dot, vector: Mapping[int, int]) -> bool:
    """Whether a put that would win was superseded by a delete that everybody here has forgotten.

    Our vector covers its write: the state of the key reflects that, or something greater, or something greater that has
    been forgotten. Since it would win, it is the last of these."""
    return written[0] <= vector.get(written[1], 0)


def resolve_remote_only(stamp: int, origin: int, deleted: bool, known: Mapping[int, int], doubt: int) -> Resolution:
    """Judge a key that only the peer has."""
    if stamp <= known.get(origin, 0):
        return Resolution.KEEP  # we had it, and dropped its tombstone
    return Resolution.DOUBTFUL if is_doubtful(stamp, deleted, doubt) else Resolution.TAKE


def resolve_local_only(row: IndexRow, reconcile_context: ReconcileContext) -> Resolution:
    """Judge a key that only the reader has."""
    if row.deleted:
        return Resolution.KEEP  # retention drops it, and nothing else
    if row.stamp <= reconcile_context.theirs.get(row.origin, 0) or is_dead(row.written_dot, reconcile_context.theirs):
        return Resolution.BURY
    return Resolution.RESTAMP if _may_be_unknown(row, reconcile_context) else Resolution.KEEP


def resolve_both(ours: IndexRow, theirs: IndexRow, reconcile_context: ReconcileContext, doubt: int) -> Resolution:
    """Judge a key of which the two sides have different rows.

    KEEP: our row wins. RESTAMP: it wins, and travels again under a new dot. BURY: it wins, and is dead for the peer."""
    if ours.dot == theirs.dot:
        return Resolution.KEEP
    if order_of_row(theirs) > order_of_row(ours):
        unknown = theirs.stamp > reconcile_context.known.get(theirs.origin, 0)
        return Resolution.DOUBTFUL if unknown and is_doubtful(theirs.stamp, theirs.deleted, doubt) else Resolution.TAKE
    if is_dead_there(ours, theirs.written_dot, reconcile_context):
        return Resolution.BURY
    return Resolution.RESTAMP if must_restamp(ours, theirs.dot, reconcile_context) else Resolution.KEEP


def is_dead_there(winner: IndexRow, loser: Dot, reconcile_context: ReconcileContext) -> bool:
    """Whether our put, which won over the peer's write `loser`, was superseded by a delete that the peer has forgotten:
    its vector covers our write, and all that it has of the key is smaller."""
    return not winner.deleted and winner.written_dot != loser and is_dead(winner.written_dot, reconcile_context.theirs)


def may_be_dropped(tombstone: IndexRow, vector: Mapping[int, int]) -> bool:
    """Whether a tombstone may leave the index of a node with this vector, once it is old enough.

    The vector must cover it and all that it has seen. Then a write that the vector does not cover was not seen by any
    tombstone that was dropped here, and may be taken."""
    covered = tombstone.stamp <= vector.get(tombstone.origin, 0)
    return covered and not reflects_unknown(tombstone.written_dot, tombstone.context, vector)


def must_restamp(winner: IndexRow, loser: Dot, reconcile_context: ReconcileContext | None) -> bool:
    """Whether our row, which won over an entry with the dot `loser`, must travel again under a new dot.

    Either its dot disagrees with the order of writes; or, in a reconciliation, it is a put of a stale reader that may
    be older than a tombstone that the peer has dropped."""
    unknown = reconcile_context is not None and not winner.deleted and _may_be_unknown(winner, reconcile_context)
    return unknown or dot_disagrees(winner.dot, loser)


def dot_disagrees(winner: Dot, loser: Dot) -> bool:
    """Whether the winner of a merge has a smaller dot than the loser, which was re-stamped. Then it needs a new one: a
    node that has forgotten the winner may know only the new dot of the loser."""
    return winner < loser


def _may_be_unknown(row: IndexRow, reconcile_context: ReconcileContext) -> bool:
    return reconcile_context.stale and row.stamp <= reconcile_context.their_dropped


class Fingerprint:
    """Of a run of index rows, in order of their keys: equal prints mean equal keys, dots and checksums.

    It does not depend on how the rows are dealt out over calls of `add`."""

    __slots__ = ("_heads", "_keys", "_lengths", "count")

    def __init__(self) -> None:
        self.count = 0
        self._keys, self._heads, self._lengths = blake2b(), blake2b(), blake2b()

    def add(self, keys: list[bytes], heads: list[bytes]) -> None:
        """`heads`: the first HEAD_BYTES of each row."""
        self.count += len(keys)
        self._keys.update(b"".join(keys))
        self._heads.update(b"".join(heads))
        # where one key ends and the next begins
        self._lengths.update(pack(f">{len(keys)}I", *map(len, keys)))

    def digest(self) -> bytes:
        parts = self._keys.digest() + self._heads.digest() + self._lengths.digest()
        return blake2b(parts, digest_size=PRINT_BYTES).digest()


def value_digest(value: bytes) -> bytes:
    """By which two sides make sure that values with one checksum are the same."""
    return blake2b(value, digest_size=PRINT_BYTES).digest()


def separator(below: bytes, above: bytes) -> bytes:
    """A short key above `below` and not above `above`, to part a range between the two."""
    length = 0
    for a, b in zip(below, above, strict=False):
        if a != b:
            break
        length += 1
    return above[: length + 1]
