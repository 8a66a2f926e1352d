"""Origin change: a node gets a new origin, since its old one was, or may have been, used for writes that it forgot.

The new origin takes over the node's own writes under the old origin after the last stamp that is beyond doubt. Stamps
stay, and so does the write that each entry carries (`written`): it is still the write of the old origin, so no newer
write is overwritten by it, and a copy of it that a peer has is the same write. (Not so where the old origin was forked,
see `_taken_over`.) The vector of the old origin goes back to that stamp, so that forgotten writes come back from the
peers that have them.
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
"""A stamp below those of all writes."""


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
    """Give this node a new origin, made of random bytes; under the lock.

    `finish_origin_change` must follow, in this run or at the next open.

    beyond_doubt  stamp up to which the log of the old origin is whole
    repairing, torn  see Meta
    forked        another node may have used the old origin since, for other writes. Then ours become writes of the new
                  origin, which is of the same family, so that they keep their place among writes with equal stamps
                  (core.merge)
    identities    of the directories of replication set and database, if they are new, too
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
    """Take over the writes of the old origin that are not beyond doubt. Also completes an interrupted origin change."""
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
    """Give the new origin an entry in the vector from its beginning: in a cursor of the changes feed, that is the mark
    of a time after the origin change (storage.feed.change_feed)."""
    if not state.vector.get(state.origin, 0):
        with Transaction(state) as tx:
            tx.set_vector(state.origin, _FIRST)
        state.clock.follow(_FIRST)


def _roll_back(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    with Transaction(state) as tx:
        tx.lower_horizon(old, beyond_doubt)
        tx.lower_vector(old, beyond_doubt)


def _take_over_horizon(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Raise the horizon of the new origin to that of the old one: a node that knows the old origin from elsewhere need
    not have seen the tombstones that were dropped here under it."""
    horizon = state.horizon.get(old, 0)
    new = state.origin
    if horizon > max(beyond_doubt, state.horizon.get(new, 0)):
        known = max(horizon, state.vector.get(new, 0))
        with Transaction(state) as tx:
            tx.set_vector(new, known, replay_above=known)
            tx.raise_horizon({new: horizon}, 0)


def _take_over_rows(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Take over index rows whose entries have left the log."""
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
    """Write one batch of (key, row). The log holds nothing of the new origin up to the old one's floor either."""
    new = state.origin
    stamp = max(state.vector.get(new, 0), floor)
    with Transaction(state) as tx:
        for key, row in rows:
            tx.put_row(key, row)
        tx.raise_floor(new, floor)
        tx.set_vector(new, stamp, replay_above=stamp)
    state.step("origin change: a batch of rows taken over")


def _lower_floor(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Lower the floor of the old origin: entries of it that come back from peers are logged again."""
    if state.floor.get(old, 0) > beyond_doubt:
        with Transaction(state) as tx:
            tx.set_floor(old, beyond_doubt)


def _taken_over(state: ReplicationState, old: int, written: Dot, context: bytes) -> tuple[bytes, bytes]:
    """Return (written, context) of an entry of the old origin under the new one.

    It stays the same write. But if the old origin was forked, another node may have made another write with that stamp,
    and vectors that cover it do not mean ours: then it is a write of the new origin, which has seen the old one."""
    if not state.meta.forked or written[1] != old:
        return encode_dot(*written), context
    return encode_dot(written[0], state.origin), encode_context({**decode_context(context), old: written[0]})


def _take_over_some(state: ReplicationState, old: int, beyond_doubt: int) -> bool:
    """Take over one batch of log entries, the oldest first, so that the new log only grows at its end. Return False if
    none is left."""
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
