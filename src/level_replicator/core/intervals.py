"""Sets of stamps, stored as half-open intervals (low, high] that are disjoint, sorted and not adjacent."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Interval = tuple[int, int]


class Intervals:
    """A set of stamps of one origin. Memory and `len` depend on the number of intervals, not of stamps."""

    __slots__ = ("_spans",)

    def __init__(self, spans: Iterable[Interval] = ()) -> None:
        self._spans: list[Interval] = []
        for low, high in spans:
            self.add(low, high)

    def __iter__(self) -> Iterator[Interval]:
        return iter(self._spans)

    def __reversed__(self) -> Iterator[Interval]:
        return reversed(self._spans)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __repr__(self) -> str:
        return f"Intervals({self._spans})"

    def hull(self) -> Interval:
        """Return the smallest interval that contains the set. The set must not be empty."""
        return self._spans[0][0], self._spans[-1][1]

    def overlaps(self, low: int, high: int) -> bool:
        """Return True if the set contains a stamp of (low, high]."""
        after = bisect_right(self._spans, low, key=lambda span: span[1])
        return after < len(self._spans) and max(low, self._spans[after][0]) < high

    def add(self, low: int, high: int) -> None:
        """Add (low, high]. An empty interval adds nothing."""
        if low >= high:
            return
        spans = self._spans
        if spans and spans[-1][0] <= low <= spans[-1][1]:  # the common case: the last interval grows
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
            return
        first = bisect_left(spans, low, key=lambda span: span[1])
        after = first
        while after < len(spans) and spans[after][0] <= high:
            low, high = min(low, spans[after][0]), max(high, spans[after][1])
            after += 1
        spans[first:after] = [(low, high)]

    def remove(self, low: int, high: int) -> None:
        """Remove (low, high]."""
        if low >= high or not self._spans:
            return
        kept: list[Interval] = []
        for a, b in self._spans:
            if b <= low or a >= high:
                kept.append((a, b))
                continue
            if a < low:
                kept.append((a, low))
            if b > high:
                kept.append((high, b))
        self._spans = kept

    def remove_up_to(self, stamp: int) -> None:
        """Remove all stamps up to and including `stamp`."""
        self.remove(0, stamp)
