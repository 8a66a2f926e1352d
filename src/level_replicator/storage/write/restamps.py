"""Entries that travel again under a new dot of this node, and keep their place in the order of writes.

A node re-stamps a row that a peer may have forgotten, and issues a tombstone for a put that a forgotten delete had
superseded. Both are entries of our own origin, in the batch that needs them, with the `written` of the write that
they carry.
"""

from level_replicator.core.entry import decode_dot, encode_entry, encode_index
from level_replicator.core.limits import REPAIR_BATCH_BYTES
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.histories import epoch_begun, put_epoch, put_written
from level_replicator.storage.state.schema import INDEX, encode_vector_entry, log_key, vector_key
from level_replicator.storage.state.state import ReplicationState


class Restamps:
    """The re-stamped entries of one batch, under the lock of the state: `add` each, `put_into` the batch before it is
    written, `account` for them after it."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._entries: list[tuple[bytes, bytes | None, bytes, bytes]] = []
        self._records: dict[int, bytes] = {}
        self._bytes = 0
        self._written: Vector = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether the batch should end, since values of REPAIR_BATCH_BYTES are in it."""
        return self._bytes >= REPAIR_BATCH_BYTES

    def add(self, key: bytes, value: bytes | None, context: bytes, written: bytes) -> None:
        """`value` is None for a tombstone, `written` 16 bytes (core.entry.encode_dot)."""
        self._entries.append((key, value, context, written))
        self._bytes += len(key) + len(value or b"")

    def put_into(self, batch: Batch) -> None:
        """Stamp them, and put log entries, index rows and the vector into a batch of `rs`. Raises ClockError.

        The clock must have followed all that the batch contains."""
        if not self._entries:
            return
        state = self._state
        origin = state.origin
        first = stamp = state.clock.next(state.now_ms(), len(self._entries))
        for stamp, (key, value, context, written) in enumerate(self._entries, first):
            record, flags, checksum = encode_entry(stamp, key, value, context, written)
            batch.put(log_key(origin, stamp), record)
            batch.put(INDEX + key, encode_index(stamp, origin, flags, checksum, context, written=written))
            self._records[stamp] = record
            if written and decode_dot(written)[1] != origin:
                self._written.update(put_written(state, batch, decode_dot(written)))
        batch.put(vector_key(origin), encode_vector_entry(stamp, state.vector.get(origin, 0)))
        put_epoch(state, batch)

    def account(self) -> None:
        """What memory keeps of them, now that the batch is written."""
        if not self._records:
            return
        state = self._state
        epoch_begun(state)
        state.written = {**state.written, **self._written}
        first, last = next(iter(self._records)), next(reversed(self._records))
        state.tail.add(self._records, sum(map(len, self._records.values())))
        if state.restored_gap[1] == 0:
            state.restored_gap = (state.restored_gap[0], first)
        state.vector[state.origin] = state.newest[state.origin] = last
        deletes = sum(value is None for _, value, _, _ in self._entries)
        state.restamped_puts += len(self._entries) - deletes
        state.restamped_tombstones += deletes
