"""Transactions on the replication set: records in `rs`, values in `db`, and the fields of ReplicationState.

The model is LevelDB's VersionEdit with LogAndApply. A method of Transaction names one edit, and holds both halves of
it: the record that it writes, and the field that changes with it. A commit writes `rs`, then `db`, and only then the
fields. So memory never claims anything that is not written, and a kill leaves `db` behind `rs`, which recovery.replay
repairs, and never ahead of it.

- The caller holds the lock of the state from the first edit to the end of the commit (or is alone, as recovery is).
- If the block raises, nothing is written and no field changes.
- If a write fails, no field changes. The caller's boundary catches the error and calls `ReplicationState.fail`, since
  the contents of the disk are unknown then.
- If Ctrl-C or a signal handler that raises interrupts a commit, the commit is completed before the exception is raised.

Two hot paths put their records into the batches themselves: LocalWriter's put of one key, which does not use a
transaction at all, and the loop of Merger. A property test compares both with the methods here.
"""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec

from level_replicator.core.entry import Dot
from level_replicator.core.epochs import History, encode_pairs, with_epoch
from level_replicator.core.intervals import Intervals
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Batch, Bytes
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.state.conflict_queue import Conflict, QueueChange
from level_replicator.storage.state.meta import Meta, encode_meta
from level_replicator.storage.state.schema import (
    APPLIED,
    BULK_LOADING,
    DROPPED,
    INDEX,
    LOST,
    META,
    RESUME,
    TOUCHED,
    branch_key,
    encode_applied,
    encode_intervals,
    encode_stamp,
    encode_vector_entry,
    floor_key,
    following,
    history_key,
    horizon_key,
    log_key,
    resume_key,
    vector_key,
    written_key,
)
from level_replicator.storage.state.state import ReplicationState


