"""Repair at open.

After a kill only the last batch can be in one LevelDB and not in the other: it is done again (redo).
After a power loss either may lack any writes that were not synced, not only the newest: then the log is
compared with the index, and the index with the database (repair). What a peer has and we lost comes
back from it, since the vector is rolled back to what was surely on disk.
"""

import logging

import msgspec

from level_replicator.core.entry import (
    DELETE,
    INDEX_HEAD,
    decode_entry,
    decode_index,
    encode_dot,
    encode_entry,
    encode_index,
)
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.core.limits import REPAIR_BATCH_BYTES
from level_replicator.core.merge import order_of, order_of_row
from level_replicator.core.version_vector import Vector, decode_vector, encode_vector
from level_replicator.storage.engine.base import Batch
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.load import load_stamps, load_vector
from level_replicator.storage.state.log_reader import logged_entry, read_entry, restore_entry, row_from_log
from level_replicator.storage.state.meta import store_meta
from level_replicator.storage.state.schema import (
    APPLIED,
    HORIZON,
    INDEX,
    LOG,
    RESUME,
    TOUCHED,
    VECTOR,
    decode_applied,
    decode_vector_entry,
    encode_vector_entry,
    following,
    log_dot,
    log_key,
    log_range,
    vector_key,
)
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.tombstones import lower_horizon
from level_replicator.storage.write.lost import has_room, note_lost, put_lost

_log = logging.getLogger("level_replicator.storage")
_BATCH_ENTRIES = 1_000
_NEVER = 1 << 64
"""Above every stamp."""


def replay_last_batch(state: ReplicationState) -> int:
    """Does the last local batch and the last remote one again into the database. The number of entries."""
    ranges: list[tuple[int, int, int]] = []
    own = state.rs.get(vector_key(state.origin))
    if own is not None:
        ranges.append((state.origin, *decode_vector_entry(own)))
    applied = state.rs.get(APPLIED)
    if applied is not None:
        ranges.append(decode_applied(applied))
    # on the disk: a reconciliation's next batch takes the place of the note of what the last one took away
    batch = state.db.batch(sync=True)
    done = 0
    for origin, low, high in ranges:
        for log_at, record in state.rs.scan(*log_range(origin, low, high)):
            try:
                entry = decode_entry(record)
            except RemoteProtocolError as error:
                # it opens all the same: the database may have it, and verify repairs what can be repaired
                _log.error(
                    "the entry at stamp %d of the log is damaged (%s): run verify with repair",
                    log_dot(log_at)[0],
                    error,
                )
                continue
            if entry.value is None:
                batch.delete(entry.key)
            else:
                batch.put(entry.key, entry.value)
            done += 1
    for key in _touched(state):
        row = state.rs.get(INDEX + key)
        if row is None or INDEX_HEAD.unpack_from(row)[2] & DELETE:
            batch.delete(key)
            continue
        logged = logged_entry(state.rs, key, row)
        if logged is not None:
            value = read_entry(logged).value
            assert value is not None
            batch.put(key, value)
            done += 1
    batch.write()
    return done


def _touched(state: ReplicationState) -> list[bytes]:
    """The keys of the last batch of a reconciliation, which took some away: of these the log knows nothing."""
    noted = state.rs.get(TOUCHED)
    try:
        return [] if noted is None else msgspec.msgpack.decode(noted, type=list[bytes])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StorageError(
            "the record of the last batch cannot be read: restore the replica from a backup, or begin with an empty one"
        ) from error


def roll_back_vector(state: ReplicationState, durable: Vector) -> None:
    """The vector claims only what was surely on disk; nothing is known any more of broken-off scans.

    What was given up since is not claimed again."""
    _forget_scans(state)
    batch = state.rs.batch()
    there = load_vector(state.rs)
    durable = {origin: min(stamp, there.get(origin, 0)) for origin, stamp in durable.items()}
    durable = {origin: stamp for origin, stamp in durable.items() if stamp}
    for key in state.rs.scan_keys(VECTOR, following(VECTOR)):
        batch.delete(key)
    for origin, stamp in durable.items():
        batch.put(vector_key(origin), encode_vector_entry(stamp, stamp))
    state.horizon = load_stamps(state.rs, HORIZON)
    for origin in state.horizon:
        lower_horizon(state, batch, origin, durable.get(origin, 0))
    batch.write()
    state.vector = dict(durable)


