"""Stamps of a 64-bit hybrid logical clock: 48 bits of milliseconds since 1970 and 16 bits of counter.

A new stamp is greater than every stamp that this node has issued, received in an entry, or adopted with a vector. So a
node that overwrites a value it has seen uses a greater stamp than that value, whatever its wall clock shows
(S. Kulkarni et al., *Logical Physical Clocks*, 2014).
"""

from level_replicator.core.errors import ClockError

COUNTER_BITS = 16
MAX_STAMP = (1 << 64) - 1
MAX_MS = (1 << 48) - 1


def stamp_at(ms: int) -> int:
    """Return the first stamp of a millisecond. Times before 1970 count as 1970.

    Raises ClockError for times after the year 10889."""
    if ms > MAX_MS:
        raise ClockError(f"the clock shows {ms} ms since 1970; a stamp holds up to {MAX_MS} ms: correct the clock")
    return max(ms, 0) << COUNTER_BITS


def stamp_ms(stamp: int) -> int:
    """Return the milliseconds since 1970 of a stamp."""
    return stamp >> COUNTER_BITS


def latest_acceptable(now_ms: int, max_drift_ms: int) -> int:
    """Return the greatest stamp that a peer may send at the time `now_ms`."""
    return min(stamp_at(min(now_ms + max_drift_ms + 1, MAX_MS)), MAX_STAMP) - 1


class HybridClock:
    """Issues strictly increasing stamps. `last` is the greatest stamp that was issued or passed to `follow`."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, now_ms: int, count: int = 1) -> int:
        """Issue `count` consecutive stamps and return the first. Raises ClockError if 64 bits are exhausted."""
        first = self.last + 1
        wall = now_ms << COUNTER_BITS
        if wall > first:
            first = stamp_at(now_ms)
        last = first + count - 1
        if last > MAX_STAMP:
            raise ClockError(
                "no stamps are left, since a stamp of the year 10889 was adopted: start with a new replication set"
            )
        self.last = last
        return first

    def follow(self, stamp: int) -> None:
        """Issue only stamps greater than `stamp` from now on."""
        if stamp > self.last:
            self.last = stamp