class Transaction:
    """Collect edits of the replication set, and commit them together. For one use, as a context manager or with
    `commit`.

    name     prefix of the crash points of the commit, for tests: "NAME: before rs", then "NAME: after rs", or, if the
             commit writes to the database too, "NAME: between rs and db" and "NAME: after db". With "" they have no
             prefix; with None there are none
    sync     True if the commit returns only when the batches, and everything written before them, are on the disk
    keys     change of the number of live keys
    entries  change of the number of log entries
    """

    __slots__ = (
        "_db",
        "_epoch_begins",
        "_name",
        "_newest",
        "_overwritten",
        "_own",
        "_rare",
        "_rs",
        "_state",
        "_sync",
        "_vector",
        "entries",
        "keys",
    )

    def __init__(self, state: ReplicationState, *, name: str | None = None, sync: bool = False) -> None:
        self._state = state
        self._name = name
        self._sync = sync
        self._rs: Batch | None = None
        self._db: Batch | None = None
        self.keys = self.entries = 0
        # the edits of nearly every commit are here, the rare ones in an object that most commits do not need
        self._vector: Vector = {}
        self._newest: Vector | None = None
        self._own: dict[int, bytes] | None = None
        self._overwritten: list[int] | None = None
        self._epoch_begins = False
        self._rare: _RareEdits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    @property
    def rs(self) -> Batch:
        """The batch of the replication set. Used directly by the hot loops, and to delete records of any kind."""
        if self._rs is None:
            self._rs = self._state.rs.batch(sync=self._sync)
        return self._rs

    @property
    def db(self) -> Batch:
        """The batch of the database. It is written only if this property was used."""
        if self._db is None:
            self._db = self._state.db.batch(sync=self._sync)
        return self._db

    # -- log, index and database

    def put_log(self, origin: int, stamp: int, record: bytes) -> None:
        """Put an entry into the log. The caller counts it in `entries` if it is new there."""
        self.rs.put(log_key(origin, stamp), record)

    def delete_log(self, origin: int, stamp: int) -> None:
        """Delete an entry from the log. The caller counts it in `entries` if it was there."""
        self.rs.delete(log_key(origin, stamp))

    def overwrite(self, origin: int, stamp: int) -> None:
        """Delete the entry with this dot, which another entry of its key replaces, from the log and from the tail.

        The log need not hold it."""
        state = self._state
        if (not state.floor and not state.lost) or state.logged(origin, stamp):
            self.rs.delete(log_key(origin, stamp))
            self.entries -= 1
        if origin == state.origin:
            if self._overwritten is None:
                self._overwritten = []
            self._overwritten.append(stamp)

    def put_row(self, key: bytes, row: bytes) -> None:
        """Put the index row of a key (core.entry.encode_index)."""
        self.rs.put(INDEX + key, row)

    def delete_row(self, key: bytes) -> None:
        self.rs.delete(INDEX + key)

    def put_value(self, key: bytes, value: Bytes | None) -> None:
        """Put the value of a key into the database; None deletes the key there."""
        if value is None:
            self.db.delete(key)
        else:
            self.db.put(key, value)

    def add_own(self, records: dict[int, bytes]) -> None:
        """Add own entries, which the block has put into log and index, to the vector and to the tail.

        `records` maps stamps, in ascending order, to the bytes in the log."""
        state = self._state
        origin, last = state.origin, next(reversed(records))
        self.rs.put(vector_key(origin), encode_vector_entry(last, state.vector.get(origin, 0)))
        self._vector[origin] = last
        if state.next_epoch:
            self.begin_epoch()
        self._own = records

    def drop_from_tail(self, stamps: list[int]) -> None:
        """Delete own entries with these stamps from the tail, since the block has overwritten them."""
        self._overwritten = stamps if self._overwritten is None else self._overwritten + stamps

    # -- vector

    def set_vector(self, origin: int, stamp: int, *, replay_above: int | None = None) -> None:
        """Set the entry of an origin in the vector; 0 deletes it.

        After a kill the log above `replay_above` is applied to the database again, since its entries may be of the same
        batch. Default: the present entry of the vector."""
        if not stamp:
            self.rs.delete(vector_key(origin))
        else:
            before = self._state.vector.get(origin, 0) if replay_above is None else replay_above
            self.rs.put(vector_key(origin), encode_vector_entry(stamp, before))
        self._vector[origin] = stamp

    def lower_vector(self, origin: int, stamp: int) -> None:
        """Lower the entry of an origin in the vector to `stamp`. The vector no longer covers the entries above it."""
        self.set_vector(origin, stamp, replay_above=stamp)
        self._rare_edits().lowered = True

    def interrupt_retention(self) -> None:
        """End a truncation that is under way, since the vector that it began with is not valid any more."""
        self._rare_edits().lowered = True

    def raise_newest(self, origin: int, stamp: int) -> None:
        """Record that the log holds an entry of this stamp, which may be above the vector."""
        if stamp > self._state.newest.get(origin, 0):
            if self._newest is None:
                self._newest = {}
            if stamp > self._newest.get(origin, 0):
                self._newest[origin] = stamp

    # -- floor and horizon

    def set_floor(self, origin: int, stamp: int) -> None:
        """Set the floor of an origin; 0 deletes it."""
        if stamp:
            self.rs.put(floor_key(origin), encode_stamp(stamp))
        else:
            self.rs.delete(floor_key(origin))
        self._rare_edits().floor[origin] = stamp

    def raise_floor(self, origin: int, stamp: int) -> None:
        """Raise the floor of an origin to `stamp`. Does nothing if it is not below `stamp`."""
        if stamp > self._state.floor.get(origin, 0):
            self.set_floor(origin, stamp)

    def set_late(self) -> None:
        """Record that the log may hold entries at or below the floor (ReplicationState.late)."""
        self._rare_edits().late = True

    def set_horizon(self, origin: int, stamp: int) -> None:
        """Set the horizon of an origin; 0 deletes it.

        No stamp of the horizon may be above the vector. If no node's vector covered it, all nodes would be stale for
        this node for ever."""
        if stamp:
            self.rs.put(horizon_key(origin), encode_stamp(stamp))
        else:
            self.rs.delete(horizon_key(origin))
        self._rare_edits().horizon[origin] = stamp

    def raise_horizon(self, horizon: Vector, dropped: int) -> bool:
        """Record that tombstones were dropped. Return True if the horizon changes.

        `horizon` maps each origin to the newest stamp of its dropped tombstones. `dropped` is the newest stamp of all
        dropped tombstones, on this node and on others."""
        raised = {origin: stamp for origin, stamp in horizon.items() if stamp > self._state.horizon.get(origin, 0)}
        for origin, stamp in raised.items():
            self.set_horizon(origin, stamp)
        if dropped > self._state.dropped:
            self.rs.put(DROPPED, encode_stamp(dropped))
            self._rare_edits().dropped = dropped
        return bool(raised)

    def lower_horizon(self, origin: int, stamp: int) -> None:
        """Lower the horizon of an origin to `stamp`, since the vector is lowered to it."""
        if self._state.horizon.get(origin, 0) > stamp:
            self.set_horizon(origin, stamp)

    # -- scans of peers, and reconciliations

    def set_applied(self, origin: int, low: int, high: int) -> None:
        """Record the frame that this batch applies. After a kill its entries are applied to the database again."""
        self.rs.put(APPLIED, encode_applied(origin, low, high))

    def clear_applied(self) -> None:
        self.rs.delete(APPLIED)

    def set_touched(self, keys: list[bytes]) -> None:
        """Record keys that are compared with the index after a kill, since the log may not contain them."""
        self.rs.put(TOUCHED, msgspec.msgpack.encode(keys))

    def clear_touched(self) -> None:
        self.rs.delete(TOUCHED)

    def set_resume(self, source: int, origin: int, applied: Intervals) -> None:
        """Record the part of the log of `origin` that an unfinished scan of the peer `source` has applied here."""
        self.rs.put(resume_key(source, origin), encode_intervals(applied))
        self._rare_edits().resume[source, origin] = applied

    def end_scan(self, source: int) -> None:
        """Record that the scan of `source` is complete. Must not be combined with `set_resume`."""
        scans = self._state.resume.get(source)
        if scans is not None:
            for origin in scans:
                self.rs.delete(resume_key(source, origin))
            self._rare_edits().scans_ended.append(source)

    def forget_scans(self) -> None:
        """Forget all unfinished scans, so that they begin anew. Must not be combined with `set_resume`."""
        for key in self._state.rs.scan_keys(RESUME, following(RESUME)):
            self.rs.delete(key)
        self._rare_edits().scans_ended.append(None)

    def begin_bulk_load(self) -> None:
        """Record that the index may hold more than the vector covers, until `end_bulk_load`."""
        self.rs.put(BULK_LOADING, b"")
        self._rare_edits().bulk_load = True

    def end_bulk_load(self) -> None:
        self.rs.delete(BULK_LOADING)
        self._rare_edits().bulk_load = False

    def count_restamped(self, puts: int, tombstones: int) -> None:
        """Count re-stamped puts and tombstones, for `status()`."""
        self._rare_edits().restamped = (puts, tombstones)

    def record_conflicts(self, conflicts: list[Conflict]) -> None:
        """Add conflicts to the queue for `on_conflict` (storage.state.conflict_queue). Call this at most once."""
        if conflicts:
            edit = self._rare_edits()
            edit.conflicts = self._state.unreported.record(self.rs, conflicts)
            edit.notifies = True

    # -- values that are lost here (storage.write.lost)

    def add_lost(self, key: bytes, dot: Dot) -> None:
        """Record that the value of a key is lost. `dot` is that of its index row."""
        self.rs.put(LOST + key, b"")
        self._rare_edits().lost[key] = dot

    def remove_lost(self, key: bytes) -> None:
        """Record that the value of a key is present again, or was replaced."""
        self.rs.delete(LOST + key)
        self._rare_edits().lost[key] = None

    def load_lost(self, lost: dict[bytes, Dot]) -> None:
        """Replace the lost keys, with the dots of their rows, in memory. The records on disk name the same keys."""
        edit = self._rare_edits()
        edit.lost_reset = True
        edit.lost.update(lost)

    # -- histories of origins (core.epochs)

    def begin_epoch(self) -> None:
        """Begin the epoch of this run if no write has begun it yet. Call this in the batch of a write."""
        if self._state.next_epoch:
            put_epoch(self._state, self.rs)
            self._epoch_begins = True

    def set_history(self, origin: int, history: History) -> None:
        """Set the epochs of an origin; none deletes its history."""
        if history:
            self.rs.put(history_key(origin), encode_pairs(history))
        else:
            self.rs.delete(history_key(origin))
        self._rare_edits().histories[origin] = history

    def add_branch(self, epoch: int, start: int) -> None:
        """Record that the writes of this epoch above `start` belong to an origin of their own."""
        self.rs.put(branch_key(epoch), encode_stamp(start))
        self._rare_edits().branches[epoch] = start

    def set_written(self, origin: int, stamp: int) -> None:
        """Set the newest stamp of a write of `origin` that is stored under another dot; 0 deletes the record."""
        if stamp:
            self.rs.put(written_key(origin), encode_stamp(stamp))
        else:
            self.rs.delete(written_key(origin))
        self._rare_edits().written[origin] = stamp

    def note_written(self, written: Dot) -> None:
        """Record that this write is, or was, stored under another dot, unless the vector or the record covers it.

        Such a write may be the only sign of a fork. Without the record it would be taken for a write of the other
        continuation."""
        stamp, origin = written
        state = self._state
        known = max(state.written.get(origin, 0), state.vector.get(origin, 0))
        if stamp > known and (self._rare is None or stamp > self._rare.written.get(origin, 0)):
            self.set_written(origin, stamp)

    # -- meta

    def change_meta(self, **changes: Any) -> None:
        """Change fields of the meta record (storage.state.meta.Meta). Changing `origin` gives the node a new origin."""
        edit = self._rare_edits()
        edit.meta = msgspec.structs.replace(edit.meta or self._state.meta, **changes)
        self.rs.put(META, encode_meta(edit.meta))

    def _rare_edits(self) -> "_RareEdits":
        if self._rare is None:
            self._rare = _RareEdits()
        return self._rare

    # -- commit

    def commit(self, name: str | None = None, *, both: bool = False) -> None:
        """Write `rs`, then `db`, then change the fields.

        `name` replaces the name that was given to the constructor. With `both` the crash points are those of a commit
        that writes to the database. Raises ENGINE_ERRORS, and RuntimeError if a LevelDB is closed."""
        state, rs, db = self._state, self._rs, self._db
        keys, entries = state.keys + self.keys, state.entries + self.entries
        before = between = after = ""
        if state.on_step is not None and (rs is not None or db is not None or both):
            before, between, after = _crash_points(self._name if name is None else name, both or db is not None)
        begun = done = False
        try:
            if before:
                state.step(before)
            begun = True
            if rs is not None:
                rs.write()
            if between:
                state.step(between)
            if db is not None:
                db.write()
            if after:
                state.step(after)
            self._apply(keys, entries)
            done = True
        except ENGINE_ERRORS:
            raise
        except BaseException as error:  # Ctrl-C, or a signal handler that raises
            if begun and not done:
                self._finish(error, keys, entries)
            raise
        if self._rare is not None and self._rare.notifies:
            state.unreported.notify()

    def _finish(self, error: BaseException, keys: int, entries: int) -> None:
        """Complete an interrupted commit, so that it is in both LevelDBs. Writing a batch twice does no harm."""
        try:
            if self._rs is not None:
                self._rs.write()
            if self._db is not None:
                self._db.write()
        except BaseException:
            self._state.fail("a write that was interrupted", error)
            raise error from None
        self._apply(keys, entries)

    def _apply(self, keys: int, entries: int) -> None:
        """Change the fields. Idempotent. The vector changes last, so that each write that it covers is complete."""
        state = self._state
        state.keys, state.entries = keys, entries
        if self._rare is not None:
            self._rare.apply(state)
        if self._epoch_begins:
            epoch_begun(state)
        if self._overwritten is not None:
            for stamp in self._overwritten:
                state.tail.drop(stamp)
        if self._own is not None:
            state.tail.add(self._own, sum(map(len, self._own.values())))
            if state.restored_gap[1] == 0:
                state.restored_gap = (state.restored_gap[0], next(iter(self._own)))
        newest = state.newest
        if self._newest is not None:
            newest.update(self._newest)
        for origin, stamp in self._vector.items():
            if stamp > newest.get(origin, 0):
                newest[origin] = stamp
            if stamp:
                state.vector[origin] = stamp
            else:
                state.vector.pop(origin, None)


