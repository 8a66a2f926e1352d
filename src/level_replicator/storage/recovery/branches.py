"""Rename the entries of a branch, as if the node had changed its origin at the fork (core.epochs).

Every node that has a part of the branch renames it in the same way, so dots remain equal on all nodes. The branch is
stored first, and the next open completes a renaming that a kill interrupted. After each batch log and index agree, and
the last batch changes the vectors. Until then the renamed entries are above the vector, like entries of an incomplete
scan.

A context with a stamp of the branch has also seen the writes of the origin before the fork, so it gets both origins.
"""

import logging

from level_replicator.core.entry import (
    INDEX_HEAD,
    Context,
    Dot,
    Entry,
    IndexRow,
    decode_context,
    decode_entry,
    decode_index,
    encode_context,
    encode_dot,
    encode_entry,
    encode_index,
)
from level_replicator.core.epochs import History, split_at_branches
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import REPAIR_BATCH_BYTES, REPAIR_BATCH_ENTRIES
from level_replicator.core.version_vector import Vector, decode_vector, encode_vector, origin_name
from level_replicator.storage.state.load import load
from level_replicator.storage.state.schema import INDEX, following, log_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import load_lost

_log = logging.getLogger("level_replicator.storage")
_Cuts = dict[int, tuple[int, int]]
"""Origin → (epoch, start) of the first branch in its history."""


def rename_branches(state: ReplicationState) -> int:
    """Rename all branches that are in our histories, and return the number of renamed rows.

    The caller holds the lock, so local writes wait while the whole index is read."""
    renamed = 0
    while cuts := _cuts(state):
        for origin, (epoch, start) in cuts.items():
            _log.warning(
                "origin %s was continued twice after stamp %d: a directory was restored or copied. The writes of one"
                " continuation belong to origin %s from now on",
                origin_name(origin),
                start,
                origin_name(epoch),
            )
        renamed += _rename_rows(state, cuts)
        _rename_vectors(state, cuts)
    return renamed


def _cuts(state: ReplicationState) -> _Cuts:
    cuts: _Cuts = {}
    for origin, history in state.histories.items():
        for pair in history:
            if pair[0] in state.branches:
                cuts[origin] = pair
                break
    return cuts


def _rename_rows(state: ReplicationState, cuts: _Cuts) -> int:
    """Rename index rows and their log entries, and return the number of rows."""
    tx, count, size, renamed = Transaction(state), 0, 0, 0
    for index_key, packed in state.rs.scan(INDEX, following(INDEX)):
        if len(packed) == INDEX_HEAD.size and INDEX_HEAD.unpack_from(packed)[1] not in cuts:
            continue
        row = decode_index(packed)
        new = _renamed_row(row, cuts)
        if new == row:
            continue
        record = state.rs.get(log_key(row.origin, row.stamp))
        if record is not None:
            tx.delete_log(row.origin, row.stamp)
            record = _renamed_record(record, row.origin, cuts)
            tx.put_log(new.origin, new.stamp, record)
            size += len(record)
        key = index_key[len(INDEX) :]
        tx.put_row(key, encode_index(new.stamp, new.origin, new.flags, new.checksum, new.context, new.own, new.written))
        renamed += 1
        count += 1
        if count == REPAIR_BATCH_ENTRIES or size >= REPAIR_BATCH_BYTES:
            tx.commit()
            state.step("branch: a batch renamed")
            tx, count, size = Transaction(state), 0, 0
    tx.commit()
    state.step("branch: rows renamed")
    return renamed


def _renamed_dot(dot: Dot, cuts: _Cuts) -> Dot:
    stamp, origin = dot
    epoch, start = cuts.get(origin, (origin, 0))
    return (stamp, epoch) if stamp > start else dot


def _renamed_context(pairs: bytes, written: Dot, cuts: _Cuts) -> bytes:
    """Rename the origins of a context. `written` is the write of the row or entry under its old name."""
    context = decode_context(pairs)
    seen: Context = {}
    for origin, stamp in [*context.items(), (written[1], written[0])]:
        _, name = _renamed_dot((stamp, origin), cuts)
        seen[name] = max(stamp, seen.get(name, 0))
        if name != origin and (start := cuts[origin][1]):
            seen[origin] = max(start, seen.get(origin, 0))
    seen.pop(_renamed_dot(written, cuts)[1])
    return encode_context(seen)


def _renamed_written(written: Dot, dot: Dot, cuts: _Cuts) -> bytes:
    renamed = _renamed_dot(written, cuts)
    return b"" if renamed == _renamed_dot(dot, cuts) else encode_dot(*renamed)


def _renamed_row(row: IndexRow, cuts: _Cuts) -> IndexRow:
    written = row.written_dot
    return row._replace(
        origin=_renamed_dot(row.dot, cuts)[1],
        context=_renamed_context(row.context, written, cuts),
        own=_renamed_context(row.own, written, cuts),
        written=_renamed_written(written, row.dot, cuts),
    )


def _renamed_record(record: bytes, origin: int, cuts: _Cuts) -> bytes:
    try:
        entry: Entry = decode_entry(record)
    except RemoteProtocolError:
        return record  # it is damaged; verify reports and repairs it
    written = entry.written_dot(origin)
    context = _renamed_context(entry.context, written, cuts)
    new_written = _renamed_written(written, (entry.stamp, origin), cuts)
    return encode_entry(entry.stamp, entry.key, entry.value, context, new_written)[0]


def _renamed_vector(vector: Vector, cuts: _Cuts) -> Vector:
    renamed = dict(vector)
    for origin, (epoch, start) in cuts.items():
        stamp = renamed.get(origin, 0)
        if stamp > start:
            renamed[epoch] = max(stamp, renamed.get(epoch, 0))
            renamed[origin] = start
            if not start:
                del renamed[origin]
    return renamed


def _rename_vectors(state: ReplicationState, cuts: _Cuts) -> None:
    """Write the last batch: vector, floor, horizon, histories and our own origin."""
    meta = state.meta
    tx = Transaction(state, sync=True)
    tx.interrupt_retention()
    vector = _renamed_vector(state.vector, cuts)
    for origin in state.vector.keys() | vector.keys():
        stamp = vector.get(origin, 0)
        if stamp != state.vector.get(origin, 0):
            tx.set_vector(origin, stamp, replay_above=stamp)
    others = ((tx.set_floor, state.floor), (tx.set_horizon, state.horizon), (tx.set_written, state.written))
    for set_stamp, old in others:
        new = _renamed_vector(old, cuts)
        for origin in old.keys() | new.keys():
            set_stamp(origin, new.get(origin, 0))
    histories: dict[int, History] = split_at_branches(state.histories, state.branches)
    for origin in state.histories.keys() | histories.keys():
        tx.set_history(origin, histories.get(origin, ()))
    # unfinished scans begin anew, and the last frame of a peer must not be replayed under the old names
    tx.forget_scans()
    tx.clear_applied()
    tx.change_meta(
        origin=cuts.get(meta.origin, (meta.origin, 0))[0],
        durable=encode_vector(_renamed_vector(decode_vector(meta.durable), cuts)),
    )
    state.step("branch: before the last batch")
    tx.commit()
    state.step("branch: after the last batch")
    load(state)
    load_lost(state)
    state.tail.begin(state.newest.get(state.origin, 0))
