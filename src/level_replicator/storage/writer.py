"""A local write: a stamp, then one batch into the replication set, then the same into the database."""

from time import sleep

from level_replicator.core.entry import (
    DELETE,
    INDEX_HEAD,
    Bytes,
    encode_entry,
    encode_index,
    index_contexts,
)
from level_replicator.core.errors import LimitError
from level_replicator.core.keys import INDEX, log_key, vector_key
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.core.merge import next_context
from level_replicator.storage.engine import Batch
from level_replicator.storage.lines import encode_vector_line
from level_replicator.storage.plyvel_engine import ENGINE_ERRORS
from level_replicator.storage.state import State

Operation = tuple[bytes, Bytes | None]


def check_size(key: bytes, value: Bytes | None) -> None:
    """Raises LimitError for what no frame could carry."""
    if len(key) > MAX_KEY_BYTES:
        raise LimitError(f"a key of {len(key)} bytes: at most {MAX_KEY_BYTES} can be replicated")
    if value is None:
        return
    size = len(value) if type(value) is bytes else memoryview(value).nbytes
    if size > MAX_VALUE_BYTES:
        raise LimitError(f"a value of {size} bytes: at most {MAX_VALUE_BYTES} can be replicated")


class LocalWriter:
    """Takes the local writes of one replica, from any thread."""

    def __init__(self, state: State) -> None:
        self._state = state

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        """Raises LimitError, ClockError, or StorageError, and then nothing was acknowledged."""
        self.write([(key, value)], sync)

    def delete(self, key: bytes, sync: bool) -> None:
        """Deletes, also a key that is not there: another node may have it. Raises as `put`."""
        self.write([(key, None)], sync)

    def write(self, operations: list[Operation], sync: bool) -> None:
        """All of them, in order, together or not at all. Raises as `put`."""
        for key, value in operations:
            check_size(key, value)
        if len(operations) != 1:
            # of two writes of a key in one batch nobody ever sees the earlier one
            operations = list(dict(operations).items())
        state = self._state
        with state.lock:
            state.check()
            if operations:
                self.write_locked(state, operations, sync)
            elif sync:
                self._flush(state)
        if state.signal.waiting:
            state.signal.ring()
        if state.waiting:
            sleep(0)  # locks are not fair: a writer in a loop would keep remote changes out

    @staticmethod
    def _flush(state: State) -> None:
        """An empty batch with `sync` brings all earlier writes to the disk, as in plyvel."""
        try:
            state.rs.batch(sync=True).write()
            state.db.batch(sync=True).write()
        except ENGINE_ERRORS as error:
            raise state.fail("a sync", error) from error

    @staticmethod
    def write_locked(state: State, operations: list[Operation], sync: bool) -> None:
        """`write`, by somebody who holds the lock, of different keys."""
        origin = state.origin
        before = state.vector.get(origin, 0)
        stamp = first = state.clock.next(state.now_ms(), len(operations))
        get, rs_batch, db_batch = state.rs.get, state.rs.batch(sync=sync), state.db.batch(sync=sync)
        put, drop = rs_batch.put, rs_batch.delete
        keys, entries, floor = state.keys, state.entries, state.floor
        begun = False
        try:
            for key, value in operations:
                index_key = INDEX + key
                old = get(index_key)
                context = b""
                live = False
                if old is not None:
                    old_stamp, old_origin, old_flags, _ = INDEX_HEAD.unpack_from(old)
                    live = not old_flags & DELETE
                    if old_origin != origin or len(old) > INDEX_HEAD.size:
                        context = next_context(old_stamp, old_origin, index_contexts(old)[1], origin)
                    if not floor or state.logged(old_origin, old_stamp):
                        drop(log_key(old_origin, old_stamp))
                    else:
                        entries += 1
                else:
                    entries += 1
                record, flags, checksum = encode_entry(stamp, key, value, context)
                put(log_key(origin, stamp), record)
                put(index_key, encode_index(stamp, origin, flags, checksum, context))
                if value is None:
                    db_batch.delete(key)
                    keys -= live
                else:
                    db_batch.put(key, value)
                    keys += not live
                stamp += 1
            put(vector_key(origin), encode_vector_line(stamp - 1, before))
            state.step("before rs")
            begun = True
            rs_batch.write()
            state.step("between rs and db")
            db_batch.write()
            state.step("after db")
            _account(state, first, stamp - 1, keys, entries)
        except ENGINE_ERRORS as error:
            raise state.fail("a write", error) from error
        except BaseException as error:  # Ctrl-C, or a signal handler that raises
            if begun and _finish(state, rs_batch, db_batch, error):
                _account(state, first, stamp - 1, keys, entries)
            raise


def _finish(state: State, rs_batch: Batch, db_batch: Batch, error: BaseException) -> bool:
    """An interrupt must not leave a batch in one LevelDB and not in the other; to write it twice does no harm."""
    try:
        rs_batch.write()
        db_batch.write()
    except BaseException:
        state.fail("a write that was interrupted", error)
        return False
    return True


def _account(state: State, first: int, last: int, keys: int, entries: int) -> None:
    state.vector[state.origin] = state.newest[state.origin] = last
    state.keys, state.entries = keys, entries
    if state.restored_gap[1] == 0:
        state.restored_gap = (state.restored_gap[0], first)
