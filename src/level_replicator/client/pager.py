"""An iterator over keys in another process, without I/O: pages of keys and values, and a position between keys.

`forward` and `backward` return the next item, None at the bound, or the Scan that has to be answered first; `accept`
takes its Page. All pages come from one snapshot: the first Scan opens it if there is more than one page.

Invariants: `low <= first <= position <= last <= high`. The page in memory holds all keys between `first` and `last`, in
ascending order; `0 <= at <= len(keys)`, and the position is right before `keys[at]`."""

from bisect import bisect_left
from typing import NamedTuple

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.protocol.client_messages import Gap, Page, Scan

Item = tuple[bytes, bytes]


class KeyPosition(NamedTuple):
    """A position between keys: right before `key`, or right after it. Ordered like the keys.

    `rank` is 0; BEGIN (-1) and END (1) are before and after all keys."""

    rank: int
    key: bytes = b""
    after: bool = False

    @property
    def gap(self) -> Gap | None:
        """The position as a request names it; None for BEGIN and END."""
        return (self.key, self.after) if self.rank == 0 else None


BEGIN = KeyPosition(-1)
END = KeyPosition(1)


def before(key: bytes) -> KeyPosition:
    return KeyPosition(0, key)


def after(key: bytes) -> KeyPosition:
    return KeyPosition(0, key, True)


def after_prefix(prefix: bytes) -> KeyPosition:
    """Return the position after all keys that begin with the prefix."""
    head = prefix.rstrip(b"\xff")
    return before(head[:-1] + bytes([head[-1] + 1])) if head else END


def bounds_of(
    prefix: bytes, start: bytes | None, stop: bytes | None, include_start: bool, include_stop: bool
) -> tuple[KeyPosition, KeyPosition]:
    """Return the bounds of an iterator over the keys with a prefix. `start` and `stop` come without the prefix."""
    low, high = before(prefix) if prefix else BEGIN, after_prefix(prefix)
    if start is not None:
        low = before(prefix + start) if include_start else after(prefix + start)
    if stop is not None:
        high = after(prefix + stop) if include_stop else before(prefix + stop)
    return low, high


class Pager:
    """One iterator, for one thread. The position starts at `low`, with `reverse` at `high`.

    `snapshot` is the number of the snapshot to read, 0 for one of its own; `flags` are verify_checksums and
    fill_cache. `own_snapshot` is the number of its own snapshot, 0 if there is none; the caller has to release it."""

    def __init__(
        self,
        low: KeyPosition,
        high: KeyPosition,
        *,
        snapshot: int = 0,
        reverse: bool = False,
        values: bool = True,
        flags: tuple[bool, bool] = (False, True),
    ) -> None:
        self.own_snapshot = 0
        self._snapshot = snapshot
        self._low, self._high = low, high if low < high else low
        self._reverse = reverse
        self._options = (values, *flags)
        self._first = self._last = self._high if reverse else self._low
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._at = 0

    def first_scan(self) -> Scan | None:
        """Return the request for the first page, None if there can be no key between the bounds. After its answer the
        iterator shows the database as of then."""
        return self._scan(reverse=self._reverse) if self._low < self._high else None

    def forward(self) -> Item | Scan | None:
        """Move over the next key, and return it with its value."""
        at = self._at
        if at == len(self._keys):
            return None if self._last == self._high else self._scan(reverse=False)
        self._at = at + 1
        return self._keys[at], self._values[at]

    def backward(self) -> Item | Scan | None:
        """Move over the previous key, and return it with its value."""
        if self._at == 0:
            return None if self._first == self._low else self._scan(reverse=True)
        self._at -= 1
        return self._keys[self._at], self._values[self._at]

    def accept(self, scan: Scan, page: Page) -> None:
        """Replace the page in memory by the answer to a Scan. Raises RemoteProtocolError for a malformed page."""
        if page.values and len(page.values) != len(page.keys):
            raise RemoteProtocolError(f"a page has {len(page.keys)} keys, but {len(page.values)} values")
        low, high = (self._low, self._first) if scan.reverse else (self._last, self._high)
        end = None if page.end is None else KeyPosition(0, *page.end)
        if end is not None and not (low <= end < high if scan.reverse else low < end <= high):
            raise RemoteProtocolError(f"a page ends outside the range that was read: at the key {end.key[:100]!r}")
        if self._snapshot == 0 and page.snapshot:
            self._snapshot = self.own_snapshot = page.snapshot
        keys, values = page.keys, page.values or [b""] * len(page.keys)
        if scan.reverse:
            self._keys, self._values = keys[::-1], values[::-1]
            self._first, self._last = end or low, high
            self._at = len(keys)
        else:
            self._keys, self._values = keys, values
            self._first, self._last = low, end or high
            self._at = 0

    def seek(self, position: KeyPosition) -> None:
        """Move to a position, or to the nearest one within the bounds. The page in memory is kept if it covers it."""
        position = max(self._low, min(position, self._high))
        if not self._first <= position <= self._last:
            self._first = self._last = position
            self._keys, self._values, self._at = [], [], 0
        elif position.rank:
            self._at = 0 if position == BEGIN else len(self._keys)
        else:
            at = bisect_left(self._keys, position.key)
            found = at < len(self._keys) and self._keys[at] == position.key
            self._at = at + (found and position.after)

    def seek_to_low(self) -> None:
        self.seek(self._low)

    def seek_to_high(self) -> None:
        self.seek(self._high)

    def _scan(self, *, reverse: bool) -> Scan:
        """Return the request for the page after the one in memory, with `reverse` for the one before it."""
        low, high = (self._low, self._first) if reverse else (self._last, self._high)
        return Scan(0, low.gap, high.gap, self._snapshot, reverse, True, *self._options)
