"""Callbacks of the program: on_peer, on_conflict and on_change.

Each runs on a thread of its own behind a bounded queue, so a slow or failing callback delays neither replication nor
the other callbacks.
"""

import collections
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from level_replicator.api.changes import OnChange
from level_replicator.api.conflict_reporter import ConflictCallback, ConflictReporter
from level_replicator.core.limits import MAX_WAITING_EVENT_BYTES, MAX_WAITING_EVENTS
from level_replicator.replication.peers import PeerEvent
from level_replicator.storage.store import Store


class Listeners:
    """Callbacks of one replica. `on_peer` is called at once, `on_conflict` and `on_change` after `start`."""

    def __init__(
        self, store: Store, on_peer: Callable[[PeerEvent], None] | None, on_conflict: ConflictCallback | None
    ) -> None:
        self._on_change: OnChange | None = None
        self._peers = None if on_peer is None else Callback(on_peer)
        self._conflicts = None if on_conflict is None else ConflictReporter(store, on_conflict)

    def peer_event(self, event: PeerEvent) -> None:
        if self._peers is not None:
            self._peers(event)

    def start(self, refuses: Callable[[], bool], on_change: OnChange | None) -> None:
        """Begin to report conflicts: the replica, which the callbacks may use, is complete.

        `refuses`: whether the replica is being closed; `on_change`: the thread that reports changes, to be closed with
        the others."""
        self._on_change = on_change
        if self._conflicts is not None:
            self._conflicts.start(refuses)

    def stop_reading(self) -> None:
        """Ends what reads the store, which is to be closed next. What waits is delivered as far as that goes in a
        moment."""
        if self._conflicts is not None:
            self._conflicts.close()

    def close(self) -> None:
        """Ends the others in the same way."""
        for each in (self._on_change, self._peers):
            if each is not None:
                each.close()


_log = logging.getLogger("level_replicator.events")
_T = TypeVar("_T")


class Callback(Generic[_T]):
    """Calls one function with events, in order. A slow or raising one harms nobody but itself."""

    def __init__(self, function: Callable[[_T], None], size: Callable[[_T], int] = lambda event: 0) -> None:
        """`size`: bytes that an event keeps in memory."""
        self._function = function
        self._size = size
        self._bytes = 0
        self._waiting: collections.deque[_T] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="level-replicator-events", daemon=True)
        self._thread.start()

    def __call__(self, event: _T) -> None:
        """Never blocks. Above MAX_WAITING_EVENTS, or their bytes, the oldest are dropped, with a warning."""
        size = self._size(event)
        with self._changed:
            while self._waiting and (
                len(self._waiting) >= MAX_WAITING_EVENTS or self._bytes + size > MAX_WAITING_EVENT_BYTES
            ):
                self._bytes -= self._size(self._waiting.popleft())
                if not self._dropped:
                    _log.warning("an event callback does not keep up: events are dropped")
                self._dropped += 1
            self._waiting.append(event)
            self._bytes += size
            self._changed.notify()

    def close(self, timeout_s: float = 1.0) -> None:
        """Delivers what waits, as far as that goes in the time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
                event = self._waiting.popleft()
                self._bytes -= self._size(event)
            try:
                self._function(event)
            except BaseException:  # sys.exit() too: it would end this thread, and nobody would know
                _log.exception("an event callback raised")
