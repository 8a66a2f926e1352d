"""The newest local writes, as the log holds them, kept in memory for peers that are up to date.

So a new write need not be read back in order to be sent. The tail is bounded, and never the only copy: a peer that is
further behind is served from the log.
"""

from bisect import bisect_right

from level_replicator.core.limits import TAIL_BYTES
from level_replicator.protocol.push import Read

Record = tuple[int, bytes]
"""Stamp and entry."""


class Tail:
    """The newest log entries of this node's origin, under the lock of the state. It holds every entry above `since`
    that has not been overwritten."""

    __slots__ = ("_bytes", "_newer", "_older", "since")

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, since: int) -> None:
        """Clear the tail: for another origin, or after a write to its log that was not added here."""
        self.since = since
        self._bytes = 0
        self._older: dict[int, bytes] = {}
        self._newer: dict[int, bytes] = {}

    def add(self, records: dict[int, bytes], size: int) -> None:
        """Add new entries by their stamps, ascending. `size`: their total bytes."""
        if size > TAIL_BYTES:
            self.begin(next(reversed(records)))
            return
        self._newer.update(records)
        self._bytes += size
        if self._bytes > TAIL_BYTES // 2:
            # half of it leaves at once, so that an addition costs next to nothing
            if self._older:
                self.since = next(reversed(self._older))
            self._older, self._newer, self._bytes = self._newer, {}, 0

    def drop(self, stamp: int) -> None:
        """Delete the entry of this stamp, if there is one, since it was overwritten."""
        if stamp > self.since and self._newer.pop(stamp, None) is None:
            self._older.pop(stamp, None)

    def above(self, low: int) -> list[Record]:
        """Return the entries above `low` (`since <= low`), the oldest first."""
        found: list[Record] = []
        for half in (self._newer, self._older):
            for stamp in reversed(half):
                if stamp <= low:
                    break
                found.append((stamp, half[stamp]))
        found.reverse()
        return found


class TailReader:
    """Reads one live round of a send queue from entries of the tail as of its begin."""

    def __init__(self, records: list[Record]) -> None:
        self._stamps = [stamp for stamp, _ in records]
        self._records = [record for _, record in records]

    def read(self, read: Read, most_entries: int, most_bytes: int) -> tuple[list[bytes], int]:
        """Read as RoundReader.read does, in ascending order."""
        start, stop = bisect_right(self._stamps, read.low), bisect_right(self._stamps, read.high)
        found = self._records[start : min(stop, start + most_entries)]
        if sum(map(len, found)) > most_bytes:
            size = len(found[0])
            for count, record in enumerate(found[1:], 1):
                size += len(record)
                if size > most_bytes:
                    found = found[:count]
                    break
        end = start + len(found)
        return found, read.high if end == stop else self._stamps[end - 1]

    def close(self) -> None:
        """Do nothing: there is no snapshot to close."""
