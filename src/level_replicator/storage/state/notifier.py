"""Notification of readers that wait for the vector to move. It costs nothing while none waits."""

import threading
from collections.abc import Callable


class Notifier:
    """Wakes readers. `waiting`: their number. A thread that moves the vector calls `ring` if it is not 0."""

    def __init__(self) -> None:
        self.waiting = 0
        self._changed = threading.Condition()
        self._calls: list[Callable[[], None]] = []

    def ring(self) -> None:
        """Wake all readers. Must not be called under the lock of the state, which they acquire to read."""
        if self.waiting:
            with self._changed:
                self._changed.notify_all()
                calls, self._calls = self._calls, []
                self.waiting -= len(calls)
            for call in calls:
                call()

    def call_at_next(self, call: Callable[[], None]) -> None:
        """Call `call` once, at the next `ring`, from the thread that rings: for a reader without a thread to wait with.
        The reader has to check once more after this, since the vector may have moved before."""
        with self._changed:
            self._calls.append(call)
            self.waiting += 1

    def dont_call(self, call: Callable[[], None]) -> None:
        """Cancel a `call_at_next` that has not been called yet."""
        with self._changed:
            if call in self._calls:
                self._calls.remove(call)
                self.waiting -= 1

    def wait(self, come: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `come` returns True; it is called first, and after each ring. Return False after the timeout."""
        with self._changed:
            # before the first check: a thread that moves the vector after it sees that a reader waits
            self.waiting += 1
            try:
                return self._changed.wait_for(come, timeout_s)
            finally:
                self.waiting -= 1
