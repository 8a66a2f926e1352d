"""The interfaces of the changes feed: an iterator, and a callback on a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from level_replicator.api.item_queue import ItemQueue
from level_replicator.core.errors import ClosedError, ConfigError, ReplicationError
from level_replicator.core.records import Item
from level_replicator.core.version_vector import decode_cursor
from level_replicator.database.arguments import check_timeout
from level_replicator.database.gate import Gate
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.events")
_LOOK_AGAIN_S = 1.0
"""Longest sleep of a waiting reader, after which it checks whether the replica was closed."""


def open_reader(store: Store, gate: Gate, since: str | None, prefix: bytes, *, now: bool) -> ChangeReader:
    """Return a reader of the changes feed with the arguments of Replica.changes. Raises ConfigError, TypeError."""
    if since is not None and now:
        raise ConfigError("since, now: one of the two: a feed begins after a cursor, or now")
    if not isinstance(prefix, bytes):
        raise TypeError(f"prefix: expected bytes, not {type(prefix).__name__}")
    start = None if since is None else decode_cursor(since)
    if now:
        start = gate.call(store.cursor_of_now)
    return gate.call(store.changes, start, prefix)


class Changes:
    """An iterator over the latest change of each key. The changes of one origin come in the order of its writes. No key
    is missed, and a change may come twice.

    Store `cursor` when the last item has been processed: `changes(since=cursor)` continues after it, after a restart
    and on another node too. A live feed waits for further changes, and ends when the feed or the replica is closed. Use
    a feed from one thread at a time; `close` may be called from any thread."""

    def __init__(self, store: Store, gate: Gate, reader: ChangeReader, *, live: bool) -> None:
        self._store = store
        self._gate = gate
        self._reader = reader
        self._live = live
        self._closed = False
        self._queue = ItemQueue(reader.cursor)

    @property
    def cursor(self) -> str:
        """The position after the last item that was returned. While items come from the index it does not move."""
        return self._queue.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        try:
            while not self._queue:
                if self._closed or not self._more():
                    raise StopIteration
        except ClosedError:
            if self._live:
                raise StopIteration from None
            raise
        return self._queue.give()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an item, `timeout` seconds at most. Returns False if there is none.

        Raises ConfigError for a timeout that is not a number."""
        check_timeout(timeout)
        return bool(self._queue) or self._wait(timeout)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread. Idempotent."""
        self._closed = True
        self._store.notifier.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _more(self) -> bool:
        """Read the next items into the queue. Returns False at the end of the feed."""
        chunk = self._gate.call(self._reader.read)
        self._queue.put(chunk, self._reader.cursor)
        if chunk.items:
            return True
        if self._gate.call(self._reader.has_news):
            return True
        return self._live and self._wait(None)

    def _wait(self, timeout: float | None) -> bool:
        """Wait for news, `timeout` seconds at most. Returns False if there are none or the feed was closed."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._closed and not self._gate.shut:
            left = _LOOK_AGAIN_S if end is None else min(_LOOK_AGAIN_S, end - time.monotonic())
            if self._store.notifier.wait(self._has_news, max(left, 0.0)):
                return not self._closed and not self._gate.shut
            if end is not None and time.monotonic() >= end:
                return False
        return False

    def _has_news(self) -> bool:
        if self._closed or self._gate.shut:
            return True
        try:
            return self._gate.call(self._reader.has_news)
        except ClosedError:
            return True


class OnChange:
    """Call a function with every change from `start` on, on a thread of its own. A function that is slow falls behind
    in the log and loses nothing; after an error it is called with the next change.

    open_feed  returns a live feed that begins at the moment of the call
    """

    def __init__(self, open_feed: Callable[[], Changes], function: Callable[[Item], None]) -> None:
        self._open_feed = open_feed
        self._function = function
        self._feed: Changes | None = None
        self._thread = threading.Thread(target=self._run, name="level-replicator-changes", daemon=True)

    def start(self) -> None:
        """Begin the feed."""
        self._feed = self._open_feed()
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """End the feed. Waits for the call that is running, at most `timeout_s` seconds."""
        if self._feed is None:
            return
        self._feed.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        assert self._feed is not None
        try:
            for item in self._feed:
                try:
                    self._function(item)
                except BaseException:  # SystemExit too: it would silently end this thread
                    _log.exception("on_change raised an error")
        except ReplicationError as error:
            _log.error("on_change is not called any more: %s", error)
