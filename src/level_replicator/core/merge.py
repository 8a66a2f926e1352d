"""What happens when two entries of one key meet: the greatest dot wins, everywhere the same.

A dot is (stamp, origin). Stamps alone do not decide: two nodes may issue the same one, and then
the origin does, so that the order of arrival never matters.
"""

from level_replicator.core.entry import decode_context, encode_context


def wins(stamp: int, origin: int, over_stamp: int, over_origin: int) -> bool:
    """Whether the dot (stamp, origin) is greater than the other one."""
    return stamp > over_stamp or (stamp == over_stamp and origin > over_origin)


def next_context(old_stamp: int, old_origin: int, old_context: bytes, origin: int) -> bytes:
    """The context of what `origin` writes over a line of the index: all that the line reflects, but its own."""
    if not old_context:
        return b"" if old_origin == origin else encode_context({old_origin: old_stamp})
    context = decode_context(old_context)
    context[old_origin] = old_stamp
    context.pop(origin, None)
    return encode_context(context)


def union_context(
    winner_origin: int, winner_context: bytes, loser_stamp: int, loser_origin: int, loser_context: bytes
) -> bytes:
    """What a line of the index reflects after the winner has met the loser."""
    if winner_origin == loser_origin and not winner_context and not loser_context:
        return b""
    union = decode_context(winner_context)
    for origin, stamp in [*decode_context(loser_context).items(), (loser_origin, loser_stamp)]:
        if stamp > union.get(origin, 0):
            union[origin] = stamp
    union.pop(winner_origin, None)
    return encode_context(union)


def overwrites(origin: int, context: bytes, over_stamp: int, over_origin: int) -> bool:
    """Whether a write of `origin` with this context, which wins over the dot, had seen it. If not, the two were
    concurrent: a conflict."""
    if origin == over_origin:
        return True
    return bool(context) and decode_context(context).get(over_origin, 0) >= over_stamp


def lost_in_conflict(stamp: int, origin: int, winner_origin: int, winner_union: bytes) -> bool:
    """Whether an entry that loses is news to the line that it loses to: not overwritten by that, nor merged with it
    before, since then it was told already."""
    return not overwrites(winner_origin, winner_union, stamp, origin)
