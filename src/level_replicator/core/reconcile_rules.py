"""Decision table of a reconciliation: how a reader resolves a key that differs between its index and that of a peer.

The log cannot bring every pair of nodes in sync: it may have been truncated, and tombstones may have left the index.
Then the reader compares its index with a snapshot of the peer's index, and resolves each difference by these rules.

A node is *stale* for another node if its vector is below the other's horizon for some origin: it missed tombstones that
the other node has dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from struct import pack

from level_replicator.core.entry import Dot, IndexRow
from level_replicator.core.merge import order_of_row, reflects_unknown
from level_replicator.core.version_vector import Vector

FINGERPRINT_BYTES = 16
ROW_HEAD_BYTES = 21
"""Size of the head of an index row: dot, flags and checksum. It excludes contexts, which may differ between nodes."""


def is_stale(vector: Mapping[int, int], horizon: Mapping[int, int]) -> bool:
    """Return True if a node with this vector missed tombstones that a node with this horizon has dropped."""
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


class Resolution(Enum):
    """The reader's action for one key."""

    KEEP = "keep"
    """Change nothing: both entries are the same, the reader's entry wins, or the peer will pull it."""
    TAKE = "take"
    """Fetch and merge the peer's entry."""
    DOUBTFUL = "doubtful"
    """Skip the peer's put, and do not adopt the peer's vector this time: the reader may have dropped a greater
    tombstone. The peer, which is stale, re-stamps the put when it pulls from the reader."""
    BURY = "bury"
    """Replace the reader's put by a tombstone with a new dot: the peer knew the put, deleted it, and has dropped the
    tombstone. If the row were only removed, a third node could keep the put for ever: when this reconciliation breaks
    off and the peer never returns, no vector would require anybody to send a delete."""
    RESTAMP = "restamp"
    """Give the row a new dot, so that it travels again; it keeps its place in the order of writes. The peer may have
    dropped a tombstone of this key."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A range of keys that is not known to be equal on both nodes, as the reader queries it.

    low, high    the keys with low <= key < high; high b"": up to the last key
    print        fingerprint of the reader's rows; b"": the peer is asked for its rows, whatever they are
    count        number of the reader's rows; 0: the peer is asked for all its entries
    depth        number of splits that led to this range
    """

    low: bytes
    high: bytes
    print: bytes
    count: int
    depth: int


@dataclass(frozen=True, slots=True)
class ReconcileContext:
    """The state of both sides of a reconciliation.

    known          the reader's vector at the start
    theirs         the peer's vector as of its snapshot
    stale          True if the reader is stale for the peer
    their_dropped  newest stamp of a tombstone that the peer has dropped
    """

    known: Vector
    theirs: Vector
    stale: bool
    their_dropped: int


def is_doubtful(stamp: int, deleted: bool, doubt: int) -> bool:
    """Return True if an entry that would win may be older than a tombstone of its key that this node has dropped.

    `doubt` is the newest stamp of a tombstone that this node has dropped if the peer is stale for it now, else 0."""
    return not deleted and stamp <= doubt


def is_superseded(written: Dot, vector: Mapping[int, int]) -> bool:
    """Return True if a put that would win was superseded by a delete that the node with this vector has forgotten.

    If the vector covers the write, the state of the key reflects it, or something greater, or something greater that
    has been forgotten. Since the put would win over the present state, only the last case is left."""
    return written[0] <= vector.get(written[1], 0)


def resolve_remote_only(stamp: int, origin: int, deleted: bool, known: Mapping[int, int], doubt: int) -> Resolution:
    """Resolve a key that only the peer has. `doubt` as in `is_doubtful`."""
    if stamp <= known.get(origin, 0):
        return Resolution.KEEP  # this node had the entry, and has dropped its tombstone
    return Resolution.DOUBTFUL if is_doubtful(stamp, deleted, doubt) else Resolution.TAKE


def resolve_local_only(row: IndexRow, reconcile_context: ReconcileContext) -> Resolution:
    """Resolve a key that only the reader has."""
    if row.deleted:
        return Resolution.KEEP  # only retention drops tombstones
    if row.stamp <= reconcile_context.theirs.get(row.origin, 0) or is_superseded(
        row.written_dot, reconcile_context.theirs
    ):
        return Resolution.BURY
    return Resolution.RESTAMP if _may_be_unknown(row, reconcile_context) else Resolution.KEEP


