"""Refusals that are told: a flood of strangers must not become a flood of log lines and events."""

from level_replicator.core.limits import REFUSALS_REPORTED_PER_S


class RefusalLimiter:
    """At most REFUSALS_REPORTED_PER_S in any second of the clock that is given."""

    def __init__(self) -> None:
        self.untold = 0
        """Since the last one that was told."""
        self._second = -1
        self._told = 0

    def may_report(self, now_ms: int) -> bool:
        second = now_ms // 1000
        if second != self._second:
            self._second, self._told = second, 0
        if self._told >= REFUSALS_REPORTED_PER_S:
            self.untold += 1
            return False
        self._told += 1
        return True

    def take_unreported(self) -> int:
        untold, self.untold = self.untold, 0
        return untold
