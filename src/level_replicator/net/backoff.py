"""How long to wait before dialling again: doubling, capped, jittered so that nodes do not dial in step."""

from random import Random

from level_replicator.core.limits import BACKOFF_CAP_S, BACKOFF_FIRST_S


class Backoff:
    """Of one server. Never gives up."""

    def __init__(self, random: Random, *, first_s: float = BACKOFF_FIRST_S, cap_s: float = BACKOFF_CAP_S) -> None:
        self._random = random
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often it was waited since the last reset."""
        return self._failures

    def reset(self) -> None:
        """After a connection that lived."""
        self._failures = 0

    def next_s(self) -> float:
        """Seconds to wait now: between half of the current step and the whole of it."""
        step = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return step * (0.5 + self._random.random() / 2)
