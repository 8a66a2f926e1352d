"""The items of a changes feed on their way to the program, and the cursor that covers those that it has got."""

from collections import deque

from level_replicator.core.records import Item, Rescan
from level_replicator.core.version_vector import Cursor, encode_cursor
from level_replicator.storage.feed.change_feed import Chunk


class ItemQueue:
    """Holds one chunk at a time. `cursor` is the text that the program stores."""

    def __init__(self, cursor: Cursor) -> None:
        self._given = cursor.copy()
        self._behind = self._given
        self._items: deque[Item] = deque()
        self._dots: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def cursor(self) -> str:
        """Covers what was given so far. Within a part that is read from the index it stands still."""
        return encode_cursor(self._given)

    @property
    def empty_handed(self) -> bool:
        """Whether the cursor covers nothing."""
        return not self._given.vector

    def put(self, chunk: Chunk, behind: Cursor) -> None:
        """Takes a chunk. `behind`: the cursor of the reader, which covers all of it."""
        self._behind = behind.copy()
        if not chunk.items:
            self._given = self._behind
            return
        self._items.extend(chunk.items)
        self._dots.extend(chunk.dots)
        # from here on the program may see what this node knows
        self._given.node, self._given.ahead = behind.node, behind.ahead
        first = chunk.items[0]
        if isinstance(first, Rescan) and first.complete:
            self._given.vector = {}  # whoever breaks off must begin anew

    def give(self) -> Item:
        """Gives the next item; the cursor moves with it."""
        item = self._items.popleft()
        if not self._items:
            self._given = self._behind
            self._dots.clear()
        elif self._dots:
            stamp, origin = self._dots.popleft()
            self._given.vector[origin] = stamp
        return item
