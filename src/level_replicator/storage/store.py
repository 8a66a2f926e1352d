"""One replica on its two LevelDBs, as the floors above see it."""

from collections.abc import Callable

from level_replicator.core.clock import HybridClock
from level_replicator.core.errors import StorageError
from level_replicator.core.intervals import Intervals
from level_replicator.core.keys import log_range
from level_replicator.core.versions import Vector
from level_replicator.storage.applier import RemoteApplier
from level_replicator.storage.engine import Engine
from level_replicator.storage.feed import Feed, RoundReader
from level_replicator.storage.opening import close_state, open_state
from level_replicator.storage.plyvel_engine import ENGINE_ERRORS
from level_replicator.storage.renewal import announce_renewal, finish_renewal, mint_origin
from level_replicator.storage.state import State
from level_replicator.storage.writer import LocalWriter


class Store:
    """Opens, repairs and serves a replica. `now_ms`: wall clock; `boot`: see storage.boot; `on_step`: for tests.

    Raises on opening: ConfigError, FormatError, StorageError. Local writes may come from any thread; all that
    peers cause comes from one."""

    def __init__(
        self,
        db: Engine,
        rs: Engine,
        *,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        boot: bytes,
        sync: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self._state = State(db, rs, now_ms=now_ms, on_step=on_step)
        self._random_bytes = random_bytes
        try:
            open_state(self._state, boot=boot, random_bytes=random_bytes)
        except ENGINE_ERRORS as error:
            raise _as_storage_error("opening the replica", error) from error
        self.writer = LocalWriter(self._state)
        self._applier = RemoteApplier(self._state, sync=sync)
        self.apply = self._applier.apply
        self.take = self._applier.take

    # -- what it is

    @property
    def origin(self) -> int:
        return self._state.origin

    @property
    def vector(self) -> Vector:
        """The vector itself, not a copy: for reading, on the thread that applies."""
        return self._state.vector

    @property
    def clock(self) -> HybridClock:
        return self._state.clock

    @property
    def keys(self) -> int:
        """Live keys in the database."""
        return self._state.keys

    @property
    def entries(self) -> int:
        """Entries in the log."""
        return self._state.entries

    @property
    def failed(self) -> Exception | None:
        """Why no more writes are taken, if so."""
        return self._state.failed

    def vector_copy(self) -> Vector:
        """The vector as of now, from any thread."""
        with self._state.lock:
            return dict(self._state.vector)

    # -- what peers are told

    def resumable(self, source: int) -> list[tuple[int, int, int]]:
        """What was applied of a scan of `source` that broke off: (origin, low, high)."""
        return [
            (origin, low, high)
            for origin, intervals in self._state.resume.get(source, {}).items()
            for low, high in intervals
            if high > self._state.vector.get(origin, 0)
        ]

    def has_work(self, feed: Feed) -> bool:
        return feed.has_work(self._state)

    def has_own_work(self, feed: Feed) -> bool:
        return feed.has_own_work(self._state)

    def open_round(self, feed: Feed, peer_vector: Vector) -> tuple[RoundReader, Vector, dict[int, Intervals]]:
        """A snapshot of the log, its vector, and what of it the feed's peer is still to be sent."""
        with self._state.lock:
            target, work = feed.open(self._state, peer_vector)
            return RoundReader(self._state.rs.snapshot()), target, work

    def count_behind(self, vector: Vector, most: int) -> int:
        """How many entries of the log somebody with this vector lacks; counts no further than `most`."""
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

    # -- our origin

    def forgot(self, stamp: int) -> bool:
        """Whether a peer that knows this stamp of our origin knows something that we do not remember writing.

        That is so when it is above all we wrote, or between the end of the last run and the first write of this one."""
        low, high = self._state.restored_gap
        return stamp > self._state.vector.get(self._state.origin, 0) or low < stamp < high

    def renew(self) -> None:
        """Goes on under a new origin, after `forgot`."""
        state = self._state
        with state.lock:
            state.check()
            try:
                announce_renewal(state, mint_origin(self._random_bytes), state.restored_gap[0])
                finish_renewal(state)
            except ENGINE_ERRORS as error:
                raise state.fail("going over to a new origin", error) from error

    # -- the end

    def close(self) -> None:
        """Marks an orderly stop and closes both LevelDBs."""
        with self._state.lock:
            try:
                close_state(self._state)
            except ENGINE_ERRORS as error:
                raise _as_storage_error("closing the replica", error) from error
            finally:
                self._state.failed = self._state.failed or self._state.fail("a write after close", ValueError("closed"))
                self._state.rs.close()
                self._state.db.close()


def _as_storage_error(what: str, error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    return StorageError(f"{what} failed: {error}. Mend the disk, then open it again: what was acknowledged is repaired")
