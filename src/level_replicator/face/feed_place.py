"""How far a reader of a changes feed in another process is."""

from level_replicator.core.cursor import Cursor, decode_cursor
from level_replicator.core.errors import ConfigError
from level_replicator.core.requests import Items
from level_replicator.core.versions import decode_vector, origin_name
from level_replicator.face.item_queue import ItemQueue
from level_replicator.storage.changes import Change, Chunk, Item, Rescan


class FeedPlace:
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
