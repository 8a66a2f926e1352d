"""Callbacks of the program: on_peer, on_conflict and on_change.

Each runs on a thread of its own, so a slow or failing callback delays neither replication nor the other callbacks.
`on_peer` has a bounded queue in memory. `on_conflict` reads the queue of conflicts on the disk, and `on_change` reads
the log, so both can fall behind without using memory.
"""

import collections
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from level_replicator.api.changes import Changes, OnChange
from level_replicator.api.config import Config
from level_replicator.api.conflict_reporter import ConflictReporter
from level_replicator.core.limits import MAX_WAITING_EVENT_BYTES, MAX_WAITING_EVENTS
from level_replicator.replication.peers import PeerEvent
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.events")
_T = TypeVar("_T")


class Callbacks:
    """The callbacks of one replica.

    Events of peers are delivered and conflicts are recorded from the beginning; `on_conflict` and `on_change` are
    called after `start`, because they may use the replica.

    open_feed   returns the changes feed for `on_change`, which begins at the moment of the call
    is_closing  returns whether the replica is being closed
    """

    def __init__(
        self, store: Store, config: Config, *, open_feed: Callable[[], Changes], is_closing: Callable[[], bool]
    ) -> None:
        self._on_peer = None if config.on_peer is None else Callback(config.on_peer)
        on_conflict, on_change = config.on_conflict, config.on_change
        self._on_conflict = None if on_conflict is None else ConflictReporter(store, on_conflict, is_closing)
        self._on_change = None if on_change is None else OnChange(open_feed, on_change)

    def peer_event(self, event: PeerEvent) -> None:
        """Pass an event to `on_peer`, if there is one. Never blocks."""
        if self._on_peer is not None:
            self._on_peer(event)

    def start(self) -> None:
        """Start to call `on_conflict` and `on_change`: the replica is complete."""
        if self._on_change is not None:
            self._on_change.start()
        if self._on_conflict is not None:
            self._on_conflict.start()

    def stop_conflicts(self) -> None:
        """Stop `on_conflict`, which deletes reported conflicts from the store: call this before the store is closed.

        Waits at most a second for the callback that is running."""
        if self._on_conflict is not None:
            self._on_conflict.close()

    def close(self) -> None:
        """Stop the other callbacks. Waits at most a second for each callback that is running."""
        for each in (self._on_change, self._on_peer):
            if each is not None:
                each.close()


class Callback(Generic[_T]):
    """Call one function with events, in order, on a thread of its own. A function that raises is called again with the
    next event.

    size  returns how many bytes an event keeps in memory
    """

    def __init__(self, function: Callable[[_T], None], size: Callable[[_T], int] = lambda event: 0) -> None:
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
        """Queue an event. Never blocks: above MAX_WAITING_EVENTS, or MAX_WAITING_EVENT_BYTES, the oldest events are
        dropped, with one warning."""
        size = self._size(event)
        with self._changed:
            while self._waiting and (
                len(self._waiting) >= MAX_WAITING_EVENTS or self._bytes + size > MAX_WAITING_EVENT_BYTES
            ):
                self._bytes -= self._size(self._waiting.popleft())
                if not self._dropped:
                    _log.warning("an event callback is too slow: the oldest waiting events are dropped")
                self._dropped += 1
            self._waiting.append(event)
            self._bytes += size
            self._changed.notify()

    def close(self, timeout_s: float = 1.0) -> None:
        """Deliver the waiting events, as many as possible within the timeout."""
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
            except BaseException:  # SystemExit too: it would silently end this thread
                _log.exception("an event callback raised an error")
