"""The store: one replica on its two LevelDBs, as the layers above use it."""

from collections.abc import Callable
from os import PathLike
from typing import Any

from level_replicator.core.epochs import Branches, Histories, histories_digest
from level_replicator.core.errors import StorageError
from level_replicator.core.hlc import HybridClock
from level_replicator.core.reconcile_rules import is_stale
from level_replicator.core.records import Change
from level_replicator.core.version_vector import Cursor, Vector
from level_replicator.leveldb import error_text
from level_replicator.protocol.events import ReconcileStarted
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.feed.change_feed import ChangeReader, known_vector
from level_replicator.storage.feed.log_view import Dot, read_history
from level_replicator.storage.feed.round_planner import RoundPlanner
from level_replicator.storage.maintenance.backup import backup
from level_replicator.storage.maintenance.floors import FloorWatch
from level_replicator.storage.maintenance.leftovers import LeftoverWatch
from level_replicator.storage.maintenance.retention import Retention
from level_replicator.storage.maintenance.verify import Report, verify
from level_replicator.storage.reconcile.begin import begin_comparison, begin_reconciliation
from level_replicator.storage.reconcile.comparison import Comparison
from level_replicator.storage.reconcile.initiator import Initiator
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.recovery.branches import rename_branches
from level_replicator.storage.recovery.new_origin import begin_origin_change, finish_origin_change
from level_replicator.storage.recovery.open import close_state, open_state
from level_replicator.storage.state.conflict_queue import Conflict
from level_replicator.storage.state.histories import Learned, learn, put_branches
from level_replicator.storage.state.load import learn_keys
from level_replicator.storage.state.notifier import Notifier
from level_replicator.storage.state.schema import log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.write.local_writer import LocalWriter
from level_replicator.storage.write.remote_applier import RemoteApplier


def _at_once(work: Callable[[], None]) -> None:
    work()


def _nobody() -> None:
    """Default of `on_written`: does nothing."""


