"""Origin change: give a node a new origin, since its old one was, or may have been, used for writes that it forgot.

The log of the old origin is certainly complete up to a stamp, `beyond_doubt`. The new origin takes over the node's own
writes above it. They keep their stamps and their *written*: each is still the write of the old origin, so it overwrites
no newer write, and a peer's copy of it is the same write. (After a fork this differs, see `_taken_over`.) The vector of
the old origin is lowered to `beyond_doubt`, so that peers send the forgotten writes.
"""

from collections.abc import Callable

from level_replicator.core.entry import (
    INDEX_HEAD,
    Dot,
    decode_context,
    decode_index,
    encode_context,
    encode_dot,
    encode_entry,
    encode_index,
    index_contexts,
)
from level_replicator.core.epochs import EPOCH_BYTES, make_epoch
from level_replicator.core.hlc import MAX_STAMP
from level_replicator.core.limits import REPAIR_BATCH_BYTES, REPAIR_BATCH_ENTRIES
from level_replicator.storage.state.log_reader import read_entry
from level_replicator.storage.state.schema import INDEX, following, log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_FIRST = 1
"""A stamp that is below the stamps of all writes."""


def begin_origin_change(
    state: ReplicationState,
    random_bytes: Callable[[int], bytes],
    beyond_doubt: int,
    *,
    repairing: bool = False,
    torn: bool = False,
    forked: bool = False,
    identities: tuple[bytes, bytes] | None = None,
) -> None:
    """Give this node a new origin, made from random bytes. The caller holds the lock.

    `finish_origin_change` must follow, in this run or at the next open.

    beyond_doubt  stamp up to which the log of the old origin is complete
    repairing, torn  see Meta
    forked        True if another node may have used the old origin for other writes. Then our writes become writes of
                  the new origin. It has the same family, so they keep their place among writes with equal stamps
                  (core.merge)
    identities    new identities of the directories of replication set and database; None if they have not changed
    """
    identity, db_identity = identities or (state.meta.identity, state.meta.db_identity)
    with Transaction(state, sync=True) as tx:
        tx.change_meta(
            origin=make_epoch(state.origin, (), random_bytes(EPOCH_BYTES)) if forked else random_origin(random_bytes),
            origin_changed=True,
            traced=True,
            changing_from=(state.origin, beyond_doubt),
            repairing=repairing,
            torn=torn,
            forked=forked,
            identity=identity,
            db_identity=db_identity,
        )
    state.next_epoch = 0
    state.tail.begin(MAX_STAMP)  # until the end of the origin change
    state.step("origin change: announced")


def finish_origin_change(state: ReplicationState) -> None:
    """Take over the writes of the old origin above `beyond_doubt`. Also completes an interrupted origin change."""
    assert state.meta.changing_from is not None
    old, beyond_doubt = state.meta.changing_from
    _take_over_horizon(state, old, beyond_doubt)
    _roll_back(state, old, beyond_doubt)
    _take_over_rows(state, old, beyond_doubt)
    while _take_over_some(state, old, beyond_doubt):
        state.step("origin change: a batch taken over")
    _lower_floor(state, old, beyond_doubt)
    _begin_vector_entry(state)
    state.newest[old] = beyond_doubt
    state.restored_gap = (state.vector.get(state.origin, 0), 0)
    state.tail.begin(state.newest.get(state.origin, 0))
    with Transaction(state, sync=True) as tx:
        # an origin change that an older version announced has not set `origin_changed`
        tx.change_meta(changing_from=None, repairing=False, forked=False, origin_changed=True)


def _begin_vector_entry(state: ReplicationState) -> None:
    """Give the new origin an entry in the vector at once.

    It distinguishes cursors of the changes feed from before and after the origin change (storage.feed.change_feed)."""
    if not state.vector.get(state.origin, 0):
        with Transaction(state) as tx:
            tx.set_vector(state.origin, _FIRST)
        state.clock.follow(_FIRST)