def _forget_scans(state: ReplicationState) -> None:
    batch = state.rs.batch()
    for key in state.rs.scan_keys(RESUME, following(RESUME)):
        batch.delete(key)
    batch.write()
    state.resume = {}


class _Batches:
    """Many repairs, a thousand at a time, or fewer of large values.

    `forget`: a row whose value is nowhere is forgotten, vector included. If not, it stays, and the key is written down
    as lost (see storage.write.lost)."""

    def __init__(self, state: ReplicationState, *, forget: bool = True) -> None:
        self._state = state
        self._forget = forget
        self._kept: list[bytes] = []
        self._batch: tuple[Batch, Batch] | None = None
        self._size = self._bytes = 0
        self._lost: Vector = {}

    def next(self, size: int = 0) -> tuple[Batch, Batch]:
        """The batches of `rs` and `db` to add one more repair to, which writes a value of this many bytes."""
        if self._size == _BATCH_ENTRIES or self._bytes >= REPAIR_BATCH_BYTES:
            self.flush()
        if self._batch is None:
            self._batch = (self._state.rs.batch(), self._state.db.batch())
        self._size += 1
        self._bytes += size
        return self._batch

    def next_lost(self, key: bytes, packed: bytes) -> bool:
        """Take away what is left of an entry that is nowhere any more. Returns whether its row goes as well."""
        made = row_from_log(self._state.rs, key, packed)
        if made is not None:
            new_row, entry = made
            batch, db_batch = self.next(len(entry.value or b""))
            batch.put(INDEX + key, new_row)
            db_batch.delete(key) if entry.value is None else db_batch.put(key, entry.value)
            return False
        row = decode_index(packed)
        batch, _ = self.next()
        batch.delete(log_key(row.origin, row.stamp))
        if not self._forget and not row.deleted and has_room(self._state, len(self._kept) + 1):
            put_lost(batch, key)
            self._kept.append(key)
            return False
        batch.delete(INDEX + key)
        for stamp, origin in (row.dot, row.written_dot):
            self._lost[origin] = min(stamp, self._lost.get(origin, stamp))
        return True

    def flush(self) -> None:
        if self._batch is not None:
            _forget(self._state, self._lost)
            for batch in self._batch:
                batch.write()
            for key in self._kept:
                note_lost(self._state, key)
            self._state.step("repair: a batch")
        self._batch, self._size, self._bytes, self._lost, self._kept = None, 0, 0, {}, []


def _forget(state: ReplicationState, lost: Vector) -> None:
    """Entries are lost: the vectors of their origins go back to before them, and scans that broke off are begun anew,
    so that peers send them again.

    On the disk before they go: an interrupted repair may claim too little, never too much. The floor stays: above it
    the log holds everything still. What our present origin wrote nobody else can have."""
    lost = {origin: stamp for origin, stamp in lost.items() if origin != state.origin}
    if not lost:
        return
    meta = state.meta
    assert meta is not None
    if meta.changing_from is not None and meta.changing_from[1] >= lost.get(meta.changing_from[0], _NEVER):
        meta.changing_from = (meta.changing_from[0], lost[meta.changing_from[0]] - 1)
    state.lowered += 1
    if state.resume:
        _forget_scans(state)
    batch = state.rs.batch()
    for origin, stamp in lost.items():
        if stamp <= state.vector.get(origin, 0):
            state.vector[origin] = stamp - 1
            batch.put(vector_key(origin), encode_vector_entry(stamp - 1, stamp - 1))
            if (
                meta.changing_from is None or origin != meta.changing_from[0]
            ):  # the end of the origin change takes that one over
                lower_horizon(state, batch, origin, stamp - 1)
    batch.write()
    # nor may a power loss bring the claim back
    durable = {
        origin: min(stamp, lost.get(origin, _NEVER) - 1) for origin, stamp in decode_vector(meta.durable).items()
    }
    meta.durable = encode_vector({origin: stamp for origin, stamp in durable.items() if stamp})
    store_meta(state.rs, meta)


