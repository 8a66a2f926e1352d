"""Reports conflicts from the queue on the disk to `on_conflict`, on a thread of its own.

A record is deleted after the callback has returned, so each conflict is reported at least once, also across kills. A
conflict for which the callback raised an error is not reported again, unless the error came from the replica being
closed.
"""

import logging
import threading
from collections.abc import Callable

from level_replicator.core.errors import ClosedError, StorageError
from level_replicator.core.records import Change
from level_replicator.storage.state.conflict_queue import Conflict
from level_replicator.storage.store import Store

ConflictCallback = Callable[[bytes, Change, Change], None]
_log = logging.getLogger("level_replicator.events")


class ConflictReporter:
    """Calls `on_conflict`, first with the conflicts that an earlier run of the replica left in the queue.

    Conflicts are recorded as soon as this object exists, and reported after `start`.

    is_closing  returns whether the replica is being closed, so that a ClosedError of the callback is no fault of it
    """

    def __init__(self, store: Store, function: ConflictCallback, is_closing: Callable[[], bool]) -> None:
        self._store = store
        self._function = function
        self._is_closing = is_closing
        self._changed = threading.Condition()
        self._pending = self._closed = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="level-replicator-conflicts", daemon=True)
        store.listen_to_conflicts(self._notify)

    def start(self) -> None:
        """Start to report: from here on the callback may use the replica."""
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Report the waiting conflicts, as many as possible within the timeout. The others are reported after the next
        open.

        Call this before the store is closed. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        self._stopped = True

    def _notify(self) -> None:
        with self._changed:
            self._pending = True
            self._changed.notify()

    def _wait(self) -> bool:
        """Wait until conflicts may be pending. Returns False when the reporter was closed and none are."""
        with self._changed:
            while not self._pending and not self._closed:
                self._changed.wait()
            pending, self._pending = self._pending, False
            return pending

    def _run(self) -> None:
        last = 0
        try:
            while self._wait():
                while waiting := self._store.unreported_conflicts(last):
                    for number, conflict in waiting:
                        if self._stopped or (conflict is not None and not self._report(conflict)):
                            self._store.conflicts_reported(last)
                            return
                        last = number
                    self._store.conflicts_reported(last)
        except StorageError as error:  # the conflicts that were not reported stay on the disk
            if not self._closed:
                _log.error("on_conflict is not called any more: %s", error)

    def _report(self, conflict: Conflict) -> bool:
        """Call the function. Returns False if the conflict has to be reported again after the next open."""
        try:
            self._function(conflict.key, conflict.winner, conflict.loser)
        except ClosedError:
            if self._is_closing():
                return False
            _log.exception("on_conflict raised an error")
        except BaseException:  # SystemExit too: it would silently end this thread
            _log.exception("on_conflict raised an error")
        return True
