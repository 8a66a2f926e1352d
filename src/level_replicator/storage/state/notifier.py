"""A bell for those who wait for the vector to move. Ringing it costs nothing while nobody waits."""

import threading
from collections.abc import Callable


class Notifier:
    """`waiting`: how many do. Who moves the vector rings if it is not 0."""

    def __init__(self) -> None:
        self.waiting = 0
        self._changed = threading.Condition()
        self._calls: list[Callable[[], None]] = []

    def ring(self) -> None:
        """Not under the lock of the state, which those who wait take to look."""
        if self.waiting:
            with self._changed:
                self._changed.notify_all()
                calls, self._calls = self._calls, []
                self.waiting -= len(calls)
            for call in calls:
                call()

    def call_at_next(self, call: Callable[[], None]) -> None:
        """For who has no thread to wait with. The call comes from the thread that rings; look once more after this."""
        with self._changed:
            self._calls.append(call)
            self.waiting += 1

    def dont_call(self, call: Callable[[], None]) -> None:
        """Takes `call_at_next` back, if it has not come."""
        with self._changed:
            if call in self._calls:
                self._calls.remove(call)
                self.waiting -= 1

    def wait(self, come: Callable[[], bool], timeout_s: float | None) -> bool:
        """Until `come` holds; it is asked after each ring. False when the time ran out."""
        with self._changed:
            # before the first look: whoever moves the vector after it sees that somebody waits
            self.waiting += 1
            try:
                return self._changed.wait_for(come, timeout_s)
            finally:
                self.waiting -= 1
