"""When a pull is begun again although nothing has changed: later each time, and never at once.

A reconciliation may change nothing, or may have to leave something out. If nothing has changed since, the next one
comes to the same result, so it has to wait, each time longer. This is remembered with the peer, not with the
connection: a reconciliation that always ends with its connection is no different.
"""

from random import Random

from level_replicator.core.limits import PULL_AGAIN_CAP_MS, PULL_AGAIN_FIRST_MS
from level_replicator.core.versions import Vector
from level_replicator.runtime.backoff import Backoff


class PullBackoff:
    """The waiting times of pulls from one peer: doubling from PULL_AGAIN_FIRST_MS to PULL_AGAIN_CAP_MS, with jitter."""

    def __init__(self, random: Random) -> None:
        self._backoff = Backoff(random, first_s=PULL_AGAIN_FIRST_MS / 1000, cap_s=PULL_AGAIN_CAP_MS / 1000)
        self._fruitless: int | None = None

    def next_ms(self) -> int:
        """Returns how long to wait now; the next time it is longer."""
        return max(1, int(self._backoff.next_s() * 1000))

    def reset(self) -> None:
        """Something of the peer was taken over."""
        self._backoff.reset()
        self._fruitless = None

    def changed_nothing(self, situation: int) -> None:
        """A reconciliation in this situation ended, or broke off, without any effect."""
        self._fruitless = situation

    def is_repetition(self, situation: int) -> bool:
        """Returns True if the last reconciliation changed nothing, and the situation is still the same."""
        return self._fruitless == situation


def situation_of(ours: Vector, our_horizon: Vector, theirs: Vector, their_horizon: Vector) -> int:
    """Returns a number for what both sides know. A reconciliation in the same situation has the same result."""
    return hash(tuple(frozenset(each.items()) for each in (ours, our_horizon, theirs, their_horizon)))
