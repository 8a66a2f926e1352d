"""The receiving side of a pull: checks the messages of a peer before anything is applied.

A pull is a sequence of rounds. In a round the peer sends all entries of one snapshot of its log that we do not cover.
The vector of its RoundStart is adopted only when the round is complete: a part of a round says nothing about a vector,
because entries come newest first, and an entry is left out if another origin has a newer one of the same key.
"""

from collections.abc import Iterable
from itertools import islice
from operator import lt

from level_replicator.core.entry import Entry, decode_entry
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Intervals
from level_replicator.core.limits import MAX_FRAME_ENTRIES, MAX_ROUND_INTERVALS
from level_replicator.core.version_vector import Vector, apply_difference
from level_replicator.protocol.events import EntriesReceived, RoundCompleted
from level_replicator.protocol.messages import ByeCode, Entries


def refuse_future(newest: int, latest: int) -> None:
    """Raise RemoteProtocolError, which quarantines the peer, if a stamp is above `latest` (clock.latest_acceptable)."""
    if newest > latest:
        ahead_s = ((newest - latest) >> 16) / 1000
        raise RemoteProtocolError(
            f"a stamp is {ahead_s:.1f} s further ahead of the receiver's clock than max_clock_drift allows:"
            " set the clock right, of the sender or of the receiver",
            ByeCode.CLOCK,
        )


class PullReceiver:
    """The pulls of one session, one after the other.

    completed  number of complete rounds: after the first one the peer is live
    number     number of the current pull; messages of earlier ones, which may still arrive, are ignored
    """

    def __init__(self) -> None:
        self.completed = 0
        self.number = 0
        self._passing_over = False
        self._wanted: Vector | None = None
        self._target: Vector | None = None
        self._seen: dict[int, Intervals] = {}

    @property
    def target(self) -> Vector | None:
        """The vector to adopt at the end of the round that is under way; None: no round is under way."""
        return self._target

    def next_pull(self, wanted: Vector | None = None) -> int:
        """Begin another pull, from the vector `wanted`; None: pause. Returns its number."""
        self._wanted = wanted
        self._passing_over = self.number > 0
        self.number += 1
        self._target = None
        return self.number

    def abandon(self) -> None:
        """The peer abandons its round and begins a reconciliation."""
        self._wanted = None
        self._target = None

    def begin_round(self, vector: Vector, latest: int, number: int = 0, missing: Iterable[int] = ()) -> Vector | None:
        """Begin a round. Returns the vector that the peer had at its beginning; None: the round is of an earlier pull.

        Raises RemoteProtocolError."""
        if self._target is not None:
            raise RemoteProtocolError("RoundStart within a round: the earlier round is not complete")
        if number != self.number:
            if not self._passing_over:
                raise RemoteProtocolError(f"RoundStart of pull {number}; the current pull is {self.number}")
            return None
        refuse_future(max(vector.values(), default=0), latest)
        self._passing_over = False
        if self._wanted is not None:  # the first round has only the differences from the vector of StartPull
            vector, self._wanted = apply_difference(self._wanted, vector, missing), None
        self._target = vector
        self._seen = {}
        return vector

    def entries(self, message: Entries, latest: int) -> EntriesReceived | None:
        """Return the checked entries of a frame; None: they are of an earlier pull. Raises RemoteProtocolError; then
        nothing of the frame may be applied."""
        if self._passing_over:
            return None
        if self._target is None:
            raise RemoteProtocolError("Entries outside a round: no RoundStart precedes them")
        origin, low, high = message.origin, message.low, message.high
        if not 0 < origin < 1 << 64 or not 0 <= low < high < 1 << 64:
            raise RemoteProtocolError(
                f"Entries of origin {origin} in ({low}, {high}]: expected an origin above 0 and 0 <= low < high"
            )
        if not message.records:
            raise RemoteProtocolError("Entries without a record")
        refuse_future(high, latest)
        self._claim(origin, low, high)
        entries = decode_entries(message.records, low, high)
        resumable = min(high, self._target.get(origin, 0))
        return EntriesReceived(origin, low, high, entries, resumable, self._complete() if message.last else None)

    def round_ended(self) -> RoundCompleted | None:
        if self._passing_over:
            return None
        if self._target is None:
            raise RemoteProtocolError("RoundEnd outside a round")
        return RoundCompleted(self._complete())

    def _complete(self) -> Vector:
        target, self._target = self._target, None
        assert target is not None
        self.completed += 1
        return target

    def _claim(self, origin: int, low: int, high: int) -> None:
        """Record the interval. Raises RemoteProtocolError if it overlaps with one of the same round."""
        seen = self._seen.setdefault(origin, Intervals())
        if seen.overlaps(low, high):
            raise RemoteProtocolError(
                f"Entries of origin {origin} in ({low}, {high}], which overlaps with an earlier frame of the round"
            )
        seen.add(low, high)
        if len(seen) > MAX_ROUND_INTERVALS:
            raise RemoteProtocolError(f"round has more than {MAX_ROUND_INTERVALS} intervals of origin {origin}")


def decode_entries(records: list[bytes], low: int, high: int) -> list[Entry]:
    """Return the entries of a frame. Raises RemoteProtocolError unless their stamps are strictly ascending or
    descending in (low, high], and their keys differ."""
    if len(records) > MAX_FRAME_ENTRIES:
        raise RemoteProtocolError(f"Entries with {len(records)} records, at most {MAX_FRAME_ENTRIES} are allowed")
    entries = list(map(decode_entry, records))
    stamps, keys = [entry[0] for entry in entries], {entry[3] for entry in entries}
    if stamps:
        if stamps[0] > stamps[-1]:
            stamps.reverse()
        if stamps[0] <= low or stamps[-1] > high:
            raise RemoteProtocolError(f"Entries with a stamp outside their interval ({low}, {high}]")
        if not all(map(lt, stamps, islice(stamps, 1, None))):
            raise RemoteProtocolError("Entries whose stamps are not in order")
        if len(keys) != len(entries):
            raise RemoteProtocolError("Entries with two entries of one key: a log holds one for each key")
    return entries
