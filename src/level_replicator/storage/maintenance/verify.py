"""The audit of one node: compare the database with the index, and the log with both.

The audit reads snapshots while writes continue. Each finding is checked again, under the lock, before it is repaired.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry
from level_replicator.core.errors import LimitError, RemoteProtocolError, StorageError
from level_replicator.core.limits import MAX_LOST_KEYS
from level_replicator.leveldb import CORRUPTION_ERRORS, LEVELDB_ERRORS, error_text, plyvel
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.recovery.new_origin import begin_origin_change, finish_origin_change
from level_replicator.storage.recovery.repair_db import repair_database
from level_replicator.storage.recovery.repair_log import repair_log
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.load import count, load
from level_replicator.storage.state.log_reader import logged_entry, read_entry, restore_entry
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot, log_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.local_writer import LocalWriter, check_size
from level_replicator.storage.write.lost import forget_found, has_room, is_lost, load_lost, record_lost, restore_row

MAX_EXAMPLES = 100
PROGRESS_KEYS = 10_000
"""Number of keys between two calls of `progress`."""
_log = logging.getLogger("level_replicator.storage")


@dataclass
class Report:
    """Result of an audit, in numbers of keys.

    keys        live keys that were compared
    tombstones  deleted keys that were compared
    missing     the index has a value, the database has none
    changed     the database has another value than the index
    unknown     the database has a key that the index lacks, or has as deleted: it was not written through the replica
    unlogged    the log lacks the entry of an index row
    damaged     an entry of the log cannot be read
    orphaned    an entry of the log belongs to no index row
    repaired    findings that this audit repaired
    lost        findings that could not be repaired. Peers are asked for the values; a changed value stays until then
    given_up    findings that an earlier audit recorded as lost and no peer has restored. The keys are forgotten; a
                changed value stays
    new_origin  True if the node has a new origin, because keys were given up
    examples    the first MAX_EXAMPLES findings as (kind, key); for an orphaned entry the key in the log
    """

    keys: int = 0
    tombstones: int = 0
    missing: int = 0
    changed: int = 0
    unknown: int = 0
    unlogged: int = 0
    damaged: int = 0
    orphaned: int = 0
    repaired: int = 0
    lost: int = 0
    given_up: int = 0
    new_origin: bool = False
    examples: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Number of all keys that were compared, deleted ones included."""
        return self.keys + self.tombstones

    @property
    def renewed(self) -> bool:
        """Deprecated alias of `new_origin`."""
        return self.new_origin

    @property
    def found(self) -> int:
        """Number of all findings."""
        return self.missing + self.changed + self.unknown + self.unlogged + self.damaged + self.orphaned

    @property
    def left(self) -> int:
        """Number of findings that remain: without `repair` all, with it those of keys and values above the limits."""
        return self.found - self.repaired - self.lost - self.given_up

    @property
    def sound(self) -> bool:
        """True if nothing was found."""
        return self.found == 0

    def note(self, kind: str, key: bytes) -> None:
        """Count a finding. `kind` is the name of its counter."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((kind, key))


def verify(
    state: ReplicationState,
    *,
    repair: bool,
    random_bytes: Callable[[int], bytes],
    progress: Callable[[int], None] = lambda keys: None,
    alone: Callable[[Callable[[], None]], None] = lambda work: work(),
) -> Report:
    """Compare database, index and log.

    With `repair`, each finding is repaired from the log or the database. A key whose value is in neither is recorded as
    lost, so that peers send it again (see storage.write.lost). If an earlier audit has recorded it, it is given up.

    `progress` is called with the number of keys compared so far. `alone` closes all connections and then calls its
    argument: frames that were received before could depend on entries that are given up.

    Raises StorageError; if a LevelDB itself is damaged, the text names the remedy."""
    report = Report()
    try:
        with state.lock:
            state.check()
            forget_found(state)
            rs, db = state.rs.snapshot(), state.db.snapshot()
        with rs, db:
            repairer = _Repairer(state, report)
            for kind, key in _findings(state, rs, db, report, progress):
                report.note(kind, key)
                if repair:
                    repairer.repair(kind, key)
        progress(report.compared)
        again = state.lost.intersection(repairer.lost)
        if again or not has_room(state, len(repairer.lost)):
            alone(lambda: _give_up_lost_keys(state, random_bytes))
            report.new_origin = True
            report.given_up = repairer.lost_findings
        elif repairer.lost:
            alone(lambda: _record_lost_keys(state, repairer.lost))
            report.lost = repairer.lost_findings
        if repairer.logged or report.lost:
            _count_entries_again(state)
    except _DAMAGE as error:
        raise _failed(state, error) from error
    return report


_DAMAGE: tuple[type[plyvel.Error | StorageError | struct.error], ...] = (*LEVELDB_ERRORS, StorageError, struct.error)
"""ENGINE_ERRORS without OSError, which only `progress` raises, if the reader of its output is gone."""


def _failed(state: ReplicationState, error: plyvel.Error | StorageError | struct.error) -> StorageError:
    if state.failed is not None:
        return state.failed
    failed = state.fail("verifying", error)
    if isinstance(error, CORRUPTION_ERRORS):
        failed = state.failed = StorageError(
            f"blocks of {state.db.name} or of {state.rs.name} are damaged on the disk ({error_text(error)}), so no more"
            " writes are taken: restore the replica from a backup, or begin with an empty directory and let replication"
            " fill it"
        )
        failed.__cause__ = error
    return failed


def _findings(
    state: ReplicationState, rs: Reader, db: Reader, report: Report, progress: Callable[[int], None]
) -> Iterator[tuple[str, bytes]]:
    damaged: set[bytes] = set()
    for key, row, value in side_by_side(rs, db):
        if value is None and row is not None and INDEX_HEAD.unpack_from(row)[2] & DELETE:
            report.tombstones += 1
        else:
            report.keys += 1
        if report.compared % PROGRESS_KEYS == 0:
            progress(report.compared)
        if row is None or (INDEX_HEAD.unpack_from(row)[2] & DELETE and value is not None):
            yield "unknown", key
        elif not agrees(row, value):
            yield ("missing" if value is None else "changed"), key
        if row is None:
            continue
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
        if stamp > state.floor.get(origin, 0) and logged_entry(rs, key, row) is None:
            log_at = log_key(origin, stamp)
            if rs.get(log_at) is None:
                yield "unlogged", key
            else:
                damaged.add(log_at)
                yield "damaged", key
    for log_at, record in rs.scan(LOG, following(LOG)):
        if log_at not in damaged and not _belongs_to_a_row(rs, log_at, record):
            yield "orphaned", log_at


def _belongs_to_a_row(rs: Reader, log_at: bytes, record: bytes) -> bool:
    try:
        row = rs.get(INDEX + decode_entry(record).key)
    except RemoteProtocolError:
        return False
    return row is not None and INDEX_HEAD.unpack_from(row)[:2] == log_dot(log_at)


def _key_of(record: bytes) -> bytes | None:
    """Return the key of an entry, None if it is damaged."""
    try:
        return decode_entry(record).key
    except RemoteProtocolError:
        return None


class _Repairer:
    """Repairs findings one after another.

    lost           keys that cannot be repaired, since this node does not have their values
    lost_findings  number of findings about these keys
    logged         True if the log was repaired
    """

    def __init__(self, state: ReplicationState, report: Report) -> None:
        self.lost: set[bytes] = set()
        self.lost_findings = 0
        self.logged = False
        self._state = state
        self._report = report

    def repair(self, kind: str, key: bytes) -> None:
        """Repair a finding if it still exists: the key may have been written since it was found."""
        state = self._state
        with state.lock:
            state.check()
            if kind == "orphaned":
                self._drop_orphan(key)
                return
            row, value = state.rs.get(INDEX + key), state.db.get(key)
            if row is None or (INDEX_HEAD.unpack_from(row)[2] & DELETE and value is not None):
                if value is not None:
                    self._adopt(key, value)
                else:
                    self._report.repaired += 1
            else:
                self._repair_row(key, row, value)

    def _repair_row(self, key: bytes, row: bytes, value: bytes | None) -> None:
        state = self._state
        stamp, origin, flags, _ = INDEX_HEAD.unpack_from(row)
        there = state.rs.get(log_key(origin, stamp))
        if (
            there is not None
            and _key_of(there) not in (key, None)
            and _belongs_to_a_row(state.rs, log_key(origin, stamp), there)
        ):
            self._write_anew(key, None if flags & DELETE else value, deleted=bool(flags & DELETE))
            with Transaction(state) as tx:
                tx.put_log(origin, stamp, there)  # the write has deleted it as the entry of the old row
            state.tail.begin(state.newest[state.origin])
            return
        record = restore_entry(state.rs, state.db, key, row)
        if record is None:
            self._repair_damaged_row(key, row)
            return
        with Transaction(state) as tx:
            if not agrees(row, value):
                whole = read_entry(record).value
                assert whole is not None
                tx.put_value(key, whole)
            if stamp > state.floor.get(origin, 0) and logged_entry(state.rs, key, row) is None:
                tx.put_log(origin, stamp, record)
                tx.entries += there is None
                self.logged = True
        self._report.repaired += 1

    def _repair_damaged_row(self, key: bytes, row: bytes) -> None:
        """Repair a row from the log if possible, else note the key as lost."""
        with Transaction(self._state) as tx:
            entry = restore_row(self._state, tx, key, row)
            if entry is not None:
                tx.keys = (entry.value is not None) - (not INDEX_HEAD.unpack_from(row)[2] & DELETE)
        if entry is None:
            self._note_lost(key)
        else:
            self._report.repaired += 1

    def _note_lost(self, key: bytes) -> None:
        self.lost_findings += 1
        if len(self.lost) <= MAX_LOST_KEYS:  # one more than can be recorded, so that all are given up
            self.lost.add(key)

    def _write_anew(self, key: bytes, value: bytes | None, *, deleted: bool) -> None:
        """Write a key again, under a new dot, since the dot in its row belongs to a write of another key."""
        if value is None and not deleted:
            self._note_lost(key)
            return
        LocalWriter.write_locked(self._state, [(key, value)], False)
        self.logged = True
        self._report.repaired += 1

    def _adopt(self, key: bytes, value: bytes) -> None:
        """Write a value that the database has without the replica's knowledge as a local write."""
        try:
            check_size(key, value)
        except LimitError as error:
            # the report names the key; the log must not contain data
            _log.error("a key that was not written through the replica stays as it is: %s", error)
            return
        LocalWriter.write_locked(self._state, [(key, value)], False)
        self._report.repaired += 1

    def _drop_orphan(self, log_at: bytes) -> None:
        state = self._state
        record = state.rs.get(log_at)
        if record is not None and not _belongs_to_a_row(state.rs, log_at, record):
            stamp, origin = log_dot(log_at)
            with Transaction(state) as tx:
                tx.delete_log(origin, stamp)
                tx.entries = -1
            state.tail.begin(state.newest.get(state.origin, 0))
            self.logged = True
        self._report.repaired += 1


