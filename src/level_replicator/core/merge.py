"""Decide which of two entries of a key wins, in the same way on every node, and compute the winner's context.

Entries of a key are ordered by the write that they carry (`written`), then a delete is greater than a put of the same
write, then by their dot. The greatest entry wins. A re-stamped entry has a new dot and keeps its place in this order.

Two nodes may issue the same stamp; then the origins of the writes decide, so that the order of arrival never matters.
If one of these origins is a branch of the other, or both are branches of a third origin, a later fork may rename one of
them (core.epochs). The order must not depend on a name that may change: within such a family a delete is greater than a
put, and of two puts the one whose value has the greater checksum is greater.
"""

from collections.abc import Mapping

from level_replicator.core.entry import DELETE, Dot, Entry, IndexRow, decode_context, encode_context
from level_replicator.core.epochs import family_of
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS

Order = tuple[int, int, bool, int, int, Dot]


def order_of(written: Dot, flags: int, checksum: int, dot: Dot) -> Order:
    """Return the sort key of an entry among all entries of its key. The entry with the greatest sort key wins."""
    stamp, origin = written
    return stamp, family_of(origin), bool(flags & DELETE), checksum, origin, dot


def order_of_row(row: IndexRow) -> Order:
    """Return the sort key of the entry that an index row describes."""
    return order_of(row.written_dot, row.flags, row.checksum, row.dot)


def next_context(written: Dot, union: bytes, origin: int) -> bytes:
    """Return the context of a new write by `origin` that overwrites an index row.

    It has the *written* and the union context of the row, without the writer's own origin."""
    stamp, of = written
    if not union:
        return b"" if of == origin else encode_context({of: stamp})
    context = decode_context(union)
    context[of] = max(stamp, context.get(of, 0))
    context.pop(origin, None)
    return encode_context(context)


def union_context(winner_written: Dot, winner_context: bytes, loser_written: Dot, loser_context: bytes) -> bytes:
    """Return the union context of an index row after its winner was merged with the loser."""
    if winner_written[1] == loser_written[1] and not winner_context and not loser_context:
        return b""
    union = decode_context(winner_context)
    for origin, stamp in [*decode_context(loser_context).items(), (loser_written[1], loser_written[0])]:
        if stamp > union.get(origin, 0):
            union[origin] = stamp
    union.pop(winner_written[1], None)
    return encode_context(union)


def overwrites(written: Dot, context: bytes, over: Dot) -> bool:
    """Return True if the winning write `written`, with this context, had seen the write `over`.

    Otherwise the two writes are concurrent, which is a conflict."""
    if written[1] == over[1]:
        return True
    return bool(context) and decode_context(context).get(over[1], 0) >= over[0]


def lost_in_conflict(lost: Dot, winner: Dot, winner_union: bytes) -> bool:
    """Return True if the incoming write `lost`, which loses to an index row, is in conflict with it.

    It is not if the row reflects `lost` already: then the conflict, if any, was reported when the two were merged."""
    return lost != winner and not overwrites(winner, winner_union, lost)


def same_value(one: IndexRow | Entry, other: IndexRow | Entry) -> bool:
    """Return True if both entries delete, or both put a value with the same checksum: then no conflict is reported.

    Two different values have the same CRC-32 in one of 2^32 cases."""
    return (one.flags & DELETE, one.checksum) == (other.flags & DELETE, other.checksum)


def reflects_unknown(written: Dot, context: bytes, vector: Mapping[int, int]) -> bool:
    """Return True if an index row has seen a write that `vector` does not cover, so that its tombstone must be kept.

    A full context always counts as such, since its oldest pairs may have been left out."""
    if vector.get(written[1], 0) < written[0]:
        return True
    if not context:
        return False
    pairs = decode_context(context)
    return len(pairs) >= MAX_CONTEXT_ORIGINS or any(stamp > vector.get(origin, 0) for origin, stamp in pairs.items())
