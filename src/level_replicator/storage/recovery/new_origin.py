"""A new origin for a node whose old one has been, or may have been, used for more than it remembers.

What the node wrote under the old origin after the last stamp that is beyond doubt is taken over by the new one. Stamps
stay, and so does the write that each entry carries (`written`): it is still the write of the old origin, so nothing
newer is overwritten by it, and a copy of it that a peer has is the same write. (Not so where the old origin was forked,
see `_taken_over`.) The vector of the old origin goes back to that stamp, so that what was forgotten comes back from the
peers that have it.
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
from level_replicator.core.limits import REPAIR_BATCH_BYTES
from level_replicator.storage.state.log_reader import read_entry
from level_replicator.storage.state.meta import store_meta
from level_replicator.storage.state.schema import (
    INDEX,
    encode_stamp,
    encode_vector_entry,
    floor_key,
    following,
    log_key,
    log_range,
    vector_key,
)
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.tombstones import lower_horizon, put_horizon

_BATCH_ENTRIES = 1_000
_MAX = (1 << 64) - 1
_FIRST = 1
"""A stamp that no write has."""


def begin_origin_change(
    state: ReplicationState,
    random_bytes: Callable[[int], bytes],
    beyond_doubt: int,
    *,
    repairing: bool = False,
    torn: bool = False,
    forked: bool = False,
) -> None:
    """Give this node a new origin, made of random bytes.

    `beyond_doubt`: up to which stamp the log of the old one is whole. `repairing`, `torn`: see Meta. `forked`: another
    node may have used the old one since, for other writes. Then ours become writes of the new origin, which is of the
    same family, so that they keep their place among writes with equal stamps (core.merge).

    To be followed by `finish_origin_change`, in this run or at the next open; under the lock."""
    meta = state.meta
    assert meta is not None
    meta.changing_from = (state.origin, beyond_doubt)
    meta.repairing, meta.torn, meta.forked = repairing, torn, forked
    meta.origin = state.origin = (
        make_epoch(state.origin, (), random_bytes(EPOCH_BYTES)) if forked else random_origin(random_bytes)
    )
    meta.renewed = meta.traced = True
    state.next_epoch = 0
    state.tail.begin(_MAX)  # until the end of the origin change
    store_meta(state.rs, meta)
    state.step("origin change: announced")


def finish_origin_change(state: ReplicationState) -> None:
    """Takes over what the old origin wrote beyond doubt's end; also goes on with one that was interrupted."""
    meta = state.meta
    assert meta is not None
    assert meta.changing_from is not None
    old, beyond_doubt = meta.changing_from
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
    meta.changing_from, meta.forked = None, False
    meta.renewed = True  # an origin change that an older version announced has not set it
    store_meta(state.rs, meta)


def _begin_vector_entry(state: ReplicationState) -> None:
    """The new origin has an entry in the vector from its beginning: for the changes feed that is the mark of cursors
    from after this (storage.feed.change_feed)."""
    if not state.vector.get(state.origin, 0):
        state.rs.put(vector_key(state.origin), encode_vector_entry(_FIRST, 0))
        state.vector[state.origin] = state.newest[state.origin] = _FIRST
        state.clock.follow(_FIRST)


