"""Lowering of floors that are above the vector.

The log holds exactly the index rows above the floor, and the vector normally covers the floor. Two things leave a floor
above it. A bulk load raises the floor to the peer's vector before the first row arrives; if it breaks off and the peer
is gone for good, or loses power and goes back, perhaps no other node knows that much any more. And after a power loss,
or when a damaged row is given up, our vector goes back and the floor stays.

No peer ever covers such a floor, so every peer would reconcile with us again for each change, for ever. Usually another
pull raises the vector within seconds. If none does, the index rows between the two are written to the log again, and
then the floor is lowered to the vector. The same holds for a bulk load that no peer continues for a while; its mark
stays, so that the next peer is asked for a reconciliation, which costs as much as the two still differ.

Every step leaves a sound state. Until the last one the floors stay as they are, and the entries below them count as
late (see ReplicationState.late); the last one lowers all floors in one batch.
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
    """Decides when floors that stay above the vector are lowered: after FLOOR_PATIENCE_MS, or BULK_LOAD_PATIENCE_MS
    while a bulk load is incomplete, and then after ever longer times up to FLOOR_PATIENCE_CAP_MS, since it may fail."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._since_ms: int | None = None
        self._patience_ms = FLOOR_PATIENCE_MS

    def due(self, now_ms: int) -> bool:
        """Return True if they are to be lowered now. `now_ms`: monotonic time."""
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
    """Lower all floors above the vector to it. Return the number of index rows that are in the log again.

    For any thread but the one that applies, and not beside a truncation. `pause` is called between two batches and ends
    the work by returning False. It also ends when a bulk load begins, and does nothing while one is under way."""
    with state.lock:
        state.check()
        if not floors_above(state):
            return 0
        begun = state.bulk_loads
        above = newer(state.floor, state.vector)
        spans = {origin: (state.vector.get(origin, 0), high) for origin, high in above.items()}
        snapshot = state.rs.snapshot()
    logging_again = _LoggingAgain(state, spans)
    with snapshot:
        for batch in _batches(snapshot, spans):
            index_keys = batch
            while True:
                if index_keys:
                    index_keys = logging_again.log(index_keys)
                if state.bulk_loads != begun or not pause():
                    return logging_again.count
                if not index_keys:
                    break
    with state.lock:
        state.check()
        if state.bulk_loads == begun:
            _lower(state, spans, logging_again.damaged)
    return logging_again.count


def _is_within(row: bytes, spans: dict[int, Interval]) -> bool:
    stamp: int
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
    low, high = spans.get(origin, (0, 0))
    return low < stamp <= high


def _batches(snapshot: Snapshot, spans: dict[int, Interval]) -> Iterator[list[bytes]]:
    """Yield the index keys of rows within the spans, RETENTION_BATCH at a time; fewer, perhaps none, after many rows
    outside of them, so that the caller can pause."""
    found: list[bytes] = []
    for seen, (index_key, row) in enumerate(snapshot.scan(INDEX, following(INDEX)), 1):
        if _is_within(row, spans):
            found.append(index_key)
        if len(found) == RETENTION_BATCH or seen % (10 * RETENTION_BATCH) == 0:
            yield found
            found = []
    yield found


class _LoggingAgain:
    """Writes index rows to the log again, a batch at a time.

    count    number of rows written
    damaged  origin → newest stamp of a row whose entry is neither in the log nor can be made from the database
    """

    def __init__(self, state: ReplicationState, spans: dict[int, Interval]) -> None:
        self.count = 0
        self.damaged: Vector = {}
        self._state = state
        self._spans = spans

    def log(self, index_keys: list[bytes]) -> list[bytes]:
        """Write one batch, under the lock. Return the keys that it had no room for."""
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
