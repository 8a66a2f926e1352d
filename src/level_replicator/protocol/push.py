"""The sending side of a session: which parts of which origin's log are read next, and what is said of them.

A round covers all that one snapshot holds and the reader does not have: a list of intervals of stamps per
origin. The first round of a session goes newest first; the later ones, live, in order. What the
reader gets elsewhere meanwhile (its Have) is left out.
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
    """Read of the round's snapshot the log of `origin` in (low, high], from the top when `newest_first`."""

    origin: int
    low: int
    high: int
    newest_first: bool


class PullSender:
    """Of one pull of a session, whose `number` it is. `peer_vector`: the least that the reader is known to cover;
    `wanted`: the vector of its Want."""

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
        """Starts a round over the intervals of `work`; `target` is the vector of its snapshot."""
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
        # the first time all of it: whether we missed tombstones of the reader shows in what we do not know
        # told once: the reader has forgotten its Want by then, and so may we
        lines, missing = vector_difference(target, self._wanted or {})
        self._wanted = None
        return RoundStart(encode_vector(lines), self.number, encode_origins(missing))

    def reconcile_done(self) -> None:
        """The reader has reconciled with a snapshot instead of being sent a first round."""
        self.completed += 1

    def give_up(self) -> None:
        """The round under way is not gone on with."""
        self.under_way = False
        self._work = []

    def next_read(self) -> Read | None:
        """What to read next: of all origins the newest if newest first, else the oldest. None: nothing is left."""
        while self._work:
            order, origin, other = self._work[0]
            low, high = (other, -order) if self._newest_first else (order, other)
            low = max(low, self.peer_vector.get(origin, 0))
            if low < high:
                return Read(origin, low, high, self._newest_first)
            heappop(self._work)
        return None

    def read(self, read: Read, records: list[bytes], reached: int) -> Entries | None:
        """The message for what was read; None when there is nothing to say.

        `reached`: the bound that reading came to: `read.low` or `read.high` when it came to the end, by direction."""
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
