"""The changes feed as programs see it: an iterator, and a callback on a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from level_replicator.api.item_queue import ItemQueue
from level_replicator.core.errors import ClosedError, ConfigError, ReplicationError
from level_replicator.core.records import Item
from level_replicator.core.version_vector import decode_cursor
from level_replicator.database.gate import Gate
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.events")
_LOOK_AGAIN_S = 1.0
"""The longest that a waiting reader sleeps before it sees that the replica was closed."""


def open_reader(store: Store, gate: Gate, since: str | None, prefix: bytes, *, now: bool) -> ChangeReader:
    """See Replica.changes. Raises ConfigError, TypeError."""
    if since is not None and now:
        raise ConfigError("since, now: one of the two")
    if not isinstance(prefix, bytes):
        raise TypeError(f"prefix: bytes are wanted, not {type(prefix).__name__}")
    start = None if since is None else decode_cursor(since)
    if now:
        start = gate.call(store.cursor_of_now)
    return gate.call(store.changes, start, prefix)


class Changes:
    """Iterate: every key's latest change, each origin's in their order, none missed, some perhaps twice.

    `cursor` is a text to store when the item last given has been dealt with: with it, `changes(since=cursor)` goes on,
    after a restart, and on another node too. A live feed waits for more and ends when it, or the replica, is closed.
    For one thread at a time; `close` may come from any."""

    def __init__(self, store: Store, gate: Gate, reader: ChangeReader, *, live: bool) -> None:
        self._store = store
        self._gate = gate
        self._reader = reader
        self._live = live
        self._closed = False
        self._queue = ItemQueue(reader.cursor)

    @property
    def cursor(self) -> str:
        """Covers what was given so far. Within a part that is read from the index it stands still."""
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
        """Until there is more, `timeout` seconds at the longest; False when there is not."""
        return bool(self._queue) or self._wait(timeout)

    def close(self) -> None:
        """Ends the iteration, also one that waits in another thread. Idempotent."""
        self._closed = True
        self._store.notifier.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _more(self) -> bool:
        """Reads on; False at the end."""
        chunk = self._gate.call(self._reader.read)
        self._queue.put(chunk, self._reader.cursor)
        if chunk.items:
            return True
        if self._gate.call(self._reader.has_news):
            return True
        return self._live and self._wait(None)

    def _wait(self, timeout: float | None) -> bool:
        """False at the end, or when the time ran out."""
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