@dataclass(slots=True)
class _RareEdits:
    """New contents of the fields that only few commits change. A stamp of 0 removes the origin."""

    meta: Meta | None = None
    floor: Vector = field(default_factory=dict)
    horizon: Vector = field(default_factory=dict)
    dropped: int = 0
    late: bool = False
    lowered: bool = False
    written: Vector = field(default_factory=dict)
    histories: dict[int, History] = field(default_factory=dict)
    branches: dict[int, int] = field(default_factory=dict)
    scans_ended: list[int | None] = field(default_factory=list)
    """Origins of the peers whose scans are complete or forgotten; None means all."""
    resume: dict[tuple[int, int], Intervals] = field(default_factory=dict)
    """(source, origin) → applied intervals."""
    bulk_load: bool | None = None
    lost: dict[bytes, Dot | None] = field(default_factory=dict)
    """Key → dot of its row; None if the key is not lost any more."""
    lost_reset: bool = False
    restamped: tuple[int, int] = (0, 0)
    conflicts: QueueChange | None = None
    notifies: bool = False
    """True if the listener to conflicts is called after the commit."""

    def apply(self, state: ReplicationState) -> None:
        """Change the fields. Idempotent."""
        if self.meta is not None:
            state.set_meta(self.meta)
        if self.floor:
            state.floor = _changed(state.floor, self.floor)
        if self.horizon:
            state.horizon = _changed(state.horizon, self.horizon)
        state.dropped = max(state.dropped, self.dropped)
        state.late = state.late or self.late
        state.lowered += self.lowered
        if self.written:
            state.written = _changed(state.written, self.written)
        if self.histories:
            merged = {**state.histories, **self.histories}
            state.histories = {origin: history for origin, history in merged.items() if history}
        if self.branches:
            state.branches = {**state.branches, **self.branches}
        self._apply_scans(state)
        if self.bulk_load is not None:
            state.bulk_load_incomplete = self.bulk_load
        if self.lost or self.lost_reset:
            self._apply_lost(state)
        if self.conflicts is not None:
            state.unreported.apply(self.conflicts)
            self.conflicts = None
        puts, tombstones = self.restamped
        self.restamped = (0, 0)
        state.restamped_puts += puts
        state.restamped_tombstones += tombstones

    def _apply_scans(self, state: ReplicationState) -> None:
        for source in self.scans_ended:
            if source is None:
                state.resume = {}
            else:
                state.resume.pop(source, None)
        for (source, origin), applied in self.resume.items():
            state.resume.setdefault(source, {})[origin] = applied

    def _apply_lost(self, state: ReplicationState) -> None:
        lost = {key: dot for key, dot in self.lost.items() if dot is not None}
        kept = frozenset[bytes]() if self.lost_reset else state.lost.difference(self.lost)
        stamps = {} if self.lost_reset else dict(state.lost_stamps)
        for stamp, origin in lost.values():
            stamps[origin] = max(stamp, stamps.get(origin, 0))
        state.lost = kept.union(lost)
        state.lost_stamps = stamps if state.lost else {}


