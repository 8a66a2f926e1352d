"""A local write: a stamp, then one batch into the replication set, then the same into the database."""

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
from level_replicator.storage.state.histories import epoch_begun, put_epoch
from level_replicator.storage.state.schema import INDEX, LOG, encode_vector_entry, log_key, pack_log, vector_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.write.group_commit import GroupCommit

Operation = tuple[bytes, Bytes | None]

_pack_head, _pack_row = ENTRY_HEAD.pack, INDEX_HEAD.pack


def check_size(key: bytes, value: Bytes | None) -> None:
    """Raises LimitError for what no frame could carry."""
    if len(key) > MAX_KEY_BYTES:
        raise LimitError(f"a key of {len(key)} bytes: at most {MAX_KEY_BYTES} can be replicated")
    if value is None:
        return
    size = len(value) if type(value) is bytes else memoryview(value).nbytes
    if size > MAX_VALUE_BYTES:
        raise LimitError(f"a value of {size} bytes: at most {MAX_VALUE_BYTES} can be replicated")


def _nobody() -> None:
    """Default of `on_written`: does nothing."""


class LocalWriter:
    """Takes the local writes of one replica, from any thread.

    `on_written`: called after each, in the thread that wrote; it must not wait."""

    def __init__(self, state: ReplicationState, on_written: Callable[[], None] = _nobody) -> None:
        self._state = state
        self._group = GroupCommit(state, self.write_locked)
        self._on_written = on_written

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        """Raises LimitError, ClockError, or StorageError, and then nothing was acknowledged."""
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
        """Deletes, also a key that is not there: another node may have it. Raises as `put`."""
        self.write([(key, None)], sync)

    def write(self, operations: list[Operation], sync: bool) -> None:
        """All of them, in order, together or not at all. Raises as `put`."""
        for key, value in operations:
            check_size(key, value)
        # of two writes of a key in one batch nobody ever sees the earlier one
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
        """Say that something was written here: to those who wait for it, and to the peers."""
        state = self._state
        if state.notifier.waiting:
            state.notifier.ring()
        self._on_written()
        if state.waiting:
            sleep(0)  # locks are not fair: a writer in a loop would keep remote changes out

    @staticmethod
    def _flush(state: ReplicationState) -> None:
        """An empty batch with `sync` brings all earlier writes to the disk, as in plyvel."""
        try:
            state.rs.batch(sync=True).write()
            state.db.batch(sync=True).write()
        except ENGINE_ERRORS as error:
            raise state.fail("a sync", error) from error

    @staticmethod
    def _put_locked(state: ReplicationState, key: bytes, value: Bytes) -> None:
        """`write_locked` of one put without `sync`: what most programs do most. What a call costs here is as much as
        what it does, so it is written out what HybridClock.next, KeyFilter.is_new, encode_entry and encode_index do."""
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
                _account(state, stamp, stamp, keys, entries, {stamp: record}, len(record), (gone,))
            else:
                state.keys, state.entries = keys, entries
                state.tail.add({stamp: record}, len(record))
                vector[origin] = state.newest[origin] = stamp
        except ENGINE_ERRORS as error:
            raise state.fail("a write", error) from error
        except BaseException as error:  # Ctrl-C, or a signal handler that raises
            if begun and vector.get(origin, 0) < stamp:
                _finish(state, error, rs_batch.write, lambda: state.db.put(key, value))
                _account(state, stamp, stamp, keys, entries, {stamp: record}, len(record), (gone,))
            raise

    @staticmethod
    def write_locked(state: ReplicationState, operations: list[Operation], sync: bool) -> None:
        """`write`, by somebody who holds the lock, of different keys."""
        origin = state.origin
        before = state.vector.get(origin, 0)
        stamp = first = state.clock.next(state.now_ms(), len(operations))
        rs_batch, db_batch = state.rs.batch(sync=sync), state.db.batch(sync=sync)
        get, is_new = state.rs.get, state.key_filter.is_new
        put, db_put = rs_batch.put, db_batch.put
        keys, entries, size = state.keys, state.entries, 0
        new: dict[int, bytes] = {}
        gone: list[int] = []
        begun = False
        try:
            for key, value in operations:
                index_key = INDEX + key
                context, live, logged = b"", False, False
                if not is_new(key) and (row := get(index_key)) is not None:
                    context, live, logged, own = _overwrite(state, row, rs_batch.delete)
                    gone.append(own)
                record, flags, checksum = encode_entry(stamp, key, value, context)
                put(pack_log(LOG, origin, stamp), record)
                put(index_key, encode_index(stamp, origin, flags, checksum, context))
                new[stamp] = record
                size += len(record)
                entries += not logged
                if value is None:
                    db_batch.delete(key)
                    keys -= live
                else:
                    db_put(key, value)
                    keys += not live
                stamp += 1
            put(vector_key(origin), encode_vector_entry(stamp - 1, before))
            if state.next_epoch:
                put_epoch(state, rs_batch)
            state.step("before rs")
            begun = True
            rs_batch.write()
            state.step("between rs and db")
            db_batch.write()
            state.step("after db")
            _account(state, first, stamp - 1, keys, entries, new, size, gone)
        except ENGINE_ERRORS as error:
            raise state.fail("a write", error) from error
        except BaseException as error:  # Ctrl-C, or a signal handler that raises
            if begun and state.vector.get(origin, 0) < first:
                _finish(state, error, rs_batch.write, db_batch.write)
                _account(state, first, stamp - 1, keys, entries, new, size, gone)
            raise


def _overwrite(state: ReplicationState, packed: bytes, drop: Callable[[bytes], None]) -> tuple[bytes, bool, bool, int]:
    """What a write of ours over an index row comes to: its context, whether there was a value, whether an entry
    leaves the log, and that one's stamp if it is our own, else 0."""
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


def _account(
    state: ReplicationState,
    first: int,
    last: int,
    keys: int,
    entries: int,
    new: dict[int, bytes],
    size: int,
    gone: list[int] | tuple[int, ...],
) -> None:
    """What memory keeps of a batch that was written; may be done twice. The vector last: with it all is done."""
    state.keys, state.entries = keys, entries
    epoch_begun(state)
    tail = state.tail
    for stamp in gone:
        tail.drop(stamp)
    tail.add(new, size)
    if state.restored_gap[1] == 0:
        state.restored_gap = (state.restored_gap[0], first)
    state.vector[state.origin] = state.newest[state.origin] = last
