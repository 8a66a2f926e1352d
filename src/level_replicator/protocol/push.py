"""The sending side of a pull: decides which interval of which origin's log is read next.

A round consists of all intervals of one snapshot that the reader does not cover. The first round of a pull is sent
newest first; the later, live ones in ascending order. Entries that the reader gets from other nodes meanwhile, which
its VectorUpdate shows, are left out.
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from level_replicator.core.errors import LocalProtocolError, RemoteProtocolError
from level_replicator.core.intervals import Intervals
from level_replicator.core.limits import MAX_VECTOR_ORIGINS
from level_replicator.core.version_vector import Vector, encode_origins, encode_vector, raise_to, vector_difference
from level_replicator.protocol.messages import Entries, RoundEnd, RoundStart


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the log of `origin` in (low, high] from the snapshot of the round, descending if `newest_first`."""

    origin: int
    low: int
    high: int
    newest_first: bool


class PullSender:
    """The rounds of one pull.

    peer_vector  vector that the reader covers at least
    number       number of the pull
    wanted       vector of its StartPull
    """

    def __init__(self, peer_vector: Vector | None = None, number: int = 0, wanted: Vector | None = None) -> None:
        self.peer_vector: Vector = {} if peer_vector is None else peer_vector
        self.number = number
        self._wanted = wanted
        self.completed = 0
        self.under_way = False
        self._newest_first = True
        self._work: list[tuple[int, int, int]] = []  # a heap: (order, origin, other bound)

    def peer_has(self, vector: Vector) -> None:
        known = self.peer_vector
        raise_to(known, vector)
        if len(known) > MAX_VECTOR_ORIGINS:
            raise RemoteProtocolError(f"the peer named more than {MAX_VECTOR_ORIGINS} origins")

    def begin(self, target: Vector, work: dict[int, Intervals]) -> RoundStart:
        """Begin a round over the intervals of `work`. `target`: vector of its snapshot. Returns its first message."""
        if self.under_way:
            raise LocalProtocolError("a round is under way")
        self.under_way = True
        self._newest_first = self.completed == 0
        spans = [(origin, low, high) for origin, intervals in work.items() for low, high in intervals]
        if self._newest_first:
            self._work = [(-high, origin, low) for origin, low, high in spans]
        else:
            self._work = [(low, origin, high) for origin, low, high in spans]
        heapify(self._work)
        known = self.peer_vector
        if self.completed:
            target = {o: stamp for o, stamp in target.items() if stamp > known.get(o, 0)}
            return RoundStart(encode_vector(target), self.number)
        # the first round has the whole vector: origins that it lacks show whether we missed tombstones of the reader;
        # it is encoded as a difference from the vector of StartPull, which both sides then forget
        changed, missing = vector_difference(target, self._wanted or {})
        self._wanted = None
        return RoundStart(encode_vector(changed), self.number, encode_origins(missing))

    def reconcile_done(self) -> None:
        """The reader has reconciled with a snapshot, which replaces the first round."""
        self.completed += 1

    def give_up(self) -> None:
        """Abandon the round that is under way."""
        self.under_way = False
        self._work = []

    def next_read(self) -> Read | None:
        """Return the next interval to read: the newest of all origins in the first round, else the oldest. None: the
        round is complete."""
        while self._work:
            order, origin, other = self._work[0]
            low, high = (other, -order) if self._newest_first else (order, other)
            low = max(low, self.peer_vector.get(origin, 0))
            if low < high:
                return Read(origin, low, high, self._newest_first)
            heappop(self._work)
        return None

    def read(self, read: Read, records: list[bytes], reached: int) -> Entries | None:
        """Return the message for the records of a read; None if there are none.

        `reached`: the bound up to which the records are complete; after the whole interval `read.low` if newest first,
        else `read.high`."""
        heappop(self._work)
        if read.newest_first:
            low, high = reached, read.high
            if reached > read.low:
                heappush(self._work, (-reached, read.origin, read.low))
        else:
            low, high = read.low, reached
            if reached < read.high:
                heappush(self._work, (reached, read.origin, read.high))
        if not records:
            return None
        last = self.next_read() is None
        if last:
            self._complete()
        return Entries(read.origin, low, high, records, last)

    def round_ended(self) -> RoundEnd:
        self._complete()
        return RoundEnd()

    def _complete(self) -> None:
        self.under_way = False
        self.completed += 1
