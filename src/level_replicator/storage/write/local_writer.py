"""Local writes: each gets a stamp, and goes in one batch into the replication set, then into the database.

The put of one key without `sync` is written out in one function, since a call costs as much as its work there. A
property test shows that it produces the same bytes and the same memory as a transaction."""

from collections.abc import Callable
from time import sleep
from zlib import crc32

from level_replicator.core.entry import (
    DELETE,
    ENTRY_HEAD,
    INDEX_HEAD,
    Bytes,
    decode_index,
    encode_entry,
    encode_index,
)
from level_replicator.core.errors import LimitError
from level_replicator.core.hlc import COUNTER_BITS, MAX_STAMP
from level_replicator.core.limits import FILTER_MASK, MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.core.merge import next_context
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.state.schema import INDEX, LOG, encode_vector_entry, log_key, pack_log, vector_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction, epoch_begun, put_epoch
from level_replicator.storage.write.group_commit import GroupCommit

Operation = tuple[bytes, Bytes | None]

_pack_head, _pack_row = ENTRY_HEAD.pack, INDEX_HEAD.pack


def check_size(key: bytes, value: Bytes | None) -> None:
    """Raise LimitError for a key or value that is too large for a frame."""
    if len(key) > MAX_KEY_BYTES:
        raise LimitError(f"a key of {len(key)} bytes: at most {MAX_KEY_BYTES} can be replicated")
    if value is None:
        return
    size = len(value) if type(value) is bytes else memoryview(value).nbytes
    if size > MAX_VALUE_BYTES:
        raise LimitError(f"a value of {size} bytes: at most {MAX_VALUE_BYTES} can be replicated")


class LocalWriter:
    """Takes the local writes of one replica, from any thread.

    `on_written`: called after each write, in the thread that wrote; it must not block."""

    def __init__(self, state: ReplicationState, on_written: Callable[[], None]) -> None:
        self._state = state
        self._group = GroupCommit(state, self.write_locked)
        self._on_written = on_written

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        """Put a key. Raise LimitError, ClockError, or StorageError; then the write is not acknowledged."""
        if type(value) is not bytes or len(key) > MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
            check_size(key, value)
        state = self._state
        if sync:
            self._group.write([(key, value)])
        else:
            with state.lock:
                self._put_locked(state, key, value)
        self.announce()

    def delete(self, key: bytes, sync: bool) -> None:
        """Delete a key, even one that is not there: another node may have it. Raise as `put`."""
        self.write([(key, None)], sync)

    def write(self, operations: list[Operation], sync: bool) -> None:
        """Apply all operations in order, together or not at all. Raise as `put`."""
        for key, value in operations:
            check_size(key, value)
        # of two writes of a key in one batch no reader ever sees the earlier one
        operations = list(dict(operations).items())
        state = self._state
        if sync and operations:
            self._group.write(operations)
        else:
            with state.lock:
                state.check()
                if operations:
                    self.write_locked(state, operations, False)
                elif sync:
                    self._flush(state)
        self.announce()

    def announce(self) -> None:
        """Notify readers that wait for a change, and `on_written`, of a write."""
        state = self._state
        if state.notifier.waiting:
            state.notifier.ring()
        self._on_written()
        if state.waiting:
            sleep(0)  # locks are not fair: a writer in a loop would keep remote changes out

    @staticmethod
    def _flush(state: ReplicationState) -> None:
        """Bring all earlier writes to the disk."""
        try:
            state.flush()
        except ENGINE_ERRORS as error:
            raise state.fail("a sync", error) from error

    @staticmethod
    def _put_locked(state: ReplicationState, key: bytes, value: Bytes) -> None:
        """Put one key without `sync`, under the lock: the most frequent write by far. A call would cost as much as its
        work, so HybridClock.next, KeyFilter.is_new, encode_entry, encode_index and Transaction are written out."""
        if state.failed is not None:
            state.check()
        origin, vector = state.origin, state.vector
        before = vector.get(origin, 0)
        clock = state.clock
        stamp = clock.last + 1
        wall = state.now_ms() << COUNTER_BITS
        if wall > stamp or stamp > MAX_STAMP:
            stamp = clock.next(wall >> COUNTER_BITS)
        else:
            clock.last = stamp
        index_key = INDEX + key
        known = state.key_filter
        place = hash(key) & FILTER_MASK
        byte, bit = place >> 3, 1 << (place & 7)
        rs_batch, step = state.rs.batch(), state.on_step
        put = rs_batch.put
        keys, entries = state.keys + 1, state.entries + 1
        context, gone = b"", 0
        begun = False
        try:
            if known.bits[byte] & bit or not known.is_new(key):
                row = state.rs.get(index_key)
                if row is not None:
                    context, live, logged, gone = _overwrite(state, row, rs_batch.delete)
                    keys -= live
                    entries -= logged
            if context:
                record, flags, checksum = encode_entry(stamp, key, value, context)
                put(index_key, encode_index(stamp, origin, flags, checksum, context))
            else:
                checksum = crc32(value)
                record = b"".join((_pack_head(stamp, 0, checksum, len(key)), key, value))
                put(index_key, _pack_row(stamp, origin, 0, checksum))
            put(pack_log(LOG, origin, stamp), record)
            put(vector_key(origin), encode_vector_entry(stamp, before))
            if state.next_epoch:
                put_epoch(state, rs_batch)
            if step is not None:
                step("before rs")
            begun = True
            rs_batch.write()
            if step is not None:
                step("between rs and db")
            state.db.put(key, value)
            if step is not None:
                step("after db")
            if gone or state.restored_gap[1] == 0:
                _account(state, stamp, record, keys, entries, gone)
            else:
                state.keys, state.entries = keys, entries
                state.tail.add({stamp: record}, len(record))
                vector[origin] = state.newest[origin] = stamp
        except ENGINE_ERRORS as error:
            raise state.fail("a write", error) from error
        except BaseException as error:  # Ctrl-C, or a signal handler that raises
            if begun and vector.get(origin, 0) < stamp:
                _finish(state, error, rs_batch.write, lambda: state.db.put(key, value))
                _account(state, stamp, record, keys, entries, gone)
            raise

    @staticmethod
    def write_locked(state: ReplicationState, operations: list[Operation], sync: bool) -> None:
        """Write operations on different keys; the caller holds the lock."""
        origin = state.origin
        stamp = state.clock.next(state.now_ms(), len(operations))
        get, is_new = state.rs.get, state.key_filter.is_new
        new: dict[int, bytes] = {}
        gone: list[int] = []
        keys = entries = 0  # by how much their numbers change
        try:
            tx = Transaction(state, name="", sync=sync)
            put, delete, db_put, db_delete = tx.rs.put, tx.rs.delete, tx.db.put, tx.db.delete
            for key, value in operations:
                index_key = INDEX + key
                context, live, logged = b"", False, False
                if not is_new(key) and (row := get(index_key)) is not None:
                    context, live, logged, own = _overwrite(state, row, delete)
                    gone.append(own)
                record, flags, checksum = encode_entry(stamp, key, value, context)
                put(pack_log(LOG, origin, stamp), record)
                put(index_key, encode_index(stamp, origin, flags, checksum, context))
                new[stamp] = record
                entries += not logged
                if value is None:
                    db_delete(key)
                    keys -= live
                else:
                    db_put(key, value)
                    keys += not live
                stamp += 1
            tx.keys, tx.entries = keys, entries
            tx.add_own(new)
            if gone:
                tx.drop_from_tail(gone)
            tx.commit()
        except ENGINE_ERRORS as error:
            raise state.fail("a write", error) from error


