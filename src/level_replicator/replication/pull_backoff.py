"""When a pull is begun again although nothing has changed: later each time, and never at once.

A reconciliation may change nothing, or may have to leave something out. If nothing has changed since, the next one
comes to the same result, so it has to wait, each time longer. This is remembered with the peer, not with the
connection: a reconciliation that always ends with its connection is no different.
"""

from enum import Enum
from random import Random

from level_replicator.core.limits import PULL_RETRY_CAP_MS, PULL_RETRY_FIRST_MS
from level_replicator.core.version_vector import Vector
from level_replicator.net.backoff import Backoff


class RetryReason(Enum):
    """Why the next pull has to wait: what the last one was."""

    DOUBT = "a pull that left out values, which may be older than deletions that this node has forgotten"
    LACKING = "a reconciliation in which the peer could not give damaged entries (it should run verify with repair)"
    FRUITLESS = "a reconciliation that changed nothing"
    BROKEN_OFF = "a reconciliation that broke off before it had changed anything"


class PullBackoff:
    """The delays of pulls from one peer. They double from PULL_RETRY_FIRST_MS to PULL_RETRY_CAP_MS, with jitter.

    why  reason of the last delay
    """

    def __init__(self, random: Random) -> None:
        self.why = RetryReason.DOUBT
        self._backoff = Backoff(random, first_s=PULL_RETRY_FIRST_MS / 1000, cap_s=PULL_RETRY_CAP_MS / 1000)
        self._fruitless: int | None = None
        self._not_before_ms = 0

    def put_off(self, why: RetryReason, now_ms: int) -> int:
        """A pull has ended without its effect. Returns when the next one may begin."""
        self.why = why
        self._not_before_ms = now_ms + max(1, int(self._backoff.next_delay_s() * 1000))
        return self._not_before_ms

    @property
    def retries(self) -> bool:
        """Whether pulls have been put off since something of the peer was taken over last."""
        return self._backoff.failures > 0

    def changed_nothing(self, situation: int) -> None:
        """That pull was a reconciliation in this situation, and had no effect at all."""
        self._fruitless = situation

    def reset(self) -> None:
        """Something of the peer was taken over."""
        self._backoff.reset()
        self._fruitless = None

    def is_repetition(self, situation: int) -> bool:
        """Returns True if the last reconciliation changed nothing, and the situation is still the same."""
        return self._fruitless == situation

    def not_before(self, situation: int) -> int:
        """Returns when a reconciliation in this situation may begin; 0: at any time."""
        return self._not_before_ms if self.is_repetition(situation) else 0


def situation_of(ours: Vector, our_horizon: Vector, theirs: Vector, their_horizon: Vector) -> int:
    """Returns a number for what both sides know. A reconciliation in the same situation has the same result."""
    return hash(tuple(frozenset(each.items()) for each in (ours, our_horizon, theirs, their_horizon)))
