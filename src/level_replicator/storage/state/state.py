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

    `lock` guards it, and is held over every write to `rs` and the write to `db` that follows. The first group of fields
    has records on the disk: only storage.state.transaction changes them, after it has written the records, and
    storage.state.load reads them. (LocalWriter's put of one key does the same without them.)

    meta, origin  the meta record, and the origin of this node in it
    vector      origin → stamp up to which everything of the origin is known
    floor       origin → stamp up to which the log was truncated; above the vector only during a bulk load, or where
                data was lost (storage.maintenance.floors)
    horizon     origin → newest stamp of a tombstone that was dropped here; dropped: the newest of all
    resume      source → origin → the part of an unfinished scan of that source that is applied here
    bulk_load_incomplete  a bulk load was begun and is not complete
    histories   origin → its epochs, as far as this node knows them; branches: epoch → start (core.epochs)
    written     origin → newest stamp of a write of its that is, or was, here under another dot, re-stamped
    lost        keys whose values are lost here and wait to come from a peer (storage.write.lost); lost_stamps:
                origin → a stamp that is at least that of every such row
    keys        number of live keys in `db`; entries: number of entries in the log

    Floor, horizon, histories, branches and written are replaced, never changed in place: other threads read them
    without the lock. The other fields are derived from the log, or belong to this run:

    newest      origin → newest stamp of its that the log holds or held, also above the vector; never below the vector
    late        whether the log may hold entries at or below the floor, which came back after a repair
    bulk_loading  a bulk load is under way; bulk_loads: number of bulk loads that were begun
    lowered     number of times that the vector was lowered or origins were renamed
    tail        the newest local writes; key_filter: of the keys in the index
    restored_gap  (end of the last run, first stamp of this one): no other node can know a stamp of this origin in
                between, unless this directory is older than their knowledge
    next_epoch  the epoch that begins with the next local write; 0: it has begun, or the origin is new
    notifier    is rung when the vector has moved
    conflicts   number of conflicts found; unreported: those that wait for on_conflict
    restamped_puts, restamped_tombstones  numbers of entries that travel again under a new dot of this node
    failed      why no more writes are taken, or None
    waiting     a thread waits for the lock, and local writers are to let it in
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
        """Mark a point at which a test may stop the process. Costs next to nothing otherwise."""
        if self.on_step is not None:
            self.on_step(name)

    def logged(self, origin: int, stamp: int) -> bool:
        """Return whether the log holds the entry of an index row with this dot."""
        if stamp > self.floor.get(origin, 0):
            return not self.lost or self.rs.get(log_key(origin, stamp)) is not None
        return self.late and self.rs.get(log_key(origin, stamp)) is not None

    def flush(self) -> None:
        """Bring all earlier writes of both LevelDBs to the disk: an empty batch with `sync` does, as in plyvel."""
        self.rs.batch(sync=True).write()
        self.flush_database()

    def flush_database(self) -> None:
        """Bring all earlier writes of the database to the disk."""
        self.db.batch(sync=True).write()

    @contextmanager
    def applying(self, action: str) -> Iterator[None]:
        """Hold the lock, with priority over local writers. Raise StorageError, also for an engine error of the block,
        after which no more writes are taken. `action`: for the message."""
        self.waiting = True
        with self.lock:
            self.waiting = False
            self.check()
            try:
                yield
            except ENGINE_ERRORS as error:
                raise self.fail(action, error) from error

    def check(self) -> None:
        """Raise the StorageError that made this replica read-only, if one did."""
        if self.failed is not None:
            raise StorageError(str(self.failed)) from self.failed

    def fail(self, action: str, error: BaseException) -> StorageError:
        """Take no more writes, since the contents of the disk are unknown after a failed one. Return the error to
        raise."""
        self.failed = StorageError(
            f"{action} failed: {error_text(error)}. No more writes are taken. Fix the disk, then close and open"
            " the replica: everything acknowledged is repaired from the replication set"
        )
        self.failed.__cause__ = error
        _log.error("%s", self.failed)
        return self.failed
