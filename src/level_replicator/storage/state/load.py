"""Load the replication set into ReplicationState: vectors, newest stamps, unfinished scans, histories, counts."""

from collections.abc import Callable
from itertools import islice

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.hlc import MAX_STAMP
from level_replicator.core.limits import FILTER_SLICE_KEYS
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.state.histories import load_histories
from level_replicator.storage.state.schema import (
    BULK_LOADING,
    DROPPED,
    FLOOR,
    HORIZON,
    INDEX,
    LOG,
    RESUME,
    VECTOR,
    decode_intervals,
    decode_stamp,
    decode_vector_entry,
    following,
    key_origin,
    log_dot,
    log_key,
    resume_pair,
)
from level_replicator.storage.state.state import ReplicationState


def load(state: ReplicationState) -> None:
    """Load everything except the meta record, the lost keys and the counts."""
    rs = state.rs
    load_vectors(state)
    state.newest, oldest = ends_of_log(rs)
    state.late = any(stamp <= state.floor.get(origin, 0) for origin, stamp in oldest.items())
    for origin, stamp in state.vector.items():
        state.newest[origin] = max(stamp, state.newest.get(origin, 0))
    state.resume = {}
    for key, intervals in rs.scan(RESUME, following(RESUME)):
        source, origin = resume_pair(key)
        state.resume.setdefault(source, {})[origin] = decode_intervals(intervals)
    # the record is deleted with the vector that covers the floor (storage.write.remote_applier.adopt_vector)
    state.bulk_load_incomplete = rs.get(BULK_LOADING) is not None
    load_histories(state)
    # the index may hold an entry above the vector that is not in the log (after an interrupted bulk load); a write that
    # overwrites it must get a greater stamp
    for stamp in (*state.newest.values(), *state.floor.values(), *state.horizon.values(), state.dropped):
        state.clock.follow(stamp)


def load_vectors(state: ReplicationState) -> None:
    """Load vector, floor and horizon."""
    state.vector = load_vector(state.rs)
    state.floor = load_stamps(state.rs, FLOOR)
    state.horizon = load_stamps(state.rs, HORIZON)
    dropped = state.rs.get(DROPPED)
    state.dropped = 0 if dropped is None else decode_stamp(dropped)


def load_counts(state: ReplicationState) -> None:
    """Load the numbers of keys and entries, which an orderly stop stored in the meta record."""
    state.keys, state.entries = state.meta.keys, state.meta.entries


def load_vector(rs: Reader) -> Vector:
    """Read the vector."""
    return {key_origin(key): decode_vector_entry(value)[1] for key, value in rs.scan(VECTOR, following(VECTOR))}


def load_stamps(rs: Reader, prefix: bytes) -> Vector:
    """Read floor or horizon."""
    return {key_origin(key): decode_stamp(value) for key, value in rs.scan(prefix, following(prefix))}


def ends_of_log(rs: Reader) -> tuple[Vector, Vector]:
    """Return (newest, oldest): origin → stamp of an entry of the log. Costs two seeks for each origin."""
    newest: Vector = {}
    oldest: Vector = {}
    start = LOG
    while True:
        first = next(iter(rs.scan_keys(start, following(LOG))), None)
        if first is None:
            return newest, oldest
        oldest_stamp, origin = log_dot(first)
        oldest[origin] = oldest_stamp
        end = log_key(origin, MAX_STAMP) + b"\0"
        last = next(iter(rs.scan_keys(first, end, reverse=True)))
        newest[origin] = log_dot(last)[0]
        start = end


def update_late(state: ReplicationState) -> None:
    """Set `late` again after entries were removed from the log, or a floor was lowered."""
    _, oldest = ends_of_log(state.rs)
    state.late = any(stamp <= state.floor.get(origin, 0) for origin, stamp in oldest.items())


def count(state: ReplicationState) -> None:
    """Count keys in the index and entries in the log. Needed only after an unclean stop."""
    keys = 0
    for _, row in state.rs.scan(INDEX, following(INDEX)):
        keys += not INDEX_HEAD.unpack_from(row)[2] & DELETE
    state.keys, state.entries = keys, sum(1 for _ in state.rs.scan_keys(LOG, following(LOG)))


def learn_keys(state: ReplicationState, pause: Callable[[], bool]) -> None:
    """Add all keys of the index to the key filter, some at a time.

    `pause` is called between two slices, and ends the work by returning False."""
    known = state.key_filter
    with state.lock:
        # keys that are written from now on are added when they are written
        generation, snapshot = known.generation, state.rs.snapshot()
    with snapshot:
        keys = snapshot.scan_keys(INDEX, following(INDEX))
        while some := [key[len(INDEX) :] for key in islice(keys, FILTER_SLICE_KEYS)]:
            with state.lock:
                if known.generation != generation:
                    return
                known.learn(some)
            if not pause():
                return
    with state.lock:
        if known.generation == generation:
            known.whole = True