def _roll_back(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    with Transaction(state) as tx:
        tx.lower_horizon(old, beyond_doubt)
        tx.lower_vector(old, beyond_doubt)


def _take_over_horizon(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Raise the horizon of the new origin to that of the old one.

    A node that knows the old origin from another peer need not have seen the tombstones that were dropped here."""
    horizon = state.horizon.get(old, 0)
    new = state.origin
    if horizon > max(beyond_doubt, state.horizon.get(new, 0)):
        known = max(horizon, state.vector.get(new, 0))
        with Transaction(state) as tx:
            tx.set_vector(new, known, replay_above=known)
            tx.raise_horizon({new: horizon}, 0)


def _take_over_rows(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Take over index rows whose entries were truncated from the log."""
    floor = state.floor.get(old, 0)
    if floor <= beyond_doubt:
        return
    taken: list[tuple[bytes, bytes]] = []
    for index_key, packed in state.rs.scan(INDEX, following(INDEX)):
        stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(packed)
        if origin != old or not beyond_doubt < stamp <= floor:
            continue
        row = decode_index(packed)
        written, own = _taken_over(state, old, row.written_dot, row.own)
        _, union = _taken_over(state, old, row.written_dot, row.context)
        taken.append((index_key[len(INDEX) :], encode_index(stamp, state.origin, flags, checksum, union, own, written)))
        if len(taken) == REPAIR_BATCH_ENTRIES:
            _take_rows(state, floor, taken)
            taken = []
    if taken:
        _take_rows(state, floor, taken)


def _take_rows(state: ReplicationState, floor: int, rows: list[tuple[bytes, bytes]]) -> None:
    """Write one batch of (key, row), and raise the floor of the new origin to that of the old one."""
    new = state.origin
    stamp = max(state.vector.get(new, 0), floor)
    with Transaction(state) as tx:
        for key, row in rows:
            tx.put_row(key, row)
        tx.raise_floor(new, floor)
        tx.set_vector(new, stamp, replay_above=stamp)
    state.step("origin change: a batch of rows taken over")


def _lower_floor(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Lower the floor of the old origin, since its entries that arrive from peers are logged again."""
    if state.floor.get(old, 0) > beyond_doubt:
        with Transaction(state) as tx:
            tx.set_floor(old, beyond_doubt)


def _taken_over(state: ReplicationState, old: int, written: Dot, context: bytes) -> tuple[bytes, bytes]:
    """Return (written, context) of an entry of the old origin under the new one.

    Normally it remains the same write. If the old origin was forked, another node may have made another write with that
    stamp, and vectors that cover the stamp refer to that write. Then ours becomes a write of the new origin that has
    seen the write of the old one."""
    if not state.meta.forked or written[1] != old:
        return encode_dot(*written), context
    return encode_dot(written[0], state.origin), encode_context({**decode_context(context), old: written[0]})


def _take_over_some(state: ReplicationState, old: int, beyond_doubt: int) -> bool:
    """Take over one batch of log entries, oldest first, so that the new log only grows at its end.

    Returns False if none was left."""
    new = state.origin
    stamp = done = size = 0
    with Transaction(state) as tx:
        for log_at, record in state.rs.scan(*log_range(old, beyond_doubt, MAX_STAMP)):
            entry = read_entry(record)
            stamp = entry.stamp
            written, own = _taken_over(state, old, entry.written_dot(old), entry.context)
            taken, flags, checksum = encode_entry(stamp, entry.key, entry.value, own, written)
            row = state.rs.get(INDEX + entry.key)
            tx.delete_log(old, log_dot(log_at)[0])
            if row is not None and INDEX_HEAD.unpack_from(row)[:2] == (stamp, old):
                _, union = _taken_over(state, old, entry.written_dot(old), index_contexts(row)[1])
                tx.put_row(entry.key, encode_index(stamp, new, flags, checksum, union, own, written))
                tx.put_log(new, stamp, taken)
            done += 1
            size += len(record)
            if done == REPAIR_BATCH_ENTRIES or size >= REPAIR_BATCH_BYTES:
                break
        if done:
            tx.set_vector(new, max(stamp, state.vector.get(new, 0)))
    return done > 0


def random_origin(random_bytes: Callable[[int], bytes]) -> int:
    """Return a new origin: 64 random bits, not 0."""
    return int.from_bytes(random_bytes(8), "big") or 1
