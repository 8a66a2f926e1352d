"""Batches of repairs, for recovery at open and for the audit."""

from level_replicator.core.entry import decode_index
from level_replicator.core.limits import REPAIR_BATCH_BYTES, REPAIR_BATCH_ENTRIES
from level_replicator.core.version_vector import Vector
from level_replicator.storage.recovery.roll_back import forget_entries
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import has_room, record_lost, restore_row


class RepairBatches:
    """Commits many repairs in batches of REPAIR_BATCH_ENTRIES or REPAIR_BATCH_BYTES.

    Does not count keys and entries; the caller counts them afterwards. With `forget`, a row whose value this node does
    not have is deleted, and the vector is lowered below it. Otherwise the row stays, and its key is recorded as lost
    (storage.write.lost), up to MAX_LOST_KEYS."""

    def __init__(self, state: ReplicationState, *, forget: bool = True) -> None:
        self._state = state
        self._forget = forget
        self._begin()

    def _begin(self) -> None:
        self._tx: Transaction | None = None
        self._count = self._bytes = self._recorded = 0
        self._lost: Vector = {}

    def next(self, size: int = 0) -> Transaction:
        """Return the transaction for the next repair, which writes `size` bytes."""
        if self._count == REPAIR_BATCH_ENTRIES or self._bytes >= REPAIR_BATCH_BYTES:
            self.flush()
        if self._tx is None:
            self._tx = Transaction(self._state)
        self._count += 1
        self._bytes += size
        return self._tx

    def next_lost(self, key: bytes, packed: bytes) -> bool:
        """Repair a key whose value in the row `packed` is neither in the database nor in the log.

        Returns True if the row is deleted."""
        tx = self.next()
        entry = restore_row(self._state, tx, key, packed)
        if entry is not None:
            self._bytes += len(entry.value or b"")
            return False
        row = decode_index(packed)
        if not self._forget and not row.deleted and has_room(self._state, self._recorded + 1):
            record_lost(tx, key, packed)
            self._recorded += 1
            return False
        tx.delete_log(row.origin, row.stamp)
        tx.delete_row(key)
        for stamp, origin in (row.dot, row.written_dot):
            self._lost[origin] = min(stamp, self._lost.get(origin, stamp))
        return True

    def flush(self) -> None:
        """Commit the repairs so far."""
        if self._tx is not None:
            forget_entries(self._state, self._lost)
            self._tx.commit()
            self._state.step("repair: a batch")
        self._begin()
