"""What a replica keeps in memory of its replication set, and the one lock around it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from level_replicator.core.epochs import Branches, Histories
from level_replicator.core.errors import StorageError
from level_replicator.core.hlc import HybridClock
from level_replicator.core.intervals import Intervals
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.state.conflict_queue import UnreportedConflicts
from level_replicator.storage.state.key_filter import KeyFilter
from level_replicator.storage.state.meta import Meta
from level_replicator.storage.state.notifier import Notifier
from level_replicator.storage.state.schema import log_key
from level_replicator.storage.state.tail import Tail

_log = logging.getLogger("level_replicator.storage")


class ReplicationState:
    """Guarded by `lock`, which is held over every write to `rs` and the write to `db` that follows it.

    vector      as on disk
    newest      origin → newest stamp of its that the log holds or held, also above the vector
    floor       origin → stamp up to which the log was truncated; above the vector only during a bulk load, or where
                data was lost (see storage.maintenance.floors)
    horizon     origin → newest stamp of a tombstone dropped here; dropped: the newest of all
                (floor and horizon are replaced, not changed: other threads read them without the lock)
    bulk_load_incomplete  a bulk load was begun and is not complete; bulk_loading: one is under way
    bulk_loads  how many bulk loads were begun since it was opened
    lowered     how often the vector was lowered, or origins were renamed, since it was opened
    late        whether the log may hold entries at or below the floor, which came back after a repair
    resume      source → origin → what was applied of a scan of that source that is not complete
    tail        the newest local writes; key_filter: of the keys in the index
    keys        live keys in `db`; entries: entries in the log
    restored_gap  (end of the last run, first stamp of this one): nobody else can know a stamp of
                ours in between, unless this directory is older than what they have seen
    histories   origin → its epochs, as far as this node knows them; branches: epoch → start (see core.epochs)
                (both are replaced, not changed)
    written     origin → newest stamp of a write of its that is, or was, here under another dot, re-stamped
    next_epoch  the epoch that begins with the next local write; 0: it has begun, or the origin is new
    notifier    rung when the vector has moved
    conflicts   how many have met here since it was opened; unreported: those that wait for on_conflict
    lost        keys whose values are lost here and wait to come from a peer (see storage.write.lost); lost_stamps:
                origin → the newest stamp of such a row, or a newer one
    restamped_puts, restamped_tombstones  entries that travel again under a new dot of ours, since it was opened
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
        self.meta: Meta | None = None
        self.origin = 0
        self.clock = HybridClock()
        self.vector: Vector = {}
        self.newest: Vector = {}
        self.floor: Vector = {}
        self.horizon: Vector = {}
        self.dropped = 0
        self.bulk_loading = False
        self.bulk_load_incomplete = False
        self.bulk_loads = 0
        self.late = False
        self.lowered = 0
        self.resume: dict[int, dict[int, Intervals]] = {}
        self.tail = Tail()
        self.key_filter = KeyFilter()
        self.keys = 0
        self.entries = 0
        self.restored_gap = (0, 0)
        self.histories: Histories = {}
        self.branches: Branches = {}
        self.written: Vector = {}
        self.next_epoch = 0
        self.failed: StorageError | None = None
        self.waiting = False
        self.notifier = Notifier()
        self.conflicts = 0
        self.restamped_puts = 0
        self.restamped_tombstones = 0
        self.unreported = UnreportedConflicts(rs)
        self.lost: frozenset[bytes] = frozenset()
        self.lost_stamps: Vector = {}

    def step(self, name: str) -> None:
        """A point at which a test may stop the process. Costs nothing when none does."""
        if self.on_step is not None:
            self.on_step(name)

    def logged(self, origin: int, stamp: int) -> bool:
        """Whether the log holds the entry of a line of the index."""
        if stamp > self.floor.get(origin, 0):
            return not self.lost or self.rs.get(log_key(origin, stamp)) is not None
        return self.late and self.rs.get(log_key(origin, stamp)) is not None

    @contextmanager
    def applying(self, what: str) -> Iterator[None]:
        """The lock, for a thread that local writers are to let in. Raises StorageError, also for what fails inside."""
        self.waiting = True
        with self.lock:
            self.waiting = False
            self.check()
            try:
                yield
            except ENGINE_ERRORS as error:
                raise self.fail(what, error) from error

    def check(self) -> None:
        """Raises the StorageError that made this replica read-only."""
        if self.failed is not None:
            raise StorageError(str(self.failed)) from self.failed

    def fail(self, what: str, error: BaseException) -> StorageError:
        """From now on no write is taken: after a failed write nobody knows what is on disk."""
        self.failed = StorageError(
            f"{what} failed: {error}. No more writes are taken. Fix the disk, then close and open"
            " the replica: everything acknowledged is repaired from the replication set"
        )
        self.failed.__cause__ = error
        _log.error("%s", self.failed)
        return self.failed