def _overwrite(state: ReplicationState, packed: bytes, drop: Callable[[bytes], None]) -> tuple[bytes, bool, bool, int]:
    """Prepare a local write over an index row. Return the context of the write, whether there was a value, whether an
    entry leaves the log, and the stamp of that entry if it is our own, else 0."""
    stamp, origin, flags, _ = INDEX_HEAD.unpack_from(packed)
    context = b""
    if origin != state.origin or len(packed) > INDEX_HEAD.size:
        row = decode_index(packed)
        context = next_context(row.written_dot, row.context, state.origin)
    logged = (not state.floor and not state.lost) or state.logged(origin, stamp)
    if logged:
        drop(log_key(origin, stamp))
    return context, not flags & DELETE, logged, stamp if origin == state.origin else 0


def _finish(state: ReplicationState, error: BaseException, *writes: Callable[[], None]) -> None:
    """An interrupt must not leave a batch in one LevelDB and not in the other; to write it twice does no harm."""
    try:
        for write in writes:
            write()
    except BaseException:
        state.fail("a write that was interrupted", error)
        raise error from None


def _account(state: ReplicationState, stamp: int, record: bytes, keys: int, entries: int, overwritten: int) -> None:
    """Change the fields of the state after a put is written, as Transaction does it. May be done twice. The vector
    comes last: a write that it covers is complete.

    `keys`, `entries`: their new numbers; `overwritten`: stamp of the own entry that left the log, or 0."""
    state.keys, state.entries = keys, entries
    epoch_begun(state)
    state.tail.drop(overwritten)
    state.tail.add({stamp: record}, len(record))
    if state.restored_gap[1] == 0:
        state.restored_gap = (state.restored_gap[0], stamp)
    state.vector[state.origin] = state.newest[state.origin] = stamp
