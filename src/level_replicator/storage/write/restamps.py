"""Entries that travel again under a new dot of this node, and keep their place in the order of writes.

A node re-stamps a row that a peer may have forgotten, and issues a tombstone for a put that a forgotten delete had
superseded. Both are entries of this node's own origin, in the batch that needs them, with the `written` of the write
that they carry.
"""

from level_replicator.core.entry import decode_dot, encode_entry, encode_index
from level_replicator.core.limits import REPAIR_BATCH_BYTES
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction


class Restamps:
    """The re-stamped entries of one transaction: `add` each, then `put_into` the transaction before it commits."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._entries: list[tuple[bytes, bytes | None, bytes, bytes]] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether the batch should end, since it contains keys and values of REPAIR_BATCH_BYTES."""
        return self._bytes >= REPAIR_BATCH_BYTES

    def add(self, key: bytes, value: bytes | None, context: bytes, written: bytes) -> None:
        """Add an entry. `value`: None for a tombstone; `written`: 16 bytes (core.entry.encode_dot)."""
        self._entries.append((key, value, context, written))
        self._bytes += len(key) + len(value or b"")

    def put_into(self, tx: Transaction) -> None:
        """Stamp the entries, and put them into log, index and vector. Raise ClockError.

        The clock must have followed every stamp of the transaction. The caller counts the entries."""
        if not self._entries:
            return
        state = self._state
        origin = state.origin
        first = state.clock.next(state.now_ms(), len(self._entries))
        records: dict[int, bytes] = {}
        for stamp, (key, value, context, written) in enumerate(self._entries, first):
            record, flags, checksum = encode_entry(stamp, key, value, context, written)
            tx.put_log(origin, stamp, record)
            tx.put_row(key, encode_index(stamp, origin, flags, checksum, context, written=written))
            records[stamp] = record
            if written and decode_dot(written)[1] != origin:
                tx.note_written(decode_dot(written))
        tx.add_own(records)
        tombstones = sum(value is None for _, value, _, _ in self._entries)
        tx.count_restamped(len(self._entries) - tombstones, tombstones)
