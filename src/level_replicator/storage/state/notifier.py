"""Notification of readers that wait until the vector is raised. It costs nothing while none waits."""

import threading
from collections.abc import Callable


class Notifier:
    """Wakes readers. `waiting` is their number; a thread that raises the vector calls `ring` unless it is 0."""

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
        """Call `call` once, at the next `ring`, on the thread that rings. For a reader that cannot block a thread.

        The reader must check once more after this, since the vector may have been raised before."""
        with self._changed:
            self._calls.append(call)
            self.waiting += 1

    def dont_call(self, call: Callable[[], None]) -> None:
        """Cancel a `call_at_next` that has not been called yet."""
        with self._changed:
            if call in self._calls:
                self._calls.remove(call)
                self.waiting -= 1

    def wait(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `condition()`, which is called first and after each ring. Return False after the timeout."""
        with self._changed:
            # before the first check, so that a thread which raises the vector after the check sees a waiting reader
            self.waiting += 1
            try:
                return self._changed.wait_for(condition, timeout_s)
            finally:
                self.waiting -= 1