def _roll_back(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    state.lowered += 1
    batch = state.rs.batch()
    lower_horizon(state, batch, old, beyond_doubt)
    if beyond_doubt:
        batch.put(vector_key(old), encode_vector_entry(beyond_doubt, beyond_doubt))
        state.vector[old] = beyond_doubt
    else:
        batch.delete(vector_key(old))
        state.vector.pop(old, None)
    batch.write()


def _take_over_horizon(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Who knows the old origin from elsewhere need not have seen the tombstones that we dropped under it."""
    horizon = state.horizon.get(old, 0)
    new = state.origin
    if horizon <= max(beyond_doubt, state.horizon.get(new, 0)):
        return
    batch = state.rs.batch()
    known = max(horizon, state.vector.get(new, 0))
    batch.put(vector_key(new), encode_vector_entry(known, known))
    raised = put_horizon(state, batch, {new: horizon}, 0)
    batch.write()
    state.horizon = {**state.horizon, **raised}
    state.vector[new] = known
    state.newest[new] = max(known, state.newest.get(new, 0))


def _take_over_rows(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """Of entries that have left the log there are only index rows."""
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
        taken.append((index_key, encode_index(stamp, state.origin, flags, checksum, union, own, written)))
        if len(taken) == _BATCH_ENTRIES:
            _take_rows(state, floor, taken)
            taken = []
    if taken:
        _take_rows(state, floor, taken)


def _take_rows(state: ReplicationState, floor: int, rows: list[tuple[bytes, bytes]]) -> None:
    """One batch. Nothing of the new origin up to the old one's floor is in the log either."""
    new = state.origin
    batch = state.rs.batch()
    for index_key, row in rows:
        batch.put(index_key, row)
    stamp = max(state.vector.get(new, 0), floor)
    batch.put(floor_key(new), encode_stamp(floor))
    batch.put(vector_key(new), encode_vector_entry(stamp, stamp))
    batch.write()
    state.floor = {**state.floor, new: floor}
    state.vector[new] = state.newest[new] = stamp
    state.step("origin change: a batch of rows taken over")


def _lower_floor(state: ReplicationState, old: int, beyond_doubt: int) -> None:
    """What comes back of the old origin from peers is logged again."""
    if state.floor.get(old, 0) > beyond_doubt:
        state.rs.put(floor_key(old), encode_stamp(beyond_doubt))
        state.floor = {**state.floor, old: beyond_doubt}


def _taken_over(state: ReplicationState, old: int, written: Dot, context: bytes) -> tuple[bytes, bytes]:
    """(written, context) of an entry of the old origin under the new one.

    It stays the same write. But where the old origin was forked, another node may have made another write with that
    stamp, and vectors that cover it do not mean ours: then it is a write of the new origin, which has seen the old."""
    meta = state.meta
    assert meta is not None
    if not meta.forked or written[1] != old:
        return encode_dot(*written), context
    return encode_dot(written[0], state.origin), encode_context({**decode_context(context), old: written[0]})


def _take_over_some(state: ReplicationState, old: int, beyond_doubt: int) -> bool:
    """One batch, oldest first, so that the new log only grows at its end. False: nothing was left."""
    new = state.origin
    batch = state.rs.batch()
    stamp = 0
    done = size = 0
    for key, record in state.rs.scan(*log_range(old, beyond_doubt, _MAX)):
        entry = read_entry(record)
        stamp = entry.stamp
        written, own = _taken_over(state, old, entry.written_dot(old), entry.context)
        taken, flags, checksum = encode_entry(stamp, entry.key, entry.value, own, written)
        row = state.rs.get(INDEX + entry.key)
        batch.delete(key)
        if row is not None and INDEX_HEAD.unpack_from(row)[:2] == (stamp, old):
            _, union = _taken_over(state, old, entry.written_dot(old), index_contexts(row)[1])
            batch.put(INDEX + entry.key, encode_index(stamp, new, flags, checksum, union, own, written))
            batch.put(log_key(new, stamp), taken)
        done += 1
        size += len(record)
        if done == _BATCH_ENTRIES or size >= REPAIR_BATCH_BYTES:
            break
    if not done:
        return False
    before = state.vector.get(new, 0)
    stamp = max(stamp, before)
    batch.put(vector_key(new), encode_vector_entry(stamp, before))
    batch.write()
    state.vector[new] = state.newest[new] = stamp
    return True


def random_origin(random_bytes: Callable[[int], bytes]) -> int:
    """A new origin: 64 random bits, not 0."""
    return int.from_bytes(random_bytes(8), "big") or 1
