"""Limits how many refusals are reported, so that many refused connections do not flood the log and the events."""

from level_replicator.core.limits import REFUSALS_REPORTED_PER_S


class RefusalLimiter:
    """Allows at most REFUSALS_REPORTED_PER_S in any second of the caller's clock."""

    def __init__(self) -> None:
        self._unreported = 0
        self._second = -1
        self._reported = 0

    def may_report(self, now_ms: int) -> bool:
        """Return True if one more refusal may be reported now; otherwise count it as unreported."""
        second = now_ms // 1000
        if second != self._second:
            self._second, self._reported = second, 0
        if self._reported >= REFUSALS_REPORTED_PER_S:
            self._unreported += 1
            return False
        self._reported += 1
        return True

    def take_unreported(self) -> int:
        """Return the number of refusals that were not reported since the last call."""
        unreported, self._unreported = self._unreported, 0
        return unreported