def _count_entries_again(state: ReplicationState) -> None:
    """Count the log entries again, since the count may or may not have included the repaired ones.

    The scan is slow, so it runs without the lock."""
    with state.lock:
        rs, counted = state.rs.snapshot(), state.entries
    with rs:
        entries = sum(1 for _ in rs.scan_keys(LOG, following(LOG)))
    with state.lock, Transaction(state) as tx:
        tx.entries = entries - counted


def _record_lost_keys(state: ReplicationState, keys: set[bytes]) -> None:
    """Record keys whose values this node does not have as lost (storage.write.lost)."""
    with state.lock:
        state.check()
        lost = [key for key in keys if is_lost(state, key)]  # the others have been written since
        with Transaction(state, sync=True) as tx:
            for key in lost:
                row = state.rs.get(INDEX + key)
                assert row is not None
                record_lost(tx, key, row)
        _log.error("%d values are lost on this node; it requests them from its peers", len(lost))
        state.tail.begin(state.newest.get(state.origin, 0))


def _give_up_lost_keys(state: ReplicationState, random_bytes: Callable[[int], bytes]) -> None:
    """Forget keys whose values this node does not have, and change the origin, as after a power loss."""
    with state.lock:
        state.check()
        try:
            begin_origin_change(state, random_bytes, state.vector.get(state.origin, 0), repairing=True)
            repair_log(state, forget=True)
            repair_database(state, torn=False, forget=True)
            with Transaction(state, sync=True) as tx:
                tx.change_meta(repairing=False)
            finish_origin_change(state)
            load(state)
            load_lost(state)
            count(state)
            state.key_filter.begin(empty=False)
        except BaseException as error:  # an interrupt, too: the next open completes it
            state.fail("giving up lost values", error)
            raise
