"""Maintenance in the background: truncates the log, drops old tombstones, lowers floors that stay above the vector,
re-stamps entries that no pull will complete, and fills the key filter from the index."""

import logging
import threading
import time
from collections.abc import Callable

from level_replicator.core.errors import ReplicationError
from level_replicator.core.hlc import stamp_at
from level_replicator.core.limits import (
    FIRST_SWEEP_AFTER_S,
    MAX_RETENTION_INTERVAL_S,
    MAX_SWEEP_INTERVAL_S,
    MIN_RETENTION_INTERVAL_S,
    RETENTION_PAUSE_S,
    TRUNCATE_TO,
)
from level_replicator.core.version_vector import origin_name
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.node")


class MaintenanceThread:
    """The maintenance of one replica, on a thread of its own, between `start` and `stop`.

    log_max_bytes    size above which the log is truncated, in bytes; None: no limit
    log_max_age_s    age in seconds at which entries leave the log; None: never
    tombstone_ttl_s  age in seconds at which tombstones are dropped; None: never
    """

    def __init__(
        self,
        store: Store,
        *,
        wall_ms: Callable[[], int],
        log_max_bytes: int | None,
        log_max_age_s: float | None,
        tombstone_ttl_s: float | None,
    ) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._max_bytes, self._max_age_s, self._ttl_s = log_max_bytes, log_max_age_s, tombstone_ttl_s
        times = [each / 10 for each in (log_max_age_s, tombstone_ttl_s) if each is not None]
        self._interval_s = min(max(min(times, default=0.0), MIN_RETENTION_INTERVAL_S), MAX_RETENTION_INTERVAL_S)
        self._sweep_s = min((tombstone_ttl_s or 0.0) / 10, MAX_SWEEP_INTERVAL_S)
        # the first sweep comes soon, since a program may never run for a whole interval
        self._sweep_at_s = time.monotonic() + min(self._sweep_s, FIRST_SWEEP_AFTER_S)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="level-replicator-maintenance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the step that is under way. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self._keep()
            except ReplicationError as error:
                _log.error("maintenance in the background has stopped: %s", error)
                return

    def _keep(self) -> None:
        self._store.learn_keys(self._pause)
        retention = self._store.retention
        if self._store.floor_watch.due(time.monotonic_ns() // 1_000_000):
            logged = retention.lower_floors(pause=self._pause)
            _log.info("floors were lowered to the vector: %d index rows are in the log again", logged)
        for origin in self._store.leftover_watch.due(time.monotonic_ns() // 1_000_000):
            count = retention.restamp_leftovers(origin, pause=self._pause)
            self._store.writer.announce()
            _log.info(
                "%d entries of origin %s, which no peer will complete, were re-stamped", count, origin_name(origin)
            )
        if self._max_age_s is not None:
            before = self._stamp_before(self._max_age_s)
            if retention.oldest() <= before:
                # remove more than is due: otherwise each check would compact the whole log for a few entries
                before = self._stamp_before(self._max_age_s * TRUNCATE_TO)
                removed = retention.truncate(before=before, pause=self._pause)
                _log.info("%d entries older than log_max_age left the log", removed)
        if self._max_bytes is not None and (size := retention.log_bytes()) > self._max_bytes:
            excess = size - int(self._max_bytes * TRUNCATE_TO)
            removed = retention.truncate(most_bytes=excess, pause=self._pause)
            _log.info("%d entries left the log, which was above log_max_bytes", removed)
        if self._ttl_s is not None and time.monotonic() >= self._sweep_at_s:
            self._sweep_at_s = time.monotonic() + self._sweep_s
            dropped = retention.drop_tombstones(self._stamp_before(self._ttl_s), pause=self._pause)
            if dropped:
                _log.info("%d tombstones older than tombstone_ttl left the index", dropped)

    def _stamp_before(self, age_s: float) -> int:
        return stamp_at(self._wall_ms() - int(age_s * 1000))

    def _pause(self) -> bool:
        return not self._stopping.wait(RETENTION_PAUSE_S)
