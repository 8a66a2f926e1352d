"""Retention: truncates the log and drops old tombstones from the index. No agreement between nodes is needed.

Neither loses data. A peer below the floor reconciles with the index instead of reading the log; a peer that missed a
dropped tombstone is recognised by its vector, which is below the horizon. Both work in small batches while the node
serves. After truncation the value of an entry is in `db` only, so `db` is synced first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from threading import Lock

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_index
from level_replicator.core.hlc import MAX_STAMP
from level_replicator.core.limits import RETENTION_BATCH, RETENTION_BATCH_BYTES
from level_replicator.core.reconcile_rules import may_be_dropped
from level_replicator.core.version_vector import Vector, encode_vector
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.maintenance.floors import lower_floors
from level_replicator.storage.maintenance.leftovers import restamp_leftovers
from level_replicator.storage.state.index_scan import KeyAndRow
from level_replicator.storage.state.load import ends_of_log, update_late
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_UNLIMITED = 1 << 64
"""More bytes than any log has."""


class Retention:
    """Retention of one replica. Must not be used on the thread that applies entries of peers.

    Its methods call `pause` between two batches. `pause` may wait a little, and ends the work by returning False."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._one_at_a_time = Lock()
        self._lowered = 0

    def log_bytes(self) -> int:
        """Return the approximate size of the log on the disk in bytes. The newest writes may not be counted yet."""
        return self._state.rs.size(LOG, following(LOG))

    def oldest(self) -> int:
        """Return the stamp of the oldest entry that may leave the log; the greatest stamp if there is none."""
        _, oldest = ends_of_log(self._state.rs)
        vector = self._state.vector
        return min((s for o, s in oldest.items() if s <= vector.get(o, 0)), default=MAX_STAMP)

    def truncate(
        self, *, before: int = MAX_STAMP, most_bytes: int = _UNLIMITED, pause: Callable[[], bool] = lambda: True
    ) -> int:
        """Remove entries from the log, oldest first, and return their number.

        Removes entries with stamps up to `before`, and stops when `most_bytes` bytes are freed. Raises StorageError."""
        with self._guarded("truncating the log"):
            return self._truncate(before, most_bytes, pause)

    def drop_tombstones(self, before: int, *, pause: Callable[[], bool] = lambda: True) -> int:
        """Drop tombstones with stamps up to `before` from the index, and return their number.

        A tombstone that has seen a write which our vector does not cover is kept: that write could still arrive.
        Raises StorageError."""
        with self._guarded("dropping tombstones"):
            return self._drop_tombstones(before, pause)

    def lower_floors(self, *, pause: Callable[[], bool] = lambda: True) -> int:
        """Lower floors above the vector (storage.maintenance.floors). Raises StorageError."""
        with self._guarded("lowering floors to the vector"):
            return lower_floors(self._state, pause)

    def restamp_leftovers(self, origin: int, *, pause: Callable[[], bool] = lambda: True) -> int:
        """Re-stamp left-over entries (storage.maintenance.leftovers). Raises StorageError."""
        with self._guarded("re-stamping entries above the vector"):
            return restamp_leftovers(self._state, origin, pause)

    @contextmanager
    def _guarded(self, action: str) -> Iterator[None]:
        try:
            with self._one_at_a_time:
                yield
        except ENGINE_ERRORS as error:
            raise self._state.fail(action, error) from error

    def _sync_to_disk(self) -> Vector:
        """Sync both LevelDBs. Return a vector all of whose entries are on the disk."""
        state = self._state
        while True:
            with state.lock:
                state.check()
                vector = dict(state.vector)
                self._lowered = state.lowered
            state.flush()
            with state.lock:
                if self._vector_is_valid():
                    with Transaction(state, sync=True) as tx:
                        tx.change_meta(durable=encode_vector(vector))
                    return vector

    def _vector_is_valid(self) -> bool:
        """Return False if the vector was lowered, or origins were renamed, since `_sync_to_disk` began.

        Its vector is then not valid any more, and the work must end. The caller holds the lock. Raises StorageError."""
        self._state.check()
        return self._state.lowered == self._lowered

    # -- the log

    def _truncate(self, before: int, most_bytes: int, pause: Callable[[], bool]) -> int:
        state = self._state
        vector = self._sync_to_disk()
        limits = {origin: min(stamp, before) for origin, stamp in vector.items()}
        _, oldest = ends_of_log(state.rs)
        queue = [(stamp, origin) for origin, stamp in oldest.items() if stamp <= limits.get(origin, 0)]
        heapify(queue)
        removed = freed = 0
        bounds: dict[int, int] = {}
        while queue and freed < most_bytes:
            _, origin = heappop(queue)
            limit = limits[origin]
            high = limit if most_bytes == _UNLIMITED or not queue else min(limit, queue[0][0])
            done = self._remove(origin, bounds.get(origin, 0), high, most_bytes - freed)
            if done is None:
                break
            count, size, reached = done
            removed, freed, bounds[origin] = removed + count, freed + size, reached
            following_stamp = self._next_stamp(origin, reached, limit)
            if following_stamp:
                heappush(queue, (following_stamp, origin))
            if not pause():
                break
        else:
            if most_bytes == _UNLIMITED:
                self._raise_floors(limits)
        if removed:
            with state.lock:  # late entries may have arrived meanwhile, also above the limits
                update_late(state)
            state.rs.compact(LOG, following(LOG))
        return removed

    def _remove(self, origin: int, low: int, high: int, most_bytes: int) -> tuple[int, int, int] | None:
        """Truncate the log of an origin by one batch.

        Returns (entries, bytes, new floor), or None if the vector is not valid any more."""
        state = self._state
        with state.lock:
            if not self._vector_is_valid():
                return None
            count = size = 0
            reached, stamp = high, low
            with Transaction(state, name="truncate") as tx:
                for key, record in state.rs.scan(*log_range(origin, low, high)):
                    if count == RETENTION_BATCH or size >= min(most_bytes, RETENTION_BATCH_BYTES):
                        reached = stamp
                        break
                    stamp, _ = log_dot(key)
                    tx.delete_log(origin, stamp)
                    count += 1
                    size += len(key) + len(record)
                tx.entries = -count
                tx.raise_floor(origin, reached)
            return count, size, reached

    def _next_stamp(self, origin: int, low: int, limit: int) -> int:
        """Return the stamp of the oldest entry in (low, limit], 0 if there is none."""
        first = next(iter(self._state.rs.scan_keys(*log_range(origin, low, limit))), None)
        return 0 if first is None else log_dot(first)[0]

    def _raise_floors(self, limits: Vector) -> None:
        """Raise the floors to the limits, when the log holds nothing up to them any more."""
        state = self._state
        with state.lock:
            if self._vector_is_valid():
                with Transaction(state) as tx:
                    for origin, stamp in limits.items():
                        tx.raise_floor(origin, stamp)

    # -- tombstones

    def _drop_tombstones(self, before: int, pause: Callable[[], bool]) -> int:
        state = self._state
        vector = self._sync_to_disk()
        found: list[KeyAndRow] = []
        dropped = 0
        with state.rs.snapshot() as snapshot:
            for seen, (index_key, row) in enumerate(snapshot.scan(INDEX, following(INDEX)), 1):
                stamp, _, flags, _ = INDEX_HEAD.unpack_from(row)
                if flags & DELETE and stamp <= before and may_be_dropped(decode_index(row), vector):
                    found.append((index_key, row))
                if len(found) == RETENTION_BATCH or seen % (10 * RETENTION_BATCH) == 0:
                    dropped += self._drop(found)
                    found = []
                    if not pause():
                        break
            dropped += self._drop(found)
        if dropped:
            state.rs.compact(INDEX, following(INDEX))
        return dropped

    def _drop(self, tombstones: list[KeyAndRow]) -> int:
        """Drop, in one batch, the tombstones that have not changed since they were found. Return their number."""
        state = self._state
        with state.lock:
            if not tombstones or not self._vector_is_valid():
                return 0
            unchanged = [(index_key, row) for index_key, row in tombstones if state.rs.get(index_key) == row]
            if not unchanged:
                return 0
            horizon: Vector = {}
            with Transaction(state, name="drop") as tx:
                for index_key, row in unchanged:
                    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
                    tx.delete_row(index_key[len(INDEX) :])
                    if state.logged(origin, stamp):
                        tx.delete_log(origin, stamp)
                        tx.entries -= 1
                    horizon[origin] = max(stamp, horizon.get(origin, 0))
                tx.raise_horizon(horizon, max(horizon.values()))
            return len(unchanged)
