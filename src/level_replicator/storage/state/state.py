"""The in-memory mirror of a replication set, and the one lock around it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from level_replicator.core.epochs import Branches, Histories
from level_replicator.core.errors import StorageError
from level_replicator.core.hlc import HybridClock
from level_replicator.core.intervals import Intervals
from level_replicator.core.version_vector import Vector
from level_replicator.leveldb import error_text
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.state.conflict_queue import UnreportedConflicts
from level_replicator.storage.state.key_filter import KeyFilter
from level_replicator.storage.state.meta import NO_META, Meta
from level_replicator.storage.state.notifier import Notifier
from level_replicator.storage.state.schema import log_key
from level_replicator.storage.state.tail import Tail

_log = logging.getLogger("level_replicator.storage")


class ReplicationState:
    """The two LevelDBs of a replica, and the fields that mirror the replication set.

    `lock` guards it, and is held from the write to `rs` to the end of the write to `db` that follows. The first group
    of fields has records on the disk: only storage.state.transaction changes them, after it has written the records,
    and storage.state.load reads them. (LocalWriter's put of one key does the same without a transaction.)

    meta         the meta record
    origin       origin of this node, from the meta record
    vector       origin → stamp up to which everything of the origin is known
    floor        origin → stamp up to which the log was truncated; above the vector only during a bulk load, or after a
                 loss of data (storage.maintenance.floors)
    horizon      origin → newest stamp of a tombstone that this node has dropped
    dropped      newest stamp of all dropped tombstones
    resume       origin of a peer → origin → part of an unfinished scan of that peer that is applied here
    bulk_load_incomplete  True after a bulk load has begun, until it is complete
    histories    origin → its epochs, as far as this node knows them (core.epochs)
    branches     epoch → start (core.epochs)
    written      origin → newest stamp of a write of that origin that is, or was, stored under another dot (re-stamped)
    lost         keys whose values are lost on this node and requested from peers (storage.write.lost)
    lost_stamps  origin → a stamp not below that of any row of a lost key
    keys         number of live keys in `db`
    entries      number of entries in the log

    Floor, horizon, histories, branches and written are replaced, never changed in place, since other threads read them
    without the lock. The other fields are derived from the log, or belong to this run:

    newest       origin → newest stamp that the log has, or had, of that origin, also above the vector; never below the
                 vector
    late         True if the log may hold entries at or below the floor, which came back after a repair
    bulk_loading  True while a bulk load is under way
    bulk_loads   number of bulk loads that were begun
    lowered      number of times that the vector was lowered or origins were renamed
    tail         the newest local writes
    key_filter   filter of the keys in the index
    restored_gap  (last stamp of the previous run, first stamp of this run): if another node knows a stamp of this
                 origin in between, this directory is older than its knowledge
    next_epoch   the epoch that begins with the next local write; 0: it has begun, or the origin is new
    notifier     wakes readers when the vector has been raised
    conflicts    number of conflicts found
    unreported   conflicts that wait for `on_conflict`
    restamped_puts, restamped_tombstones  numbers of entries that this node has re-stamped
    failed       the error after which no more writes are accepted, or None
    waiting      True while a thread that has priority over local writers waits for the lock
    """

    def __init__(
        self,
        db: Engine,
        rs: Engine,
        *,
        now_ms: Callable[[], int],
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self.db = db
        self.rs = rs
        self.now_ms = now_ms
        self.on_step = on_step
        self.lock = threading.Lock()
        self.clock = HybridClock()

        self.meta: Meta = NO_META
        self.origin = 0
        self.vector: Vector = {}
        self.floor: Vector = {}
        self.horizon: Vector = {}
        self.dropped = 0
        self.resume: dict[int, dict[int, Intervals]] = {}
        self.bulk_load_incomplete = False
        self.histories: Histories = {}
        self.branches: Branches = {}
        self.written: Vector = {}
        self.lost: frozenset[bytes] = frozenset()
        self.lost_stamps: Vector = {}
        self.keys = 0
        self.entries = 0

        self.newest: Vector = {}
        self.late = False
        self.bulk_loading = False
        self.bulk_loads = 0
        self.lowered = 0
        self.tail = Tail()
        self.key_filter = KeyFilter()
        self.restored_gap = (0, 0)
        self.next_epoch = 0
        self.notifier = Notifier()
        self.conflicts = 0
        self.unreported = UnreportedConflicts(rs)
        self.restamped_puts = 0
        self.restamped_tombstones = 0
        self.failed: StorageError | None = None
        self.waiting = False

    def set_meta(self, meta: Meta) -> None:
        """Mirror this meta record, and the origin in it."""
        self.meta = meta
        self.origin = meta.origin

    def step(self, name: str) -> None:
        """Mark a crash point, at which a test may stop the process."""
        if self.on_step is not None:
            self.on_step(name)

    def logged(self, origin: int, stamp: int) -> bool:
        """Return True if the log holds the entry of an index row with this dot."""
        if stamp > self.floor.get(origin, 0):
            return not self.lost or self.rs.get(log_key(origin, stamp)) is not None
        return self.late and self.rs.get(log_key(origin, stamp)) is not None

    def flush(self) -> None:
        """Sync all earlier writes of both LevelDBs. An empty batch with `sync` does that."""
        self.rs.batch(sync=True).write()
        self.flush_database()

    def flush_database(self) -> None:
        """Sync all earlier writes of the database."""
        self.db.batch(sync=True).write()

    @contextmanager
    def applying(self, action: str) -> Iterator[None]:
        """Hold the lock, with priority over local writers. `action` names the work in error messages.

        Raises StorageError, also for an engine error of the block, after which no more writes are accepted."""
        self.waiting = True
        with self.lock:
            self.waiting = False
            self.check()
            try:
                yield
            except ENGINE_ERRORS as error:
                raise self.fail(action, error) from error

    def check(self) -> None:
        """Raise StorageError if an earlier error has made this replica read-only."""
        if self.failed is not None:
            raise StorageError(str(self.failed)) from self.failed

    def fail(self, action: str, error: BaseException) -> StorageError:
        """Refuse further writes, since the contents of the disk are unknown after a failed write.

        Returns the error for the caller to raise."""
        self.failed = StorageError(
            f"{action} failed: {error_text(error)}. No more writes are taken. Fix the disk, then close and open"
            " the replica: everything acknowledged is repaired from the replication set"
        )
        self.failed.__cause__ = error
        _log.error("%s", self.failed)
        return self.failed
