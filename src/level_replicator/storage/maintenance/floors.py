"""Lower floors that are above the vector.

The log holds exactly the index rows above the floor, and the vector normally covers the floor. A floor can be above it
for two reasons. A bulk load raises the floor to the peer's vector before the first row arrives; if it is interrupted,
and the peer is gone for good or has lost power, no other node may know as much. And after a power loss, or when a
damaged row is given up, our vector is lowered and the floor is not.

No peer ever covers such a floor, so all peers would reconcile with us for each change, for ever. Usually another pull
raises the vector within seconds. Otherwise the index rows between vector and floor are written to the log again, and
then the floor is lowered to the vector. The same is done for a bulk load that no peer continues. It stays marked as
incomplete, so that the next pull asks for a reconciliation, whose cost is proportional to the missing entries.

Every batch leaves a consistent state. Until the last batch the floors do not change, and the entries below them count
as late (see ReplicationState.late); the last batch lowers all floors.
"""

import logging
from collections.abc import Callable, Iterator

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    BULK_LOAD_PATIENCE_MS,
    FLOOR_PATIENCE_CAP_MS,
    FLOOR_PATIENCE_MS,
    REPAIR_BATCH_BYTES,
    RETENTION_BATCH,
)
from level_replicator.core.version_vector import Vector, newer, origin_name
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.load import update_late
from level_replicator.storage.state.log_reader import restore_entry
from level_replicator.storage.state.schema import INDEX, following, log_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_log = logging.getLogger("level_replicator.storage")


def floors_above(state: ReplicationState) -> bool:
    """Return True if a floor is above the vector and no bulk load is under way."""
    return not state.bulk_loading and bool(newer(state.floor, state.vector))


class FloorWatch:
    """Decides when floors that stay above the vector are lowered.

    The first attempt is after FLOOR_PATIENCE_MS, or BULK_LOAD_PATIENCE_MS while a bulk load is incomplete. It may fail,
    so others follow, after doubling delays of at most FLOOR_PATIENCE_CAP_MS."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._since_ms: int | None = None
        self._patience_ms = FLOOR_PATIENCE_MS

    def due(self, now_ms: int) -> bool:
        """Return True if floors must be lowered now. `now_ms` is monotonic time."""
        if not floors_above(self._state):
            self._since_ms, self._patience_ms = None, FLOOR_PATIENCE_MS
            return False
        if self._since_ms is None:
            self._since_ms = now_ms
        patience_ms = max(self._patience_ms, BULK_LOAD_PATIENCE_MS if self._state.bulk_load_incomplete else 0)
        if now_ms - self._since_ms < patience_ms:
            return False
        self._since_ms, self._patience_ms = now_ms, min(2 * self._patience_ms, FLOOR_PATIENCE_CAP_MS)
        return True


def lower_floors(state: ReplicationState, pause: Callable[[], bool]) -> int:
    """Lower all floors above the vector to it. Return the number of index rows that were written to the log again.

    Must not be called on the thread that applies entries of peers, nor during a truncation. `pause` is called between
    two batches, and ends the work by returning False. A bulk load that begins also ends it; during a bulk load it does
    nothing."""
    with state.lock:
        state.check()
        if not floors_above(state):
            return 0
        begun = state.bulk_loads
        above = newer(state.floor, state.vector)
        spans = {origin: (state.vector.get(origin, 0), high) for origin, high in above.items()}
        snapshot = state.rs.snapshot()
    relogger = _Relogger(state, spans)
    with snapshot:
        for batch in _batches(snapshot, spans):
            index_keys = batch
            while True:
                if index_keys:
                    index_keys = relogger.relog(index_keys)
                if state.bulk_loads != begun or not pause():
                    return relogger.count
                if not index_keys:
                    break
    with state.lock:
        state.check()
        if state.bulk_loads == begun:
            _lower(state, spans, relogger.damaged)
    return relogger.count


def _is_within(row: bytes, spans: dict[int, Interval]) -> bool:
    stamp: int
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
    low, high = spans.get(origin, (0, 0))
    return low < stamp <= high


def _batches(snapshot: Snapshot, spans: dict[int, Interval]) -> Iterator[list[bytes]]:
    """Yield lists of index keys of rows within the spans, RETENTION_BATCH at most.

    After many rows outside the spans the list is shorter, or empty, so that the caller can pause."""
    found: list[bytes] = []
    for seen, (index_key, row) in enumerate(snapshot.scan(INDEX, following(INDEX)), 1):
        if _is_within(row, spans):
            found.append(index_key)
        if len(found) == RETENTION_BATCH or seen % (10 * RETENTION_BATCH) == 0:
            yield found
            found = []
    yield found


class _Relogger:
    """Writes the entries of index rows to the log again, a batch at a time.

    count    number of rows written
    damaged  origin → newest stamp of a row whose entry is not in the log and cannot be made from the database
    """

    def __init__(self, state: ReplicationState, spans: dict[int, Interval]) -> None:
        self.count = 0
        self.damaged: Vector = {}
        self._state = state
        self._spans = spans

    def relog(self, index_keys: list[bytes]) -> list[bytes]:
        """Write one batch, and return the keys that did not fit into it. Acquires the lock."""
        state = self._state
        size = written = 0
        rest: list[bytes] = []
        with state.lock:
            state.check()
            with Transaction(state, name="floors") as tx:
                for place, index_key in enumerate(index_keys):
                    if size >= REPAIR_BATCH_BYTES:
                        rest = index_keys[place:]
                        break
                    row = state.rs.get(index_key)
                    if row is None or not _is_within(row, self._spans):
                        continue  # it has been written or deleted since
                    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
                    logged = state.rs.get(log_key(origin, stamp))
                    record = restore_entry(state.rs, state.db, index_key[len(INDEX) :], row)
                    if record is None:
                        self.damaged[origin] = max(stamp, self.damaged.get(origin, 0))
                    elif record != logged:
                        tx.put_log(origin, stamp, record)
                        tx.raise_newest(origin, stamp)
                        tx.set_late()
                        tx.entries += logged is None
                        written += 1
                        size += len(record)
            self.count += written
        return rest


def _lower(state: ReplicationState, spans: dict[int, Interval], damaged: Vector) -> None:
    """Lower the floors in one batch. Damaged rows stay below the floor, since the log lacks them."""
    for origin, stamp in damaged.items():
        _log.error(
            "the row at stamp %d of origin %s is damaged, so peers reconcile for each change: run verify with repair",
            stamp,
            origin_name(origin),
        )
    tx = Transaction(state)
    for origin, (low, _) in spans.items():
        tx.set_floor(origin, max(low, damaged.get(origin, 0)))
    state.step("floors: before the last batch")
    tx.commit()
    state.step("floors: after the last batch")
    update_late(state)