def resolve_both(ours: IndexRow, theirs: IndexRow, reconcile_context: ReconcileContext, doubt: int) -> Resolution:
    """Resolve a key for which both sides have a row. `doubt` as in `is_doubtful`.

    KEEP: our row wins. RESTAMP: our row wins and needs a new dot. BURY: our row wins, but the peer knows that it was
    deleted."""
    if ours.dot == theirs.dot:
        return Resolution.KEEP
    if order_of_row(theirs) > order_of_row(ours):
        unknown = theirs.stamp > reconcile_context.known.get(theirs.origin, 0)
        return Resolution.DOUBTFUL if unknown and is_doubtful(theirs.stamp, theirs.deleted, doubt) else Resolution.TAKE
    if is_superseded_at_peer(ours, theirs.written_dot, reconcile_context):
        return Resolution.BURY
    return Resolution.RESTAMP if must_restamp(ours, theirs.dot, reconcile_context) else Resolution.KEEP


def is_superseded_at_peer(winner: IndexRow, loser: Dot, reconcile_context: ReconcileContext) -> bool:
    """Return True if our put, which won over the peer's write `loser`, was superseded by a delete.

    Then the peer's vector covers our write, but its entry of the key is smaller: the peer has forgotten the delete."""
    return (
        not winner.deleted
        and winner.written_dot != loser
        and is_superseded(winner.written_dot, reconcile_context.theirs)
    )


def may_be_dropped(tombstone: IndexRow, vector: Mapping[int, int]) -> bool:
    """Return True if a node with this vector may drop a tombstone that is old enough.

    The vector must cover the tombstone and every write that it has seen. Then no dropped tombstone has seen a write
    that the vector does not cover, so that such a write may be accepted."""
    covered = tombstone.stamp <= vector.get(tombstone.origin, 0)
    return covered and not reflects_unknown(tombstone.written_dot, tombstone.context, vector)


def must_restamp(winner: IndexRow, loser: Dot, reconcile_context: ReconcileContext | None) -> bool:
    """Return True if our row, which won over an entry with the dot `loser`, needs a new dot.

    Either its dot disagrees with the order of writes; or, in a reconciliation, the reader is stale and its put may be
    older than a tombstone that the peer has dropped."""
    unknown = reconcile_context is not None and not winner.deleted and _may_be_unknown(winner, reconcile_context)
    return unknown or dot_disagrees(winner.dot, loser)


def dot_disagrees(winner: Dot, loser: Dot) -> bool:
    """Return True if the winner of a merge has a smaller dot than the loser, which was re-stamped.

    The winner then needs a new dot: a node that has forgotten the winner may know only the new dot of the loser."""
    return winner < loser


def _may_be_unknown(row: IndexRow, reconcile_context: ReconcileContext) -> bool:
    return reconcile_context.stale and row.stamp <= reconcile_context.their_dropped


class Fingerprint:
    """Fingerprint of consecutive index rows, in order of keys. Equal fingerprints mean equal keys, dots and checksums.

    The result does not depend on how the rows are divided among calls of `add`."""

    __slots__ = ("_heads", "_keys", "_lengths", "count")

    def __init__(self) -> None:
        self.count = 0
        self._keys, self._heads, self._lengths = blake2b(), blake2b(), blake2b()

    def add(self, keys: list[bytes], heads: list[bytes]) -> None:
        """Add rows. `heads` are the first ROW_HEAD_BYTES of each row."""
        self.count += len(keys)
        self._keys.update(b"".join(keys))
        self._heads.update(b"".join(heads))
        # the lengths make the boundaries between keys part of the fingerprint
        self._lengths.update(pack(f">{len(keys)}I", *map(len, keys)))

    def digest(self) -> bytes:
        """Return the FINGERPRINT_BYTES bytes of the fingerprint."""
        parts = self._keys.digest() + self._heads.digest() + self._lengths.digest()
        return blake2b(parts, digest_size=FINGERPRINT_BYTES).digest()


def value_digest(value: bytes) -> bytes:
    """Return a digest of a value, by which two nodes verify that values with equal checksums are equal."""
    return blake2b(value, digest_size=FINGERPRINT_BYTES).digest()


def shortest_separator(below: bytes, above: bytes) -> bytes:
    """Return a short key k with `below` < k <= `above`, at which a range is split."""
    length = 0
    for a, b in zip(below, above, strict=False):
        if a != b:
            break
        length += 1
    return above[: length + 1]
