"""From the replication set into memory: vector, newest stamps, broken-off scans, counts."""

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.keys import (
    INDEX,
    LOG,
    RESUME,
    VECTOR,
    following,
    log_dot,
    log_key,
    resume_pair,
    vector_origin,
)
from level_replicator.core.versions import Vector
from level_replicator.storage.engine import Reader
from level_replicator.storage.lines import decode_intervals, decode_vector_line
from level_replicator.storage.state import State

_MAX = (1 << 64) - 1


def load(state: State) -> None:
    """Everything but the meta record and the counts."""
    rs = state.rs
    state.vector = load_vector(rs)
    state.newest = newest_in_log(rs)
    for origin, stamp in state.vector.items():
        state.newest[origin] = max(stamp, state.newest.get(origin, 0))
    state.resume = {}
    for key, line in rs.scan(RESUME, following(RESUME)):
        source, origin = resume_pair(key)
        state.resume.setdefault(source, {})[origin] = decode_intervals(line)
    # an entry above the vector may stand in the index: a write over it must get the greater stamp
    state.clock.follow(max(state.newest.values(), default=0))


def load_vector(rs: Reader) -> Vector:
    return {vector_origin(key): decode_vector_line(line)[1] for key, line in rs.scan(VECTOR, following(VECTOR))}


def newest_in_log(rs: Reader) -> Vector:
    """Origin → stamp of its newest entry: two seeks an origin, however long the log is."""
    newest: Vector = {}
    start = LOG
    while True:
        first = next(iter(rs.scan_keys(start, following(LOG))), None)
        if first is None:
            return newest
        _, origin = log_dot(first)
        end = log_key(origin, _MAX) + b"\0"
        last = next(iter(rs.scan_keys(first, end, reverse=True)))
        newest[origin] = log_dot(last)[0]
        start = end


def count(state: State) -> None:
    """Counts keys and entries from the index. Needed only after an unclean stop."""
    keys = entries = 0
    flags_at = INDEX_HEAD.size - 5
    for _, line in state.rs.scan(INDEX, following(INDEX)):
        entries += 1
        keys += not line[flags_at] & DELETE
    state.keys, state.entries = keys, entries