def repair_log(state: ReplicationState, *, forget: bool) -> int:
    """Makes log and index agree: every row above the floor has its entry, every entry its row. The number of repairs.
    `forget`: see _Batches.

    Rows without an entry go first: a later batch that only touched a row may have survived the batch that
    logged it, and would hide an entry that is still there."""
    repairs = _drop_damaged_entries(state) + _log_lines_again(state, forget=forget)
    batches = _Batches(state)
    repaired_rows: dict[bytes, bytes] = {}  # rows that a batch under way holds
    for log_at, record in state.rs.scan(LOG, following(LOG)):
        stamp, origin = log_dot(log_at)
        entry = read_entry(record)
        packed = repaired_rows.get(entry.key) or state.rs.get(INDEX + entry.key)
        if packed is not None:
            row = decode_index(packed)
            if row.dot == (stamp, origin):
                continue
            written = entry.written_dot(origin)
            if order_of_row(row) > order_of(written, entry.flags, entry.checksum, (stamp, origin)):
                batches.next()[0].delete(log_at)
                repairs += 1
                continue
            batches.next()[0].delete(log_key(row.origin, row.stamp))
        repaired_rows[entry.key] = encode_index(
            stamp, origin, entry.flags, entry.checksum, entry.context, written=entry.written
        )
        batches.next()[0].put(INDEX + entry.key, repaired_rows[entry.key])
        repairs += 1
    batches.flush()
    return repairs


def _drop_damaged_entries(state: ReplicationState) -> int:
    """An entry that cannot be read is as good as lost; it may be made anew of what the database holds."""
    repairs = 0
    batches = _Batches(state)
    for log_at, record in state.rs.scan(LOG, following(LOG)):
        try:
            sound = decode_entry(record).stamp == log_dot(log_at)[0]
        except RemoteProtocolError:
            sound = False
        if not sound:
            batches.next()[0].delete(log_at)
            repairs += 1
    batches.flush()
    return repairs


def _log_lines_again(state: ReplicationState, *, forget: bool) -> int:
    """Rows above the floor without an entry in the log: it is made anew if the database agrees, else it is lost."""
    repairs = 0
    batches = _Batches(state, forget=forget)
    for index_key, row in state.rs.scan(INDEX, following(INDEX)):
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
        if stamp <= state.floor.get(origin, 0):
            continue
        key = index_key[len(INDEX) :]
        if logged_entry(state.rs, key, row) is not None:
            continue
        repairs += 1
        made = restore_entry(state.rs, state.db, key, row) if agrees(row, state.db.get(key)) else None
        if made is None:
            batches.next_lost(key, row)  # an entry of another key at this place is damaged
        else:
            batches.next(len(made))[0].put(log_key(origin, stamp), made)
    batches.flush()
    return repairs


