"""Until something holds that no event tells of. The deadline only ends a test that would hang."""

import time
from collections.abc import Callable

DEADLINE_S = 60.0


def wait_until(holds: Callable[[], bool], what: Callable[[], object] | str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what if isinstance(what, str) else what()}")
        time.sleep(0.005)
