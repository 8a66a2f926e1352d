"""Replay after a kill: apply the last batch, which may be in the replication set only, to the database again.

Nothing else can be missing: a batch is written to `rs` first, and the next batch only after it was written to `db`.
"""

import logging

import msgspec

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.storage.state.log_reader import logged_entry, read_entry
from level_replicator.storage.state.schema import (
    APPLIED,
    INDEX,
    TOUCHED,
    decode_applied,
    decode_vector_entry,
    log_dot,
    log_range,
    vector_key,
)
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_log = logging.getLogger("level_replicator.storage")


def replay_last_batch(state: ReplicationState) -> int:
    """Apply the last local batch and the last remote one to the database again. Return the number of entries."""
    ranges: list[tuple[int, int, int]] = []
    own = state.rs.get(vector_key(state.origin))
    if own is not None:
        ranges.append((state.origin, *decode_vector_entry(own)))
    applied = state.rs.get(APPLIED)
    if applied is not None:
        ranges.append(decode_applied(applied))
    done = 0
    # synced, since the next batch of a reconciliation overwrites the record of touched keys
    with Transaction(state, sync=True) as tx:
        for origin, low, high in ranges:
            for log_at, record in state.rs.scan(*log_range(origin, low, high)):
                try:
                    entry = decode_entry(record)
                except RemoteProtocolError as error:
                    # the replica opens nevertheless: the database may have the value, and verify repairs the log
                    _log.error(
                        "the entry at stamp %d of the log is damaged (%s): run verify with repair",
                        log_dot(log_at)[0],
                        error,
                    )
                    continue
                tx.put_value(entry.key, entry.value)
                done += 1
        for key in touched_keys(state):
            row = state.rs.get(INDEX + key)
            if row is None or INDEX_HEAD.unpack_from(row)[2] & DELETE:
                tx.put_value(key, None)
                continue
            logged = logged_entry(state.rs, key, row)
            if logged is not None:
                tx.put_value(key, read_entry(logged).value)
                done += 1
    return done


def touched_keys(state: ReplicationState) -> list[bytes]:
    """Return the keys of the last batch of a reconciliation. It may have deleted some of them without a log entry."""
    noted = state.rs.get(TOUCHED)
    try:
        return [] if noted is None else msgspec.msgpack.decode(noted, type=list[bytes])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(
            "the record of the last batch cannot be read: restore the replica from a backup, or begin with an empty one"
        ) from error
