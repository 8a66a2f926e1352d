"""The newest local writes, in memory, for peers that are up to date.

A new write need not be read back from the log before it is sent. The tail is bounded, and never the only copy: a peer
that is further behind is served from the log.
"""

from bisect import bisect_right

from level_replicator.core.limits import TAIL_BYTES
from level_replicator.protocol.push import Read

Record = tuple[int, bytes]
"""Stamp and entry."""


class Tail:
    """The newest log entries of this node's origin: all entries above `since` that have not been overwritten.

    Guarded by the lock of the state."""

    __slots__ = ("_bytes", "_newer", "_older", "since")

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, since: int) -> None:
        """Clear the tail and set `since`: for a new origin, and after a write to its log that was not added here."""
        self.since = since
        self._bytes = 0
        self._older: dict[int, bytes] = {}
        self._newer: dict[int, bytes] = {}

    def add(self, records: dict[int, bytes], size: int) -> None:
        """Add new entries: stamp → bytes, stamps ascending. `size` is their total size in bytes."""
        if size > TAIL_BYTES:
            self.begin(next(reversed(records)))
            return
        self._newer.update(records)
        self._bytes += size
        if self._bytes > TAIL_BYTES // 2:
            # the older half is dropped at once, so that an addition is cheap
            if self._older:
                self.since = next(reversed(self._older))
            self._older, self._newer, self._bytes = self._newer, {}, 0

    def drop(self, stamp: int) -> None:
        """Delete the entry of this stamp, which was overwritten. Does nothing if there is none."""
        if stamp > self.since and self._newer.pop(stamp, None) is None:
            self._older.pop(stamp, None)

    def above(self, low: int) -> list[Record]:
        """Return the entries above `low`, oldest first. `low` must not be below `since`."""
        found: list[Record] = []
        for half in (self._newer, self._older):
            for stamp in reversed(half):
                if stamp <= low:
                    break
                found.append((stamp, half[stamp]))
        found.reverse()
        return found


class TailReader:
    """Reads one live round of a send queue from the entries that the tail had at its start."""

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