def repair_database(state: ReplicationState, *, torn: bool, forget: bool) -> int:
    """Makes the database hold what the index says, after `repair_log`. The number of repairs.

    What neither log nor database have any more is lost; `forget`: see _Batches. A key
    that the index does not know is taken over as the oldest write there is: it loses to everything else that anybody
    remembers of the key, and is not lost if nobody does. Not so what a bulk load that is not complete brought, and,
    after a power loss, where tombstones were dropped: it goes.

    `torn`: after a power loss. What has left the log was on the disk before it did, so another value in the database is
    that of a later write whose entry was lost: it stays, in the place of the write that it replaced. If the database
    has none, a delete's entry was lost: a tombstone goes right below, so that nothing older shows, but the value comes
    back if a peer still has it."""
    repairs = 0
    stamp = before = state.vector.get(state.origin, 0)
    batches = _Batches(state, forget=forget)
    beside = _Beside(state, batches)
    taken_away = set(_touched(state))
    for key, row, value in side_by_side(state.rs, state.db):
        if row is not None and agrees(row, value):
            continue
        repairs += 1
        if row is not None:
            if INDEX_HEAD.unpack_from(row)[2] & DELETE:
                batches.next()[1].delete(key)
                continue
            logged = logged_entry(state.rs, key, row)
            if logged is not None:
                put = read_entry(logged).value
                assert put is not None
                batches.next(len(put))[1].put(key, put)
                continue
            if torn and value is not None:
                beside.write_above(key, row, value)
                continue
            if not batches.next_lost(key, row):
                continue
            if value is None:
                if torn:
                    beside.write_below(key, row)
                continue
            rs_batch, _ = batches.next(len(value))
        elif key in taken_away or (torn and (state.bulk_load_incomplete or state.dropped)):
            # What a bulk load brought comes again. Another value is of a write that was not synced, and whose entry is
            # lost: as a new write it could outlive a delete that had seen it, and that nobody remembers any more. If a
            # peer has it, it comes again.
            batches.next()[1].delete(key)
            continue
        else:
            assert value is not None
            rs_batch, _ = batches.next(len(value))
        assert value is not None
        stamp += 1
        record, flags, checksum = encode_entry(stamp, key, value)
        rs_batch.put(log_key(state.origin, stamp), record)
        rs_batch.put(INDEX + key, encode_index(stamp, state.origin, flags, checksum))
        rs_batch.put(vector_key(state.origin), encode_vector_entry(stamp, before))
    batches.flush()
    newest = max(stamp, beside.newest)
    if newest > before:
        state.rs.put(vector_key(state.origin), encode_vector_entry(newest, before))
        state.vector[state.origin] = state.newest[state.origin] = newest
    return repairs


class _Beside:
    """Writes of our new origin right above or below rows that were replaced. `newest`: their greatest stamp."""

    def __init__(self, state: ReplicationState, batches: _Batches) -> None:
        self.newest = 0
        self._state = state
        self._batches = batches
        self._taken: set[int] | None = None

    def write_above(self, key: bytes, packed: bytes, value: bytes) -> None:
        """A value whose entry is lost takes the place of the write that it replaced, and had seen: under a new dot, and
        with its `written`. So whatever had seen the value, and thus what it replaced, wins over it. As a write of its
        own it would outlive a delete that had seen it. Where another node still has the write that it replaced, the
        order of their checksums decides, the same everywhere: the value was not synced."""
        row = decode_index(packed)
        self._write(key, value, self._free(row.stamp, 1), row.context, encode_dot(*row.written_dot))

    def write_below(self, key: bytes, row: bytes) -> None:
        """A tombstone."""
        at, _ = decode_index(row).written_dot
        stamp = self._free(at, -1)
        if stamp:
            self._write(key, None, stamp, b"")

    def _free(self, stamp: int, step: int) -> int:
        """The nearest stamp that no other entry of the new origin has, or will have."""
        if self._taken is None:
            self._taken = self._stamps_in_use()
        stamp += step
        while stamp in self._taken:
            stamp += step
        self._taken.add(stamp)
        return stamp

    def _write(self, key: bytes, value: bytes | None, stamp: int, own: bytes, written: bytes = b"") -> None:
        state = self._state
        self.newest = max(self.newest, stamp)
        record, flags, checksum = encode_entry(stamp, key, value, own, written)
        rs_batch, _ = self._batches.next(len(record))
        rs_batch.put(log_key(state.origin, stamp), record)
        rs_batch.put(INDEX + key, encode_index(stamp, state.origin, flags, checksum, own, written=written))

    def _stamps_in_use(self) -> set[int]:
        """Of the new origin, and of the old one, whose entries it may take over with their stamps."""
        state = self._state
        assert state.meta is not None
        old = 0 if state.meta.changing_from is None else state.meta.changing_from[0]
        dots = (INDEX_HEAD.unpack_from(row)[:2] for _, row in state.rs.scan(INDEX, following(INDEX)))
        return {stamp for stamp, origin in dots if origin in (old, state.origin)}
