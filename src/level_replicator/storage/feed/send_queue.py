"""What one peer is still to be sent: intervals of the log, not entries. The log is the queue.

However far a peer falls behind, what is kept for it in memory is a few intervals an origin.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from level_replicator.core.entry import is_sound
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.limits import LARGE_INDEX_ROWS, MAX_SEND_QUEUE_INTERVALS
from level_replicator.core.version_vector import Vector, newer, origin_name, raise_to
from level_replicator.protocol.events import EntriesReceived
from level_replicator.protocol.push import Read
from level_replicator.storage.engine.base import Snapshot
from level_replicator.storage.state.log_reader import DamagedEntry
from level_replicator.storage.state.schema import log_dot, log_range
from level_replicator.storage.state.state import ReplicationState

_ALL = (1 << 64) - 1


class SendQueue:
    """Of one session that pulls from us. All but `has_work` under the lock of the state.

    rows       about how many the peer has in its index
    began      whether its first round, or reconciliation, was opened: from then on it is live
    must_reconcile  the log does not serve the peer, for another reason than its floor: it is damaged, or the peer asked
    """

    def __init__(
        self,
        source: int,
        have: Iterable[tuple[int, int, int]],
        *,
        rows: int = LARGE_INDEX_ROWS,
        reconcile: bool = False,
    ) -> None:
        self.source = source
        self.rows = rows
        self._have = list(have)
        self.began = False
        self._own_sent = 0
        self._pending: dict[int, Intervals] = {}
        self._moved: set[int] = set()
        self._theirs: dict[int, Intervals] = {}
        self._sent: Vector = {}
        self._target: Vector = {}
        self.must_reconcile = reconcile

    def covered(self, origin: int, peer_vector: Vector) -> int:
        """Up to which stamp the peer knows everything of an origin, if it has applied what it was sent."""
        if origin == self.source:
            return _ALL
        return max(peer_vector.get(origin, 0), self._sent.get(origin, 0))

    def completed(self) -> None:
        """The round, or reconciliation, that was opened last was sent to its end."""
        raise_to(self._sent, self._target)
        self._target = {}

    def open_reconciliation(self, state: ReplicationState) -> Vector:
        """Begin a reconciliation of the peer with our index. Returns the vector to hand over at its end."""
        self.began, self.must_reconcile = True, False
        self._have, self._theirs, self._pending, self._moved = [], {}, {}, set()
        self._own_sent = state.vector.get(state.origin, 0)
        self._target = dict(state.vector)
        return dict(self._target)

    def has_work(self, state: ReplicationState) -> bool:
        """Whether a round would have anything to say. Cheap: it is asked after every write."""
        return (
            not self.began
            or self.must_reconcile
            or state.vector.get(state.origin, 0) > self._own_sent
            or bool(self._pending)
            or bool(self._moved)
        )

    def has_own_work(self, state: ReplicationState) -> bool:
        """Whether some of it is of this node, or the first round: not to be got from anybody else."""
        return not self.began or self.must_reconcile or state.vector.get(state.origin, 0) > self._own_sent

    def applied(self, origin: int, news: Iterable[Interval]) -> None:
        """The log got these from somebody else."""
        # what the peer wrote itself it has; if it forgot, the vector tells it
        if origin == self.source:
            return
        pending = self._pending.setdefault(origin, Intervals())
        for low, high in news:
            pending.add(low, high)
        if len(pending) > MAX_SEND_QUEUE_INTERVALS:
            self._pending[origin] = Intervals([pending.hull()])

    def came_from_peer(self, frame: EntriesReceived) -> None:
        """The peer sent these itself: they do not go back, also where its vector does not cover them yet.

        Entry by entry, since between two of them we may have others; and only until the first round begins, since
        later ones read what came from elsewhere."""
        if self.began or frame.high <= frame.resumable:
            return
        theirs = self._theirs.setdefault(frame.origin, Intervals())
        for entry in frame.entries:
            if entry.stamp > frame.resumable and len(theirs) < MAX_SEND_QUEUE_INTERVALS:
                theirs.add(entry.stamp - 1, entry.stamp)

    def moved(self, origins: Iterable[int]) -> None:
        self._moved.update(origins)

    def open(self, state: ReplicationState, peer_vector: Vector) -> tuple[Vector, dict[int, Intervals]]:
        """Begins a round: the vector entries to hand over at its end, and what to read for it."""
        vector, own = state.vector, state.origin
        if not self.began:
            self.began = True
            work = {
                origin: Intervals([(peer_vector.get(origin, 0), stamp)])
                for origin, stamp in newer(state.newest, peer_vector).items()
                if origin != self.source
            }
            for origin, low, high in self._have:
                # what the peer knows of an earlier snapshot holds only if ours is not older than that
                if origin in work and high <= vector.get(origin, 0):
                    work[origin].remove(low, high)
            for origin, stamps in self._theirs.items():
                for low, high in stamps if origin in work else ():
                    work[origin].remove(low, high)
            self._have, self._theirs = [], {}
            target = dict(vector)
        else:
            work = self._pending
            newest = vector.get(own, 0)
            if newest > self._own_sent:
                work.setdefault(own, Intervals()).add(self._own_sent, newest)
                self._moved.add(own)
            target = {origin: vector[origin] for origin in self._moved if origin in vector}
        self._own_sent = vector.get(own, 0)
        self._pending = {}
        self._moved = set()
        self._target = dict(target)
        return target, work


class RoundReader:
    """Reads one round of a send queue from a snapshot of the log. A damaged entry is never given: raises
    DamagedEntry."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rest: Read | None = None
        """What `_held`, and `_pairs` after it, still give."""
        self._held: tuple[bytes, bytes] = (b"", b"")
        self._pairs: Iterator[tuple[bytes, bytes]] = iter(())

    def read(self, read: Read, most_entries: int, most_bytes: int) -> tuple[list[bytes], int]:
        """Entries of an interval, and the bound up to which they are all. At least one if there is one."""
        if read == self._rest:
            pairs: Iterable[tuple[bytes, bytes]] = chain((self._held,), self._pairs)
        else:
            bounds = log_range(read.origin, read.low, read.high)
            pairs = self._pairs = self._snapshot.scan(*bounds, reverse=read.newest_first)
        records: list[bytes] = []
        size = 0
        last = b""
        for pair in pairs:
            size += len(pair[1])
            if records and (size > most_bytes or len(records) == most_entries):
                break  # a frame has room for one entry of any size, and no more
            last, record = pair
            records.append(record)
        else:
            self._rest = None
            self._require_sound(records, read)
            return records, read.low if read.newest_first else read.high
        self._held = pair
        stamp, origin = log_dot(last)
        reached = stamp - 1 if read.newest_first else stamp
        low, high = (read.low, reached) if read.newest_first else (reached, read.high)
        self._rest = Read(origin, low, high, read.newest_first)
        self._require_sound(records, read)
        return records, reached

    def _require_sound(self, records: list[bytes], read: Read) -> None:
        if all(map(is_sound, records)):
            return
        place = next(place for place, record in enumerate(records, 1) if not is_sound(record))
        keys = self._snapshot.scan_keys(*log_range(read.origin, read.low, read.high), reverse=read.newest_first)
        stamp, origin = log_dot(next(islice(keys, place - 1, None)))
        raise DamagedEntry(f"the entry at stamp {stamp} of origin {origin_name(origin)} is damaged")

    def close(self) -> None:
        self._pairs = iter(())
        self._snapshot.close()
