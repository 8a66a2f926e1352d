"""The audit of one node: does the database hold what the index says, and the log what it should?

It looks at snapshots while writes go on; what it finds is looked at again, under the lock, before it is repaired.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from level_replicator.core.entry import DELETE, INDEX_HEAD, Entry, decode_entry
from level_replicator.core.errors import LimitError, RemoteProtocolError, StorageError
from level_replicator.core.limits import MAX_LOST_KEYS
from level_replicator.leveldb import CORRUPTION_ERRORS, LEVELDB_ERRORS, plyvel
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.recovery.new_origin import begin_origin_change, finish_origin_change
from level_replicator.storage.recovery.repair import repair_database, repair_log
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.load import count, load
from level_replicator.storage.state.log_reader import logged_entry, read_entry, restore_entry, row_from_log
from level_replicator.storage.state.meta import store_meta
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot, log_key
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.write.local_writer import LocalWriter, check_size
from level_replicator.storage.write.lost import forget_found, has_room, is_lost, load_lost, note_lost, put_lost

MAX_EXAMPLES = 100
PROGRESS_KEYS = 10_000
"""Progress is told once for so many keys."""
_log = logging.getLogger("level_replicator.storage")


@dataclass
class Report:
    """What an audit found, in numbers of keys.

    keys      looked at
    missing   the index says that there is a value, the database has none
    changed   the database has another value than the index says
    unknown   the database has a key that the index does not know, or knows as deleted: written around the replica
    unlogged  the log should have an entry, and has not
    damaged   an entry of the log cannot be read
    orphaned  an entry of the log belongs to no index row
    repaired  how many of these were repaired
    lost      how many could not be, and wait to come back from a peer; a value that was changed stays until then
    given_up  how many were lost in an audit before already, and no peer has brought: they are forgotten, and a value
              that was changed stays; renewed: for that the node goes on as a new origin
    examples  up to MAX_EXAMPLES of (kind, key); of what is orphaned the key in the log
    """

    keys: int = 0
    missing: int = 0
    changed: int = 0
    unknown: int = 0
    unlogged: int = 0
    damaged: int = 0
    orphaned: int = 0
    repaired: int = 0
    lost: int = 0
    given_up: int = 0
    renewed: bool = False
    examples: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def found(self) -> int:
        """All that is not as it should be."""
        return self.missing + self.changed + self.unknown + self.unlogged + self.damaged + self.orphaned

    @property
    def left(self) -> int:
        """What is still not as it should be: all of it without `repair`; with it, keys and values above the limits."""
        return self.found - self.repaired - self.lost - self.given_up

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return self.found == 0

    def note(self, kind: str, key: bytes) -> None:
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
    """Compares database, index and log; with `repair` mends what is found: from the log, from the database, else it
    the key is
    written down as lost, so that peers send it again (see storage.write.lost), or, if it was lost before already, given
    up. `progress`: told the keys looked at. `alone` calls what it is given, and ends all connections before anything
    that came over one of them is applied: it counts on what is given up.

    Raises StorageError; when it is a LevelDB itself that is damaged, it tells what to do."""
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
        progress(report.keys)
        again = state.lost.intersection(repairer.lost)
        if again or not has_room(state, len(repairer.lost)):
            alone(lambda: _give_up_what_is_lost(state, random_bytes))
            report.renewed = True
            report.given_up = repairer.lost_findings
        elif repairer.lost:
            alone(lambda: _write_down_what_is_lost(state, repairer.lost))
            report.lost = repairer.lost_findings
        if repairer.logged or report.lost:
            _count_entries_again(state)
    except _DAMAGE as error:
        raise _failed(state, error) from error
    return report


_DAMAGE: tuple[type[plyvel.Error | StorageError | struct.error], ...] = (*LEVELDB_ERRORS, StorageError, struct.error)
"""ENGINE_ERRORS without OSError: that comes from `progress`, when the reader of its output is gone."""


def _failed(state: ReplicationState, error: plyvel.Error | StorageError | struct.error) -> StorageError:
    if state.failed is not None:
        return state.failed
    failed = state.fail("verifying", error)
    if isinstance(error, CORRUPTION_ERRORS):
        failed = state.failed = StorageError(
            f"blocks of {state.db.name} or of {state.rs.name} are damaged on the disk ({error}), so no more writes are"
            " taken: restore the replica from a backup, or begin with an empty directory and let replication fill it"
        )
        failed.__cause__ = error
    return failed


def _findings(
    state: ReplicationState, rs: Reader, db: Reader, report: Report, progress: Callable[[int], None]
) -> Iterator[tuple[str, bytes]]:
    damaged: set[bytes] = set()
    for key, row, value in side_by_side(rs, db):
        report.keys += 1
        if report.keys % PROGRESS_KEYS == 0:
            progress(report.keys)
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
    """Of an entry; None for what is none."""
    try:
        return decode_entry(record).key
    except RemoteProtocolError:
        return None


class _Repairer:
    """Repairs one finding after the other. `lost`: the keys that could not be, since the value is nowhere any more,
    and `lost_findings` how often they were found; `logged`: whether the log was repaired."""

    def __init__(self, state: ReplicationState, report: Report) -> None:
        self.lost: set[bytes] = set()
        self.lost_findings = 0
        self.logged = False
        self._state = state
        self._report = report

    def repair(self, kind: str, key: bytes) -> None:
        """As things are now: since it was found somebody may have written the key."""
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
            state.rs.put(log_key(origin, stamp), there)  # which went with what was overwritten
            state.tail.begin(state.newest[state.origin])
            return
        record = restore_entry(state.rs, state.db, key, row)
        if record is None:
            made = row_from_log(state.rs, key, row)
            if made is None:
                self._note_lost(key)
            else:
                self._replace_row(key, row, *made)
            return
        if not agrees(row, value):
            whole = read_entry(record).value
            assert whole is not None
            state.db.put(key, whole)
        if stamp > state.floor.get(origin, 0) and logged_entry(state.rs, key, row) is None:
            state.entries += state.rs.get(log_key(origin, stamp)) is None
            state.rs.put(log_key(origin, stamp), record)
            self.logged = True
        self._report.repaired += 1

    def _replace_row(self, key: bytes, old: bytes, new: bytes, entry: Entry) -> None:
        """The row is damaged, and the log has the entry."""
        state = self._state
        state.rs.put(INDEX + key, new)
        if entry.value is None:
            state.db.delete(key)
        else:
            state.db.put(key, entry.value)
        state.keys += (entry.value is not None) - (not INDEX_HEAD.unpack_from(old)[2] & DELETE)
        self._report.repaired += 1

    def _note_lost(self, key: bytes) -> None:
        self.lost_findings += 1
        if len(self.lost) <= MAX_LOST_KEYS:  # one more than may be written down, so that all are given up
            self.lost.add(key)

    def _write_anew(self, key: bytes, value: bytes | None, *, deleted: bool) -> None:
        """Its row names the dot of another key's write: it needs one of its own."""
        if value is None and not deleted:
            self._note_lost(key)
            return
        LocalWriter.write_locked(self._state, [(key, value)], False)
        self.logged = True
        self._report.repaired += 1

    def _adopt(self, key: bytes, value: bytes) -> None:
        try:
            check_size(key, value)
        except LimitError as error:
            # which key that is stands in the report, not in a log
            _log.error("a key that was written around the replica stays as it is: %s", error)
            return
        LocalWriter.write_locked(self._state, [(key, value)], False)
        self._report.repaired += 1

    def _drop_orphan(self, log_at: bytes) -> None:
        state = self._state
        record = state.rs.get(log_at)
        if record is not None and not _belongs_to_a_row(state.rs, log_at, record):
            state.rs.delete(log_at)
            state.tail.begin(state.newest.get(state.origin, 0))
            state.entries -= 1
            self.logged = True
        self._report.repaired += 1