class Store:
    """Opens a replica, repairs it, and gives access to it.

    Local writes may come from any thread; all calls on behalf of peers come from one thread.

    now_ms      the wall clock, in ms
    boot        see storage.engine.boot_id
    sync        bring the changes of peers to the disk at once
    adopt       see open_state
    on_step     called at crash points, for tests
    on_written  see LocalWriter

    The constructor raises ConfigError, FormatError, StorageError."""

    def __init__(
        self,
        db: Engine,
        rs: Engine,
        *,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        boot: bytes,
        sync: bool = False,
        adopt: Callable[[int], None] | None = None,
        on_step: Callable[[str], None] | None = None,
        on_written: Callable[[], None] = _nobody,
    ) -> None:
        self._state = ReplicationState(db, rs, now_ms=now_ms, on_step=on_step)
        self._random_bytes = random_bytes
        try:
            open_state(self._state, boot=boot, random_bytes=random_bytes, adopt=adopt)
        except ENGINE_ERRORS as error:
            raise _as_storage_error("opening the replica", error) from error
        self.writer = LocalWriter(self._state, on_written)
        self._applier = RemoteApplier(self._state, sync=sync)
        self.apply = self._applier.apply
        self.adopt_vector = self._applier.adopt_vector
        self.retention = Retention(self._state)
        self.floor_watch = FloorWatch(self._state)
        self.leftover_watch = LeftoverWatch(self._state)
        self.rounds = RoundPlanner(self._state)
        self._sync = sync
        self._digest: tuple[Histories, Branches, bytes] | None = None

    # -- properties

    @property
    def origin(self) -> int:
        return self._state.origin

    @property
    def vector(self) -> Vector:
        """The vector itself, not a copy: only for reading, and only on the thread that applies."""
        return self._state.vector

    @property
    def clock(self) -> HybridClock:
        return self._state.clock

    @property
    def keys(self) -> int:
        """Number of live keys in the database."""
        return self._state.keys

    @property
    def entries(self) -> int:
        """Number of entries in the log."""
        return self._state.entries

    @property
    def floor(self) -> Vector:
        """Origin → stamp up to which the log was truncated. Not a copy: only for reading."""
        return self._state.floor

    @property
    def horizon(self) -> Vector:
        """Origin → newest stamp of a tombstone dropped here. Not a copy: only for reading."""
        return self._state.horizon

    @property
    def dropped(self) -> int:
        """The newest stamp among all tombstones ever dropped here."""
        return self._state.dropped

    @property
    def failed(self) -> Exception | None:
        """Why no more writes are taken, None if they are."""
        return self._state.failed

    @property
    def notifier(self) -> Notifier:
        """Wakes readers when the vector has moved."""
        return self._state.notifier

    def changes(self, cursor: Cursor | None, prefix: bytes) -> ChangeReader:
        """Return a reader of the changes that this cursor does not cover, of all for None. For one thread at a time."""
        return ChangeReader(self._state, cursor, prefix)

    def cursor_of_now(self) -> Cursor | None:
        """Return a cursor that covers everything up to now; None if nothing was written yet."""
        state = self._state
        with state.lock:
            return Cursor(dict(state.vector), state.origin, known_vector(state)) if state.vector else None

    def history(self, before: Dot | None, prefix: bytes, most: int, most_bytes: int) -> tuple[list[Change], Dot | None]:
        """Read the log backwards (storage.feed.log_view). Any thread."""
        return read_history(self._state, before, prefix, most, most_bytes)

    def learn_keys(self, pause: Callable[[], bool]) -> None:
        """Add all keys of the index to the filter of known keys, if that is worth it by now. Any thread. Raise
        StorageError."""
        if self._state.key_filter.worth_learning:
            try:
                learn_keys(self._state, pause)
            except ENGINE_ERRORS as error:
                raise _as_storage_error("reading the index", error) from error

    def listen_to_conflicts(self, notify: Callable[[], None]) -> None:
        """Record conflicts from now on, until they are reported. `notify` is called, under the lock, when there are
        some, also at once; it must not block, nor raise."""
        with self._state.lock:
            self._state.unreported.listen(notify)

    def unreported_conflicts(self, after: int) -> list[tuple[int, Conflict | None]]:
        """Return the next conflicts above the number `after` that wait to be reported, oldest first, each with its
        number; None for a record that cannot be read. Any thread. Raise StorageError."""
        with self._state.applying("reading conflicts"):
            return self._state.unreported.read(after)

    def conflicts_reported(self, number: int) -> None:
        """Delete the conflicts up to this number, which have been reported. Any thread. Raise StorageError."""
        with self._state.applying("forgetting conflicts that were reported"):
            self._state.unreported.reported(number)

    def vector_copy(self) -> Vector:
        """Return a copy of the vector. Any thread."""
        with self._state.lock:
            return dict(self._state.vector)

    # -- what peers are told

    def resumable(self, source: int) -> list[tuple[int, int, int]]:
        """Return the applied intervals of an unfinished scan of `source`: (origin, low, high)."""
        return [
            (origin, low, high)
            for origin, intervals in self._state.resume.get(source, {}).items()
            for low, high in intervals
            if high > self._state.vector.get(origin, 0)
        ]

    # -- reconciling with a peer

    def is_stale(self, horizon: Vector) -> bool:
        """Return whether we have missed tombstones that were dropped below this horizon."""
        return is_stale(self._state.vector, horizon)

    def reconciles_alone(self, horizon: Vector) -> bool:
        """Return whether a reconciliation with a peer of this horizon would end all our other pulls."""
        state = self._state
        return self.is_stale(horizon) or state.bulk_load_incomplete or state.vector.keys() <= {state.origin}

    def begin_reconciliation(
        self,
        peer: ReconcileStarted,
        source: int,
        *,
        rows_at_request: int | None = None,
        peer_pulls: bool = True,
    ) -> tuple[Initiator, Resolver]:
        """Begin a reconciliation with `source`; see storage.reconcile.begin. End it with `end_reconciliation`.

        `rows_at_request`: rows of this node when it requested the pull, if the newest entries may have come since."""
        rows = self._state.keys if rows_at_request is None else rows_at_request
        return begin_reconciliation(
            self._state,
            peer,
            source,
            rows=rows,
            own_rows=self.rounds.bulk_load_own_rows,
            sync=self._sync,
            peer_pulls=peer_pulls,
        )

    def end_reconciliation(self) -> None:
        """End a reconciliation that is complete, or broke off."""
        self._state.bulk_loading = False

    @property
    def bulk_load_incomplete(self) -> bool:
        """Whether a bulk load is not complete, so that the index holds more than the vector claims."""
        return self._state.bulk_load_incomplete

    @property
    def lost(self) -> int:
        """Number of values that are lost here and wait to come from a peer (see storage.write.lost)."""
        return len(self._state.lost)

    @property
    def bulk_loading(self) -> bool:
        """Whether a bulk load is under way. Nothing else is pulled meanwhile."""
        return self._state.bulk_loading

    def begin_comparison(self) -> tuple[Initiator, Comparison]:
        """Begin a comparison with a peer; see storage.reconcile.begin."""
        return begin_comparison(self._state)

    @property
    def conflicts(self) -> int:
        """Number of conflicts found since the replica was opened."""
        return self._state.conflicts

    @property
    def restamped(self) -> tuple[int, int]:
        """Numbers of values, and of tombstones, that were re-stamped since the replica was opened."""
        return self._state.restamped_puts, self._state.restamped_tombstones

    def oldest_behind(self, vector: Vector) -> int | None:
        """Return the stamp of the oldest log entry that a node with this vector lacks, None if it lacks none."""
        with self._state.lock:
            newest = dict(self._state.newest)
        oldest = None
        for origin, stamp in newest.items():
            low = vector.get(origin, 0)
            if stamp > low:
                for key in self._state.rs.scan_keys(*log_range(origin, low, stamp)):
                    first, _ = log_dot(key)
                    oldest = first if oldest is None else min(oldest, first)
                    break
        return oldest

    def count_behind(self, vector: Vector, most: int) -> int:
        """Return how many log entries a node with this vector lacks, `most` at most."""
        with self._state.lock:
            newest = dict(self._state.newest)
        behind = 0
        for origin, stamp in newest.items():
            low = vector.get(origin, 0)
            if stamp <= low:
                continue
            for _ in self._state.rs.scan_keys(*log_range(origin, low, stamp)):
                behind += 1
                if behind >= most:
                    return behind
        return behind

    # -- maintenance

    def verify(
        self, *, repair: bool, progress: Callable[[int], None], alone: Callable[[Callable[[], None]], None] = _at_once
    ) -> Report:
        """Audit the replica (storage.maintenance.verify). Any thread. The function that `alone` gets may change our
        origin."""
        return verify(self._state, repair=repair, random_bytes=self._random_bytes, progress=progress, alone=alone)

    def backup(self, path: str | PathLike[str], rs_options: dict[str, Any], progress: Callable[[int], None]) -> int:
        """Copy the replica (storage.maintenance.backup). Any thread."""
        return backup(self._state, path, rs_options=rs_options, progress=progress)

    # -- our origin

    def forgot(self, stamp: int) -> bool:
        """Return whether a peer that knows this stamp of our origin knows a write that we do not remember.

        That is so if the stamp is above all our writes, or between the end of the last run and the first write of this
        one."""
        low, high = self._state.restored_gap
        return stamp > self._state.vector.get(self._state.origin, 0) or low < stamp < high

    def change_origin(self) -> None:
        """Continue under a new origin, after `forgot`. Raise StorageError."""
        state = self._state
        with state.lock:
            state.check()
            try:
                begin_origin_change(state, self._random_bytes, state.restored_gap[0], forked=not state.meta.traced)
                finish_origin_change(state)
            except ENGINE_ERRORS as error:
                raise state.fail("changing to a new origin", error) from error

    # -- histories of origins

    @property
    def histories(self) -> Histories:
        """Histories of origins. A change replaces the object."""
        return self._state.histories

    @property
    def branches(self) -> Branches:
        return self._state.branches

    def histories_digest(self) -> bytes:
        """Return a digest that is equal on two nodes with the same histories and branches."""
        histories, branches = self._state.histories, self._state.branches
        if self._digest is None or self._digest[0] is not histories or self._digest[1] is not branches:
            self._digest = (histories, branches, histories_digest(histories, branches))
        return self._digest[2]

    def learn_histories(self, histories: Histories, branches: Branches) -> Learned:
        """Compare a peer's histories of origins with ours (storage.state.histories). Raise RemoteProtocolError,
        StorageError."""
        with self._state.applying("learning the histories of origins"):
            return learn(self._state, histories, branches)

    def branch(self, branches: Branches) -> None:
        """Make branches origins of their own, also our own origin if it is in one. All sessions must begin anew.

        Raise RemoteProtocolError, StorageError."""
        with self._state.applying("renaming a branch"):
            put_branches(self._state, branches)
            rename_branches(self._state)
        self._state.notifier.ring()

    # -- closing

    def release(self) -> None:
        """Mark an orderly stop, and leave both LevelDBs open for their owner. No method may be called after it."""
        with self._state.lock:
            close_state(self._state)
            self._state.failed = self._state.failed or StorageError("the replica is closed")

    def close(self) -> None:
        """Mark an orderly stop and close both LevelDBs. Raise StorageError."""
        with self._state.lock:
            try:
                close_state(self._state)
            except ENGINE_ERRORS as error:
                raise _as_storage_error("closing the replica", error) from error
            finally:
                self._state.failed = self._state.failed or StorageError("the replica is closed")
                self._state.rs.close()
                self._state.db.close()


def _as_storage_error(action: str, error: Exception) -> StorageError:
    """Return an engine error as a StorageError whose text contains the way out."""
    if isinstance(error, StorageError):
        return error
    text = error_text(error)
    if "Corruption" in text:
        return StorageError(
            f"{action} failed: {text}. A LevelDB is damaged: move the directory away, and start from a backup, or with"
            " an empty directory beside peers; or call plyvel.repair_db for both parts of a copy, then verify with"
            " repair"
        )
    return StorageError(
        f"{action} failed: {text}. Fix the disk, then open the replica again: all acknowledged writes are repaired"
    )
