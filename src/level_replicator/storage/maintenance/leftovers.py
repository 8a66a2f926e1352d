"""Re-stamp left-over entries: entries above the vector that no pull will ever complete.

An interrupted scan leaves entries above the vector of their origin. Usually the same peer completes the scan later, and
then its vector covers them. If the peer is gone for good, or has a new origin after a power loss, no vector ever covers
them. Then the changes feed, which reads up to the vector, would never report them, no tombstone that has seen them
could be dropped, and each new session would send them again.

So entries whose situation has not changed for LEFTOVER_PATIENCE_MS are re-stamped: they keep their place in the order
of writes, and get a dot of this node, which its vector covers. This is safe at any time. The delay avoids its cost, a
new entry in every log. If there are very many, as after an interrupted first scan of a large peer, the delay is much
longer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from level_replicator.core.entry import decode_index, encode_dot
from level_replicator.core.errors import StorageError
from level_replicator.core.hlc import MAX_STAMP
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    FEW_LEFTOVERS,
    LEFTOVER_LONG_PATIENCE_MS,
    LEFTOVER_PATIENCE_MS,
    RETENTION_BATCH,
)
from level_replicator.core.version_vector import newer
from level_replicator.storage.state.log_reader import read_entry
from level_replicator.storage.state.schema import INDEX, log_dot, log_range
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.restamps import Restamps

_Situation = tuple[int, int, tuple[Interval, ...]]


@dataclass(slots=True)
class _Leftover:
    """Left-over entries of one origin.

    situation  (vector, newest stamp, applied intervals of scans): a pull of the entries would change it
    since_ms   monotonic time of the last change of the situation
    few        True if there are at most FEW_LEFTOVERS of them
    """

    situation: _Situation
    since_ms: int
    few: bool


class LeftoverWatch:
    """Decides when entries above the vector are re-stamped. Tests set `patience_ms` and `long_patience_ms`."""

    def __init__(self, state: ReplicationState) -> None:
        self.patience_ms = LEFTOVER_PATIENCE_MS
        self.long_patience_ms = LEFTOVER_LONG_PATIENCE_MS
        self._state = state
        self._known: dict[int, _Leftover] = {}

    def due(self, now_ms: int) -> list[int]:
        """Return the origins whose entries above the vector must be re-stamped now. `now_ms` is monotonic time."""
        state = self._state
        if state.bulk_loading or state.bulk_load_incomplete:
            self._known = {}
            return []
        with state.lock:
            above = newer(state.newest, state.vector)
            situations = {origin: self._situation(origin, newest) for origin, newest in above.items()}
        self._known = {origin: each for origin, each in self._known.items() if origin in situations}
        due = []
        for origin, situation in situations.items():
            leftover = self._known.get(origin)
            if leftover is None or leftover.situation != situation:
                self._known[origin] = _Leftover(situation, now_ms, self._are_few(origin))
                continue
            if now_ms - leftover.since_ms >= (self.patience_ms if leftover.few else self.long_patience_ms):
                due.append(origin)
        return due

    def _situation(self, origin: int, newest: int) -> _Situation:
        resume = self._state.resume.values()
        spans = tuple(span for origins in resume for span in origins.get(origin, ()))
        return self._state.vector.get(origin, 0), newest, spans

    def _are_few(self, origin: int) -> bool:
        bounds = log_range(origin, self._state.vector.get(origin, 0), MAX_STAMP)
        return all(count < FEW_LEFTOVERS for count, _ in enumerate(self._state.rs.scan_keys(*bounds)))


def restamp_leftovers(state: ReplicationState, origin: int, pause: Callable[[], bool]) -> int:
    """Re-stamp the entries of one origin that are above the vector, and return their number.

    Must not be called on the thread that applies entries of peers. `pause` is called between two batches, and ends the
    work by returning False."""
    done = 0
    more = True
    while more:
        with state.lock:
            state.check()
            count, more = _restamp_some(state, origin)
            done += count
            if not more and not state.bulk_loading:
                # lower than before; a later entry above it raises it again
                state.newest[origin] = max(state.vector.get(origin, 0), _newest_logged(state, origin))
        if more and not pause():
            break
    return done


def _restamp_some(state: ReplicationState, origin: int) -> tuple[int, bool]:
    """Re-stamp one batch of entries, oldest first. Return (number of entries, True if more are left)."""
    restamps = Restamps(state)
    more = False
    with Transaction(state, name="leftovers") as tx:
        for log_at, record in state.rs.scan(*log_range(origin, state.vector.get(origin, 0), MAX_STAMP)):
            if len(restamps) == RETENTION_BATCH or restamps.full:
                more = True
                break
            try:
                entry = read_entry(record)
            except StorageError:
                continue  # verify reports and repairs it
            packed = state.rs.get(INDEX + entry.key)
            row = None if packed is None else decode_index(packed)
            if row is None or row.dot != (entry.stamp, origin):
                continue
            tx.delete_log(origin, log_dot(log_at)[0])
            restamps.add(entry.key, entry.value, row.context, encode_dot(*row.written_dot))
        restamps.put_into(tx)
    return len(restamps), more


def _newest_logged(state: ReplicationState, origin: int) -> int:
    """Return the newest stamp of an origin in the log above the vector, 0 if there is none."""
    low = state.vector.get(origin, 0)
    last = next(iter(state.rs.scan_keys(*log_range(origin, low, MAX_STAMP), reverse=True)), None)
    return 0 if last is None else log_dot(last)[0]
