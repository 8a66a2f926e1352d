"""The log for people: all origins together, by time, the newest first."""

import heapq
from collections.abc import Iterator

from level_replicator.core.records import Change
from level_replicator.core.version_vector import origin_name
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.log_reader import read_entry
from level_replicator.storage.state.schema import log_dot, log_range
from level_replicator.storage.state.state import ReplicationState

Dot = tuple[int, int]
_NEWEST_STAMP = 2**64 - 1
_LOOKED_AT = 10_000
"""Entries in one turn, of any prefix."""


def read_history(
    state: ReplicationState, before: Dot | None, prefix: bytes, most: int, most_bytes: int
) -> tuple[list[Change], Dot | None]:
    """Entries with a smaller dot than `before`, the greatest first; and where to go on, None at the end.

    Raises StorageError for a damaged entry."""
    with state.lock:
        origins = set(state.newest) | set(state.vector)
        snapshot = state.rs.snapshot()
    found: list[Change] = []
    size = 0
    with snapshot:
        logs = [_of_origin(snapshot, origin, before) for origin in origins]
        for looked_at, (dot, record) in enumerate(heapq.merge(*logs, key=lambda item: item[0], reverse=True), 1):
            entry = read_entry(record)
            if entry.key.startswith(prefix):
                stamp, origin = entry.written_dot(dot[1])
                found.append(Change(entry.key, entry.value, origin_name(origin), stamp))
                size += len(record)
            if len(found) >= most or size >= most_bytes or looked_at >= _LOOKED_AT:
                return found, dot
    return found, None


def _of_origin(snapshot: Snapshot, origin: int, before: Dot | None) -> Iterator[tuple[Dot, bytes]]:
    high = _NEWEST_STAMP
    if before is not None:
        high = before[0] if origin < before[1] else before[0] - 1
    for key, record in snapshot.scan(*log_range(origin, 0, high), reverse=True):
        yield log_dot(key), record
