"""How far a reader of a changes feed in another process is."""

from collections import deque

from level_replicator.core.cursor import decode_cursor, encode_cursor
from level_replicator.core.errors import ConfigError
from level_replicator.core.requests import Items
from level_replicator.core.versions import Vector, decode_vector, origin_name
from level_replicator.storage.changes import Change, Item, Rescan


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
        self._passed: Vector = {} if since is None else decode_cursor(since)
        self._behind: Vector = dict(self._passed)
        self._ordered = True
        self.waiting: deque[Item] = deque()

    @property
    def cursor(self) -> str:
        """Covers what was given so far. Within a part that is read from the index it stands still."""
        return encode_cursor(self._passed)

    @property
    def beginning(self) -> tuple[str | None, bytes, bool]:
        """What to ask for: cursor, prefix, `now`."""
        if not self._started:
            return None, self.prefix, self._now
        # an empty cursor would say that what the reader has is to be read anew; but it has nothing yet
        return (self.cursor if self._passed or self._has_some else None), self.prefix, False

    def take(self, items: Items) -> bool:
        """What came. Whether there is something to give, or may be at once."""
        if items.rescan:
            self.waiting.append(Rescan(items.rescan > 1))
        for key, value, origin, stamp in items.changes:
            self.waiting.append(Change(key, value, origin_name(origin), stamp))
        self._ordered = items.ordered
        self._behind = decode_vector(items.cursor)
        if not self.waiting:
            self._passed = dict(self._behind)
            self._started = True
        return bool(self.waiting) or items.news

    def give(self) -> Item:
        """The next of what is waiting."""
        item = self.waiting.popleft()
        self._started = self._has_some = True
        if not self.waiting:
            self._passed = dict(self._behind)
        elif self._ordered and isinstance(item, Change):
            self._passed[int(item.origin, 16)] = item.stamp
        return item
