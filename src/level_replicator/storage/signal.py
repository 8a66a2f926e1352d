"""A bell for threads that wait for the vector to move. Ringing it costs nothing while nobody waits."""

import threading
from collections.abc import Callable


class Signal:
    """`waiting`: how many do. Who moves the vector rings if it is not 0."""

    def __init__(self) -> None:
        self.waiting = 0
        self._changed = threading.Condition()

    def ring(self) -> None:
        """Not under the lock of the state, which those who wait take to look."""
        if self.waiting:
            with self._changed:
                self._changed.notify_all()

    def wait(self, come: Callable[[], bool], timeout_s: float | None) -> bool:
        """Until `come` holds; it is asked after each ring. False when the time ran out."""
        with self._changed:
            # before the first look: whoever moves the vector after it sees that somebody waits
            self.waiting += 1
            try:
                return self._changed.wait_for(come, timeout_s)
            finally:
                self.waiting -= 1
