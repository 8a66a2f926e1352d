"""Exponential backoff of pulls that had no effect.

A reconciliation may change nothing, or may have to leave entries out. If neither node has changed since, the next one
has the same result, so it has to wait, each time longer. The backoff belongs to the peer, not to the connection, since
a reconciliation may fail with its connection each time.
"""

from enum import Enum
from random import Random

from level_replicator.core.limits import PULL_RETRY_CAP_MS, PULL_RETRY_FIRST_MS
from level_replicator.core.version_vector import Vector
from level_replicator.net.backoff import Backoff


class RetryReason(Enum):
    """Why the next pull has to wait: the result of the last one."""

    DOUBT = "a pull that left out values, which may be older than deletions that this node has forgotten"
    LACKING = "a reconciliation in which the peer could not send damaged entries (run verify with repair on the peer)"
    FRUITLESS = "a reconciliation that changed nothing"
    BROKEN_OFF = "a reconciliation that was interrupted before it had changed anything"


class PullBackoff:
    """Backoff for one peer. The delays double from PULL_RETRY_FIRST_MS to PULL_RETRY_CAP_MS, with jitter.

    `why`: reason of the last delay."""

    def __init__(self, random: Random) -> None:
        self.why = RetryReason.DOUBT
        self._backoff = Backoff(random, first_s=PULL_RETRY_FIRST_MS / 1000, cap_s=PULL_RETRY_CAP_MS / 1000)
        self._fruitless: int | None = None
        self._not_before_ms = 0

    def put_off(self, why: RetryReason, now_ms: int) -> int:
        """Delay the next pull, since the last one had no effect. Return the time, ms, when it may begin."""
        self.why = why
        self._not_before_ms = now_ms + max(1, int(self._backoff.next_delay_s() * 1000))
        return self._not_before_ms

    @property
    def retries(self) -> bool:
        """Whether pulls were delayed since the last one that changed this node."""
        return self._backoff.failures > 0

    def changed_nothing(self, situation: int) -> None:
        """Record that the last pull was a reconciliation in this situation, and had no effect."""
        self._fruitless = situation

    def reset(self) -> None:
        """Begin with the first delay again, since a pull has changed this node."""
        self._backoff.reset()
        self._fruitless = None

    def is_repetition(self, situation: int) -> bool:
        """Return True if the last reconciliation changed nothing, and the situation is still the same."""
        return self._fruitless == situation

    def not_before(self, situation: int) -> int:
        """Return the time, ms, when a reconciliation in this situation may begin; 0: at any time."""
        return self._not_before_ms if self.is_repetition(situation) else 0


def situation_of(ours: Vector, our_horizon: Vector, theirs: Vector, their_horizon: Vector) -> int:
    """Return a hash of the vectors and horizons of both sides. A reconciliation in the same situation has the same
    result."""
    return hash(tuple(frozenset(each.items()) for each in (ours, our_horizon, theirs, their_horizon)))
