"""Wait for a condition that no event reports. The deadline only ends a test that would hang."""

import time
from collections.abc import Callable

DEADLINE_S = 60.0


def wait_until(holds: Callable[[], bool], what: Callable[[], object] | str) -> None:
    """Wait until `holds()`; `what` describes the condition in the AssertionError that is raised after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what if isinstance(what, str) else what()}")
        time.sleep(0.005)
