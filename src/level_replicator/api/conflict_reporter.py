"""Calls `on_conflict` with the conflicts that wait on the disk, on a thread of its own.

A record is deleted after the callback has returned, so each conflict is reported at least once, also across kills. A
callback that raises has been called: it is not called again with the same conflict, unless it raised because the
replica was being closed.
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
    """Conflicts are recorded from here on, and reported after `start`, first those that an earlier run left."""

    def __init__(self, store: Store, function: ConflictCallback) -> None:
        self._store = store
        self._function = function
        self._changed = threading.Condition()
        self._some = self._closed = self._stopped = False
        self._refuses: Callable[[], bool] = _never
        self._thread = threading.Thread(target=self._run, name="level-replicator-conflicts", daemon=True)
        store.listen_to_conflicts(self._notify)

    def start(self, refuses: Callable[[], bool]) -> None:
        """To be called when the replica stands, which the callback may use. `refuses`: whether it is being closed."""
        self._refuses = refuses
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Reports what waits, as far as that goes in the time; the rest is reported after the next open.

        To be called before the store is closed. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        self._stopped = True

    def _notify(self) -> None:
        with self._changed:
            self._some = True
            self._changed.notify()

    def _wait(self) -> bool:
        """Waits until there may be something to report. Returns False at the end."""
        with self._changed:
            while not self._some and not self._closed:
                self._changed.wait()
            some, self._some = self._some, False
            return some

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
        except StorageError as error:  # what was not reported stays on the disk
            if not self._closed:
                _log.error("on_conflict has ended: %s", error)

    def _report(self, conflict: Conflict) -> bool:
        """Returns whether the callback has dealt with it."""
        try:
            self._function(conflict.key, conflict.winner, conflict.loser)
        except ClosedError:
            if self._refuses():
                return False
            _log.exception("on_conflict raised")
        except BaseException:  # sys.exit() too: it would end this thread, and nobody would know
            _log.exception("on_conflict raised")
        return True


def _never() -> bool:
    """Default of `refuses`."""
    return False
