"""Items of a changes feed that were read and not returned yet, and the cursor after those that were returned."""

from collections import deque

from level_replicator.core.records import Item, Rescan
from level_replicator.core.version_vector import Cursor, encode_cursor
from level_replicator.storage.feed.change_feed import Chunk


class ItemQueue:
    """The queue holds one chunk. Its cursor moves with each item that is returned."""

    def __init__(self, cursor: Cursor) -> None:
        self._given = cursor.copy()
        self._behind = self._given
        self._items: deque[Item] = deque()
        self._dots: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def cursor(self) -> str:
        """The position after the last item that was returned, as the text that programs store. While items come from
        the index it does not move."""
        return encode_cursor(self._given)

    @property
    def empty_handed(self) -> bool:
        """Whether the cursor is at the beginning of the feed."""
        return not self._given.vector

    def put(self, chunk: Chunk, behind: Cursor) -> None:
        """Add a chunk. `behind` is the cursor of the reader: the position after the chunk."""
        self._behind = behind.copy()
        if not chunk.items:
            self._given = self._behind
            return
        self._items.extend(chunk.items)
        self._dots.extend(chunk.dots)
        # from here on the program may receive everything that this node knows
        self._given.node, self._given.ahead = behind.node, behind.ahead
        first = chunk.items[0]
        if isinstance(first, Rescan) and first.complete:
            self._given.vector = {}  # a reader that stops during a complete rescan must begin again

    def give(self) -> Item:
        """Return the next item, and move the cursor after it."""
        item = self._items.popleft()
        if not self._items:
            self._given = self._behind
            self._dots.clear()
        elif self._dots:
            stamp, origin = self._dots.popleft()
            self._given.vector[origin] = stamp
        return item
