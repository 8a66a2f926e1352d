"""Stamps: a 64-bit hybrid logical clock, 48 bits of milliseconds since 1970 and 16 of counter.

A stamp is greater than every stamp this node has issued, seen in an entry or taken over in a
vector; so whoever overwrites something it has seen gets the greater stamp, whatever its wall clock says.
"""

from level_replicator.core.errors import ClockError

COUNTER_BITS = 16
MAX_STAMP = (1 << 64) - 1
MAX_MS = (1 << 48) - 1


def stamp_at(ms: int) -> int:
    """The first stamp of a millisecond. Times before 1970 count as 1970; ClockError beyond the year 10889."""
    if ms > MAX_MS:
        raise ClockError(f"the clock says {ms} ms since 1970, which is more than a stamp holds: set the clock right")
    return max(ms, 0) << COUNTER_BITS


def stamp_ms(stamp: int) -> int:
    """The milliseconds since 1970 in a stamp."""
    return stamp >> COUNTER_BITS


def latest_acceptable(now_ms: int, max_drift_ms: int) -> int:
    """The greatest stamp that a peer may show now."""
    return min(stamp_at(min(now_ms + max_drift_ms + 1, MAX_MS)), MAX_STAMP) - 1


class HybridClock:
    """Issues stamps that strictly grow. `last` is the greatest one issued or followed."""

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, now_ms: int, count: int = 1) -> int:
        """The first of `count` consecutive new stamps. Raises ClockError when they cannot grow any more."""
        first = self.last + 1
        wall = now_ms << COUNTER_BITS
        if wall > first:
            first = stamp_at(now_ms)
        last = first + count - 1
        if last > MAX_STAMP:
            raise ClockError("no stamps left: a stamp of the year 10889 was taken over; renew the replication set")
        self.last = last
        return first

    def follow(self, stamp: int) -> None:
        """Never again issue a stamp that is not greater than this one."""
        if stamp > self.last:
            self.last = stamp
