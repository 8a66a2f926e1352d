"""Space: the log is truncated, and tombstones leave the index, without asking anybody.

Nothing is lost by either. A peer below the floor reconciles with the index instead of reading the log; one that missed
a dropped tombstone is recognised by its vector, which is below the horizon. Both go in small steps beside live
traffic. What leaves the log has its value in `db` only, so `db` goes to the disk first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from threading import Lock

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_index
from level_replicator.core.limits import RETENTION_BATCH
from level_replicator.core.reconcile_rules import may_be_dropped
from level_replicator.core.version_vector import Vector, encode_vector
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.maintenance.floors import lower_floors
from level_replicator.storage.maintenance.leftovers import restamp_leftovers
from level_replicator.storage.state.index_scan import KeyAndRow
from level_replicator.storage.state.load import ends_of_log
from level_replicator.storage.state.meta import store_meta
from level_replicator.storage.state.schema import (
    INDEX,
    LOG,
    encode_stamp,
    floor_key,
    following,
    log_dot,
    log_key,
    log_range,
)
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.tombstones import put_horizon

_NO_LIMIT = (1 << 64) - 1
_BATCH_BYTES = 4 * 1024 * 1024


class Retention:
    """Of one replica; for any thread but the one that applies.

    `pause`: called between two steps. It may wait a little, and ends the work by returning False."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._one_at_a_time = Lock()
        self._lowered = 0

    def log_bytes(self) -> int:
        """About how many bytes the log takes on the disk; what was written last may not be counted yet."""
        return self._state.rs.size(LOG, following(LOG))

    def oldest(self) -> int:
        """The stamp of the oldest entry that may leave the log; the greatest of all stamps if there is none."""
        _, oldest = ends_of_log(self._state.rs)
        vector = self._state.vector
        return min((s for o, s in oldest.items() if s <= vector.get(o, 0)), default=_NO_LIMIT)

    def truncate(
        self, *, before: int = _NO_LIMIT, most_bytes: int = _NO_LIMIT, pause: Callable[[], bool] = lambda: True
    ) -> int:
        """Takes entries out of the log, oldest first: those with stamps up to `before`, and no more than it takes to
        make it `most_bytes` smaller. How many. Raises StorageError."""
        with self._guarded("truncating the log"):
            return self._truncate(before, most_bytes, pause)

    def drop_tombstones(self, before: int, *, pause: Callable[[], bool] = lambda: True) -> int:
        """Drop tombstones with stamps up to `before` from the index. Returns how many. Raises StorageError.

        One that has seen a write that our vector does not cover stays: that write could come back."""
        with self._guarded("dropping tombstones"):
            return self._drop_tombstones(before, pause)

    def lower_floors(self, *, pause: Callable[[], bool] = lambda: True) -> int:
        """See storage.maintenance.floors. Raises StorageError."""
        with self._guarded("lowering floors to the vector"):
            return lower_floors(self._state, pause)

    def restamp_leftovers(self, origin: int, *, pause: Callable[[], bool] = lambda: True) -> int:
        """See storage.maintenance.leftovers. Raises StorageError."""
        with self._guarded("re-stamping entries above the vector"):
            return restamp_leftovers(self._state, origin, pause)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            with self._one_at_a_time:
                yield
        except ENGINE_ERRORS as error:
            raise self._state.fail(what, error) from error

    def _bring_to_disk(self) -> Vector:
        """What this vector covers is on the disk, in both LevelDBs, when this returns."""
        state = self._state
        while True:
            with state.lock:
                state.check()
                vector = dict(state.vector)
                self._lowered = state.lowered
            state.rs.batch(sync=True).write()
            state.db.batch(sync=True).write()
            with state.lock:
                if self._check():
                    assert state.meta is not None
                    state.meta.durable = encode_vector(vector)
                    store_meta(state.rs, state.meta)
                    return vector

    def _check(self) -> bool:
        """Returns False if the vector was lowered, or origins were renamed, since `_bring_to_disk` began: it says
        something else now, and the work ends. Under the lock. Raises StorageError."""
        self._state.check()
        return self._state.lowered == self._lowered

    # -- the log

    def _truncate(self, before: int, most_bytes: int, pause: Callable[[], bool]) -> int:
        state = self._state
        vector = self._bring_to_disk()
        limits = {origin: min(stamp, before) for origin, stamp in vector.items()}
        _, oldest = ends_of_log(state.rs)
        queue = [(stamp, origin) for origin, stamp in oldest.items() if stamp <= limits.get(origin, 0)]
        heapify(queue)
        removed = freed = 0
        bounds: dict[int, int] = {}
        while queue and freed < most_bytes:
            _, origin = heappop(queue)
            limit = limits[origin]
            high = limit if most_bytes == _NO_LIMIT or not queue else min(limit, queue[0][0])
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
            if most_bytes == _NO_LIMIT:
                self._raise_floors(limits)
        if removed:
            with state.lock:  # late entries may have come in meanwhile, also above the limits
                _, oldest = ends_of_log(state.rs)
                state.late = any(stamp <= state.floor.get(origin, 0) for origin, stamp in oldest.items())
            state.rs.compact(LOG, following(LOG))
        return removed

    def _remove(self, origin: int, low: int, high: int, most_bytes: int) -> tuple[int, int, int] | None:
        """One batch. (entries, bytes, the stamp that the floor has come to); None: see `_check`."""
        state = self._state
        with state.lock:
            if not self._check():
                return None
            batch = state.rs.batch()
            count = size = 0
            reached, stamp = high, low
            for key, record in state.rs.scan(*log_range(origin, low, high)):
                if count == RETENTION_BATCH or size >= min(most_bytes, _BATCH_BYTES):
                    reached = stamp
                    break
                stamp, _ = log_dot(key)
                batch.delete(key)
                count += 1
                size += len(key) + len(record)
            floor = max(reached, state.floor.get(origin, 0))
            batch.put(floor_key(origin), encode_stamp(floor))
            state.step("truncate: before rs")
            batch.write()
            state.step("truncate: after rs")
            state.floor = {**state.floor, origin: floor}
            state.entries -= count
            return count, size, reached

    def _next_stamp(self, origin: int, low: int, limit: int) -> int:
        """Of the oldest entry in (low, limit]; 0: there is none."""
        first = next(iter(self._state.rs.scan_keys(*log_range(origin, low, limit))), None)
        return 0 if first is None else log_dot(first)[0]

    def _raise_floors(self, limits: Vector) -> None:
        """Of origins that the log holds nothing of up to the limit, nothing will ever be read below it."""
        state = self._state
        with state.lock:
            if not self._check():
                return
            batch = state.rs.batch()
            raised = {o: stamp for o, stamp in limits.items() if stamp > state.floor.get(o, 0)}
            for origin, stamp in raised.items():
                batch.put(floor_key(origin), encode_stamp(stamp))
            batch.write()
            state.floor = {**state.floor, **raised}

    # -- tombstones

    def _drop_tombstones(self, before: int, pause: Callable[[], bool]) -> int:
        state = self._state
        vector = self._bring_to_disk()
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
        """Drop, in one batch, those that have not changed since."""
        if not tombstones:
            return 0
        state = self._state
        with state.lock:
            if not self._check():
                return 0
            batch = state.rs.batch()
            horizon: Vector = {}
            count = entries = 0
            for index_key, row in tombstones:
                if state.rs.get(index_key) != row:
                    continue
                stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
                batch.delete(index_key)
                if state.logged(origin, stamp):
                    batch.delete(log_key(origin, stamp))
                    entries += 1
                horizon[origin] = max(stamp, horizon.get(origin, 0))
                count += 1
            if not count:
                return 0
            raised = put_horizon(state, batch, horizon, max(horizon.values()))
            state.step("drop: before rs")
            batch.write()
            state.step("drop: after rs")
            state.horizon = {**state.horizon, **raised}
            state.dropped = max(state.dropped, max(horizon.values()))
            state.entries -= entries
            return count
