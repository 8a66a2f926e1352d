"""The send queue of one peer: intervals of the log that are still to be sent, not entries. The log itself is the queue.

However far a peer falls behind, the queue keeps only a few intervals of each origin in memory.
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
    """The send queue of one session that pulls from this node. All methods but `has_work` need the lock of the state.

    source          origin of the peer
    rows            approximate number of rows in its index
    began           whether its first round or reconciliation was opened; later rounds are live
    must_reconcile  whether the peer has to reconcile for another reason than the floor of the log: the log is damaged,
                    or the peer has requested it
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
        """Return the stamp up to which the peer knows everything of an origin once it has applied all that was sent."""
        if origin == self.source:
            return _ALL
        return max(peer_vector.get(origin, 0), self._sent.get(origin, 0))

    def completed(self) -> None:
        """The round, or reconciliation, that was opened last has been sent completely."""
        raise_to(self._sent, self._target)
        self._target = {}

    def open_reconciliation(self, state: ReplicationState) -> Vector:
        """Begin a reconciliation of the peer with our index. Returns the vector that the peer adopts at its end."""
        self.began, self.must_reconcile = True, False
        self._have, self._theirs, self._pending, self._moved = [], {}, {}, set()
        self._own_sent = state.vector.get(state.origin, 0)
        self._target = dict(state.vector)
        return dict(self._target)

    def has_work(self, state: ReplicationState) -> bool:
        """Return whether there is anything to send. It is cheap, since it is called after every write."""
        return (
            not self.began
            or self.must_reconcile
            or state.vector.get(state.origin, 0) > self._own_sent
            or bool(self._pending)
            or bool(self._moved)
        )

    def has_own_work(self, state: ReplicationState) -> bool:
        """Return whether there are writes of this node, or the first round, to send: no other node sends those."""
        return not self.began or self.must_reconcile or state.vector.get(state.origin, 0) > self._own_sent

    def add_intervals(self, origin: int, news: Iterable[Interval]) -> None:
        """Queue intervals that were applied here and that another peer has sent."""
        # the peer has its own writes; if it lost some, its vector shows this
        if origin == self.source:
            return
        pending = self._pending.setdefault(origin, Intervals())
        for low, high in news:
            pending.add(low, high)
        if len(pending) > MAX_SEND_QUEUE_INTERVALS:
            self._pending[origin] = Intervals([pending.hull()])

    def exclude_received(self, frame: EntriesReceived) -> None:
        """Do not send entries back that the peer itself has sent, even if its vector does not cover them yet.

        The entries are excluded one by one, since this node may have others between them; and only until the first
        round begins, since later rounds contain only intervals that came from other nodes."""
        if self.began or frame.high <= frame.resumable:
            return
        theirs = self._theirs.setdefault(frame.origin, Intervals())
        for entry in frame.entries:
            if entry.stamp > frame.resumable and len(theirs) < MAX_SEND_QUEUE_INTERVALS:
                theirs.add(entry.stamp - 1, entry.stamp)

    def add_vector_entries(self, origins: Iterable[int]) -> None:
        """Queue the vector entries of these origins, which have moved."""
        self._moved.update(origins)

    def open(self, state: ReplicationState, peer_vector: Vector) -> tuple[Vector, dict[int, Intervals]]:
        """Begin a round. Returns the vector entries that the peer adopts at its end, and the intervals to read for
        it."""
        vector, own = state.vector, state.origin
        if not self.began:
            self.began = True
            work = {
                origin: Intervals([(peer_vector.get(origin, 0), stamp)])
                for origin, stamp in newer(state.newest, peer_vector).items()
                if origin != self.source
            }
            for origin, low, high in self._have:
                # intervals of an earlier snapshot are complete only if this node covers them
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
    """Reads one round of a send queue from a snapshot of the log. A damaged entry is never returned."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rest: Read | None = None
        """The rest of an interval, whose entries are `_held` and then `_pairs`."""
        self._held: tuple[bytes, bytes] = (b"", b"")
        self._pairs: Iterator[tuple[bytes, bytes]] = iter(())

    def read(self, read: Read, most_entries: int, most_bytes: int) -> tuple[list[bytes], int]:
        """Return entries of an interval, and the bound up to which they are complete: at least one entry, if there is
        any.

        Raises DamagedEntry."""
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
                break  # a frame always has room for one entry of any size
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
