"""The changes feed of a node, read from another process.

`FeedPosition` is shared with the asyncio client: it knows how far the reader is, so that a feed that was lost with its
connection can be opened again at the cursor. `RemoteChanges` adds the I/O of a synchronous reader."""

import threading
import time
from typing import Self

from level_replicator.api.item_queue import ItemQueue
from level_replicator.client.backends import Backend
from level_replicator.core.errors import ClosedError, ConfigError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.records import Change, Item, Rescan
from level_replicator.core.version_vector import Cursor, decode_cursor, decode_vector, origin_name
from level_replicator.database.arguments import check_timeout
from level_replicator.protocol.client_messages import Follow, Items, Number, Read
from level_replicator.storage.feed.change_feed import Chunk


class FeedPosition:
    """The position of a reader: the items that wait for it, and the cursor that covers those that it was given.

    It begins at the cursor `since`; with `now`, at the position of the node when it is first read; else before all
    changes.

    Raises ConfigError for `since` together with `now` and for a broken cursor, TypeError for a prefix that is no
    bytes."""

    def __init__(self, since: str | None, prefix: bytes, *, now: bool) -> None:
        if since is not None and now:
            raise ConfigError("since, now: give one of the two, not both")
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix: expected bytes, got {type(prefix).__name__}")
        self.prefix = prefix
        self._now = now
        self._started = self._has_some = since is not None
        self._queue = ItemQueue(Cursor({}) if since is None else decode_cursor(since))

    @property
    def waiting(self) -> bool:
        """Whether there is an item to give."""
        return bool(self._queue)

    @property
    def cursor(self) -> str:
        """The cursor that covers all items given so far. It does not move within a part that is read from the index."""
        return self._queue.cursor

    @property
    def follow(self) -> Follow:
        """The request that opens a feed at this position."""
        if not self._started:
            return Follow(0, None, self.prefix, self._now)
        # An empty cursor would ask for a rescan of what the reader has; but it has nothing yet.
        return Follow(0, None if self._queue.empty_handed and not self._has_some else self.cursor, self.prefix)

    def take(self, items: Items) -> bool:
        """Queue the items of an answer. Returns whether there is an item to give now, or may be at once.

        Raises RemoteProtocolError for a broken cursor."""
        found: list[Item] = [Rescan(items.rescan > 1)] if items.rescan else []
        found += [Change(key, value, origin_name(origin), stamp) for key, value, origin, stamp in items.changes]
        dots = items.dots or [(stamp, origin) for _, _, origin, stamp in items.changes]
        behind = Cursor(decode_vector(items.cursor), items.node, decode_vector(items.ahead))
        self._queue.put(Chunk(found, items.ordered, dots if items.ordered else []), behind)
        self._started = self._started or not found
        return bool(found) or items.news

    def give(self) -> Item:
        """Give the next item that waits, and move the cursor behind it."""
        self._started = self._has_some = True
        return self._queue.give()


class RemoteChanges:
    """A changes feed as Replica.changes returns one, over a connection of its own. For one thread at a time.

    After the connection was lost, the feed is opened again at the cursor; some changes may then come twice."""

    def __init__(self, backend: Backend, since: str | None, prefix: bytes, *, live: bool, now: bool) -> None:
        self._backend = backend
        self._position = FeedPosition(since, prefix, now=now)
        self._live = live
        self._closed = False
        self._lock = threading.Lock()
        self._own: Backend | None = None
        self._feed = 0
        self._connect()
        if now:
            self._read(0)  # from here on there is a cursor, so that nothing is missed after a lost connection

    @property
    def cursor(self) -> str:
        """The cursor that covers all items given so far. It does not move within a part that is read from the index."""
        return self._position.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._position.waiting:
            if self._closed or not (self._read(MAX_CLIENT_WAITS_MS if self._live else 0) or self._live):
                self.close()  # the cursor stays
                raise StopIteration
        return self._position.give()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an item, for at most `timeout` seconds. Returns whether there is one."""
        check_timeout(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while not self._position.waiting and not self._closed:
            left_ms = MAX_CLIENT_WAITS_MS if end is None else int((end - time.monotonic()) * 1000)
            self._read(max(0, min(left_ms, MAX_CLIENT_WAITS_MS)))
            if not self._position.waiting and end is not None and time.monotonic() >= end:
                return False
        return self._position.waiting

    def close(self) -> None:
        """End the iteration, also one that waits in another thread. Idempotent."""
        with self._lock:
            self._closed = True
            own, self._own = self._own, None
        if own is not None:
            own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        own = self._backend.apart()
        with self._lock:
            if self._closed:
                own.close()
                return
            self._own = own
        number = own.call(self._position.follow)
        assert isinstance(number, Number)
        self._feed = number.number

    def _read(self, wait_ms: int) -> bool:
        """Read once, waiting at most `wait_ms` for news. Returns whether there is an item now, or may be at once."""
        own = self._own
        if own is None:
            if not self._closed:
                self._connect()
            return not self._closed
        try:
            items = own.call(Read(0, self._feed, wait_ms))
        except (ConnectionLostError, ClosedError) as error:
            if self._closed:
                return False
            if isinstance(error, ClosedError):
                raise
            self._connect()
            return True
        except BaseException:
            # After an interrupt the answer on its way would be lost: the next call reads it over another connection.
            own.close()
            self._own = None
            raise
        assert isinstance(items, Items)
        return self._position.take(items)