def _crash_points(name: str | None, both: bool) -> tuple[str, str, str]:
    """Return the names of the crash points before, between and after the writes; "" for none."""
    if name is None:
        return "", "", ""
    prefix = f"{name}: " if name else ""
    if both:
        return f"{prefix}before rs", f"{prefix}between rs and db", f"{prefix}after db"
    return f"{prefix}before rs", f"{prefix}after rs", ""


def _changed(stamps: Vector, changes: Vector) -> Vector:
    """Return a changed copy, since other threads read the old mapping without the lock."""
    return {origin: stamp for origin, stamp in {**stamps, **changes}.items() if stamp}


def put_epoch(state: ReplicationState, batch: Batch) -> None:
    """Put the epoch of this run into the batch of its first write. Does nothing if a write has begun it already."""
    if state.next_epoch:
        batch.put(history_key(state.origin), encode_pairs(_next_history(state)))


def epoch_begun(state: ReplicationState) -> None:
    """Change the fields for `put_epoch`, after its batch was written and before the vector is raised."""
    if state.next_epoch:
        state.histories = {**state.histories, state.origin: _next_history(state)}
        state.next_epoch = 0


def _next_history(state: ReplicationState) -> History:
    origin = state.origin
    return with_epoch(state.histories.get(origin, ()), state.next_epoch, state.vector.get(origin, 0))
