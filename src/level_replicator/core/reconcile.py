"""Reconcile: what becomes of a key when a reader walks through its own index and that of a peer.

The log cannot bridge every gap: it may have been truncated, and tombstones may have left the index. Then
the two indexes are compared, and this table decides. `P` is the reader, `S` the peer, as of one snapshot of it.

*stale*(X for Y): X's vector is below Y's horizon for some origin, so X missed tombstones that Y has dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from struct import pack

from level_replicator.core.merge import wins
from level_replicator.core.versions import Vector

PRINT_BYTES = 16
HEAD_BYTES = 21
"""Of a line of the index: dot, flags and checksum, without contexts, which may differ from node to node."""


def stale(vector: Mapping[int, int], horizon: Mapping[int, int]) -> bool:
    """Whether who knows this vector missed tombstones that were dropped behind this horizon."""
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


class Verdict(Enum):
    """What the reader does about one key."""

    KEEP = "keep"
    """Nothing: both have the same, the reader's is greater, or the peer will learn of it."""
    TAKE = "take"
    """The peer's entry is merged."""
    DOUBTFUL = "doubtful"
    """Left out, and the peer's vector is not taken over this time: the reader may have dropped a newer tombstone.
    The peer, which is stale, writes it again when it reads the reader."""
    DELETE = "delete"
    """The peer knew it and deleted it: it goes from index, log and database."""
    DROP = "drop"
    """A tombstone of a stale reader, older than some that the peer dropped: it goes, and raises the horizon
    if the reader's vector covers it."""
    RESTAMP = "restamp"
    """Nobody can tell any more whether it was deleted: the reader writes it again, under a fresh stamp."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What the two sides of a walk know.

    known          the reader's vector when the walk began
    theirs         the peer's vector, as of its snapshot
    stale          whether the reader is stale for the peer
    their_dropped  the newest stamp of a tombstone that the peer has dropped
    """

    known: Vector
    theirs: Vector
    stale: bool
    their_dropped: int


def judge_theirs(stamp: int, origin: int, known: Mapping[int, int], doubt: int) -> Verdict:
    """Of a key that only the peer has. `doubt`: the newest stamp among tombstones dropped here if the peer is stale
    for us at this moment, else 0."""
    if stamp <= known.get(origin, 0):
        return Verdict.KEEP  # we had it, and dropped its tombstone
    if stamp <= doubt:
        return Verdict.DOUBTFUL
    return Verdict.TAKE


def judge_ours(stamp: int, origin: int, deleted: bool, sides: Sides) -> Verdict:
    """Of a key that only the reader has."""
    unsure = sides.stale and stamp <= sides.their_dropped
    if deleted:
        return Verdict.DROP if unsure else Verdict.KEEP
    if stamp <= sides.theirs.get(origin, 0):
        return Verdict.DELETE
    return Verdict.RESTAMP if unsure else Verdict.KEEP


def judge_both(stamp: int, origin: int, their_stamp: int, their_origin: int) -> Verdict:
    """Of a key that both have: the greatest dot wins, tombstones are entries like any other."""
    return Verdict.TAKE if wins(their_stamp, their_origin, stamp, origin) else Verdict.KEEP


class Fingerprint:
    """Of a run of lines of the index, in order of their keys: equal prints mean equal keys, dots and checksums.

    It does not depend on how the lines are dealt out over calls of `add`."""

    __slots__ = ("_heads", "_keys", "_lengths", "count")

    def __init__(self) -> None:
        self.count = 0
        self._keys, self._heads, self._lengths = blake2b(), blake2b(), blake2b()

    def add(self, keys: list[bytes], heads: list[bytes]) -> None:
        """`heads`: the first HEAD_BYTES of each line."""
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
