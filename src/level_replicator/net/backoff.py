"""Exponential backoff with a cap and jitter. The jitter keeps nodes from dialling at the same moments."""

from random import Random

from level_replicator.core.limits import BACKOFF_CAP_S, BACKOFF_FIRST_S


class Backoff:
    """The delays between attempts to dial one server. The number of attempts is not limited.

    `first_s` and `cap_s` are the first and the longest delay in seconds, before jitter."""

    def __init__(self, random: Random, *, first_s: float = BACKOFF_FIRST_S, cap_s: float = BACKOFF_CAP_S) -> None:
        self._random = random
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Number of delays since the last reset."""
        return self._failures

    def reset(self) -> None:
        """Start again with the first delay. Call this after a successful connection."""
        self._failures = 0

    def next_delay_s(self) -> float:
        """Return the next delay in seconds: a random number between half of the current step and the whole step."""
        step = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return step * (0.5 + self._random.random() / 2)