def _count_entries_again(state: ReplicationState) -> None:
    """Nobody knows whether what was repaired had been counted. Without the lock, for it takes a while."""
    with state.lock:
        rs, counted = state.rs.snapshot(), state.entries
    with rs:
        entries = sum(1 for _ in rs.scan_keys(LOG, following(LOG)))
    with state.lock:
        state.entries += entries - counted


def _write_down_what_is_lost(state: ReplicationState, keys: set[bytes]) -> None:
    """The values of these keys are nowhere on this node: see storage.write.lost."""
    with state.lock:
        state.check()
        lost = [key for key in keys if is_lost(state, key)]  # somebody may have written it since
        batch = state.rs.batch(sync=True)
        for key in lost:
            row = state.rs.get(INDEX + key)
            assert row is not None
            stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
            batch.delete(log_key(origin, stamp))
            put_lost(batch, key)
        batch.write()
        for key in lost:
            note_lost(state, key)
        _log.error("%d values are lost on this node: they come back from peers that have them", len(lost))
        state.tail.begin(state.newest.get(state.origin, 0))


def _give_up_what_is_lost(state: ReplicationState, random_bytes: Callable[[int], bytes]) -> None:
    """As after a power loss: what is nowhere is forgotten, vector included, under a new origin."""
    with state.lock:
        state.check()
        meta = state.meta
        assert meta is not None
        try:
            begin_origin_change(state, random_bytes, state.vector.get(state.origin, 0), repairing=True)
            repair_log(state, forget=True)
            repair_database(state, torn=False, forget=True)
            meta.repairing = False
            store_meta(state.rs, meta)
            finish_origin_change(state)
            load(state)
            load_lost(state)
            count(state)
            state.key_filter.begin(empty=False)
        except BaseException as error:  # an interrupt, too: the next open goes on with it
            state.fail("giving up what is lost", error)
            raise
