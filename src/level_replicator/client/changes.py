"""The changes feed of a node, read from another process.

`FeedPosition` says how far the reader is, so that a connection that was lost can be replaced; `RemoteChanges` reads.
"""

import threading
import time
from typing import TYPE_CHECKING, Self

from level_replicator.api.item_queue import ItemQueue
from level_replicator.core.errors import ClosedError, ConfigError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.records import Change, Item, Rescan
from level_replicator.core.version_vector import Cursor, decode_cursor, decode_vector, origin_name
from level_replicator.protocol.client_messages import Follow, Items, Number, Read
from level_replicator.storage.feed.change_feed import Chunk

if TYPE_CHECKING:
    from level_replicator.client.backends import ClientBackend


class FeedPosition:
    """Of `since`, or with `now` of where the node is when it is first read, or of nothing. Raises ConfigError."""

    def __init__(self, since: str | None, prefix: bytes, *, now: bool) -> None:
        if since is not None and now:
            raise ConfigError("since, now: one of the two")
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix: bytes are wanted, not {type(prefix).__name__}")
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
        """Covers what was given so far. Within a part that is read from the index it stands still."""
        return self._queue.cursor

    @property
    def beginning(self) -> tuple[str | None, bytes, bool]:
        """What to ask for: cursor, prefix, `now`."""
        if not self._started:
            return None, self.prefix, self._now
        # an empty cursor would say that what the reader has is to be read anew; but it has nothing yet
        return (None if self._queue.empty_handed and not self._has_some else self.cursor), self.prefix, False

    def take(self, items: Items) -> bool:
        """What came. Whether there is something to give, or may be at once. Raises RemoteProtocolError."""
        found: list[Item] = [Rescan(items.rescan > 1)] if items.rescan else []
        found += [Change(key, value, origin_name(origin), stamp) for key, value, origin, stamp in items.changes]
        dots = items.dots or [(stamp, origin) for _, _, origin, stamp in items.changes]
        behind = Cursor(decode_vector(items.cursor), items.node, decode_vector(items.ahead))
        self._queue.put(Chunk(found, items.ordered, dots if items.ordered else []), behind)
        self._started = self._started or not found
        return bool(found) or items.news

    def give(self) -> Item:
        """The next of what is waiting."""
        self._started = self._has_some = True
        return self._queue.give()


class RemoteChanges:
    """As api.changes.Changes. A connection that is lost is made anew at the cursor: some changes come twice then."""

    def __init__(self, backend: "ClientBackend", since: str | None, prefix: bytes, *, live: bool, now: bool) -> None:
        self._backend = backend
        self._place = FeedPosition(since, prefix, now=now)
        self._live = live
        self._closed = False
        self._lock = threading.Lock()
        self._own: ClientBackend | None = None
        self._feed = 0
        self._connect()
        if now:
            self._read(0)  # so that there is a cursor to go on with, whatever happens

    @property
    def cursor(self) -> str:
        """Covers what was given so far. Within a part that is read from the index it stands still."""
        return self._place.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._place.waiting:
            if self._closed or not (self._read(0) or (self._live and self._read_live())):
                self.close()  # the cursor stays
                raise StopIteration
        return self._place.give()

    def wait(self, timeout: float | None = None) -> bool:
        """Until there is more, `timeout` seconds at the longest; False when there is not."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._place.waiting and not self._closed:
            left_ms = MAX_CLIENT_WAITS_MS if end is None else int((end - time.monotonic()) * 1000)
            self._read(max(0, min(left_ms, MAX_CLIENT_WAITS_MS)))
            if not self._place.waiting and end is not None and time.monotonic() >= end:
                return False
        return bool(self._place.waiting)

    def close(self) -> None:
        """Ends the iteration, also one that waits in another thread. Idempotent."""
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
            self._own = own
        number = own.call(Follow, *self._place.beginning)
        assert isinstance(number, Number)
        self._feed = number.number

    def _read_live(self) -> bool:
        while not self._closed:
            if self._read(MAX_CLIENT_WAITS_MS):
                return True
        return False

    def _read(self, wait_ms: int) -> bool:
        """Whether there is something now, or may be at once."""
        own = self._own
        if own is None:
            if not self._closed:
                self._connect()
            return not self._closed
        try:
            items = own.call(Read, self._feed, wait_ms)
        except (ConnectionLostError, ClosedError) as error:
            if self._closed:
                return False
            if isinstance(error, ClosedError):
                raise
            self._connect()
            return True
        except BaseException:
            # interrupted: what was on its way is read once more, over another connection
            own.close()
            self._own = None
            raise
        assert isinstance(items, Items)
        return self._place.take(items)
