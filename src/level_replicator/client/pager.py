"""Keys and values that lie in another process, read a page at a time around a place that moves between them."""

from bisect import bisect_left
from typing import NamedTuple, Protocol

from level_replicator.core.errors import ClosedError
from level_replicator.protocol.client_messages import AnyAnswer, Gap, Page, Request, Scan

Item = tuple[bytes, bytes]


class Backend(Protocol):
    """Where requests are answered: a node, over a connection, or a replica of this process."""

    closed: bool

    def call(self, kind: type[Request], *arguments: object) -> AnyAnswer:
        """Raises ConnectionLostError, and what the node raised: ClosedError for a snapshot that it does not know, since
        it was taken over a connection that is gone."""

    def forget(self, snapshot: int) -> None:
        """Gives a snapshot back, at some time soon. Never raises, never waits."""


class KeyPosition(NamedTuple):
    """Between keys. They are ordered as they lie."""

    rank: int
    key: bytes = b""
    after: bool = False

    @property
    def gap(self) -> Gap | None:
        return (self.key, self.after) if self.rank == 0 else None


BEGIN = KeyPosition(-1)
END = KeyPosition(1)


def before(key: bytes) -> KeyPosition:
    return KeyPosition(0, key)


def behind(key: bytes) -> KeyPosition:
    return KeyPosition(0, key, True)


class Source(NamedTuple):
    """What is read: as of now, when the first page is read, or in a snapshot."""

    backend: Backend
    snapshot: int = 0


class Pager:
    """`forward` gives what lies behind the place and moves there, `backward` what lies before it.

    The place is where the reading begins: at `low`, with `reverse` at `high`. The first page is read at once, so that
    all that follows is as of now. `flags`: verify_checksums, fill_cache. For one thread."""

    def __init__(
        self,
        source: Source,
        low: KeyPosition,
        high: KeyPosition,
        *,
        reverse: bool = False,
        values: bool = True,
        flags: tuple[bool, bool] = (False, True),
    ) -> None:
        self._source = source
        self._kept = 0  # a snapshot of our own
        self._low, self._high = low, high
        self._options = (values, *flags)
        # the page that is here holds all that lies between these two
        self._first = self._last = high if reverse else low
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._at = 0
        if low < high:
            self._read(reverse=reverse)
        else:
            self._high = low

    def forward(self) -> Item | None:
        self._check()
        while self._at == len(self._keys):
            if self._last == self._high:
                return None
            self._read(reverse=False)
        self._at += 1
        return self._keys[self._at - 1], self._values[self._at - 1]

    def backward(self) -> Item | None:
        self._check()
        while self._at == 0:
            if self._first == self._low:
                return None
            self._read(reverse=True)
        self._at -= 1
        return self._keys[self._at], self._values[self._at]

    def seek(self, place: KeyPosition) -> None:
        """To this place, or the nearest one within the bounds."""
        place = max(self._low, min(place, self._high))
        if not self._first <= place <= self._last:
            self._first = self._last = place
            self._keys, self._values, self._at = [], [], 0
        elif place.rank:
            self._at = 0 if place == BEGIN else len(self._keys)
        else:
            at = bisect_left(self._keys, place.key)
            here = at < len(self._keys) and self._keys[at] == place.key
            self._at = at + (here and place.after)

    def seek_to_low(self) -> None:
        self.seek(self._low)

    def seek_to_high(self) -> None:
        self.seek(self._high)

    def close(self) -> None:
        """Idempotent; also from a finalizer."""
        kept, self._kept = self._kept, 0
        if kept:
            self._source.backend.forget(kept)

    def _check(self) -> None:
        """What is here already is not given either when the database is closed."""
        if self._source.backend.closed:
            raise ClosedError("Database or iterator is closed")

    def _read(self, *, reverse: bool) -> None:
        """The page behind this one, or before it, takes its place."""
        low, high = (self._low, self._first) if reverse else (self._last, self._high)
        backend, snapshot = self._source
        page = backend.call(Scan, low.gap, high.gap, snapshot, reverse, True, *self._options)
        assert isinstance(page, Page)
        if snapshot == 0 and page.snapshot:
            self._kept = page.snapshot
            self._source = Source(backend, page.snapshot)
        keys, values = page.keys, page.values or [b""] * len(page.keys)
        end = None if page.end is None else KeyPosition(0, *page.end)
        if reverse:
            self._keys, self._values = keys[::-1], values[::-1]
            self._first, self._last = end or low, high
            self._at = len(keys)
        else:
            self._keys, self._values = keys, values
            self._first, self._last = low, end or high
            self._at = 0
