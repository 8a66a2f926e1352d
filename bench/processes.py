"""The parent's end of a worker: a process that runs functions of this package, and holds what they opened."""

import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from level_replicator.testing.process import Process


class Worker:
    """A process of its own, which ends with the `with` block. Its stderr is the parent's."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "bench.worker")) -> None:
        self._process = Process(command, name="a worker")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative after a signal; None while the process lives."""
        return self._process.returncode

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Run a module's function in the worker, with its Context as the first argument; return its result, plain data.

        Raises ProcessEnded, and RequestFailed if the function raised: its traceback is on stderr."""
        self.begin(function, **arguments)
        return self.result()

    def begin(self, function: Callable[..., Any], **arguments: Any) -> None:
        """Do the first half of `call`: do not wait for the result. Raises ProcessEnded."""
        self.send(function.__name__, arguments, module=function.__module__)

    def send(self, function: str, arguments: dict[str, Any], **more: str) -> None:
        """Send a call by name, for workers that are not written in Python. Raises ProcessEnded."""
        self._process.send("call", function=function, arguments=arguments, **more)

    def result(self) -> Any:
        """Return the result of the request that was sent last. Raises ProcessEnded and RequestFailed."""
        return self._process.answer()

    def pause(self) -> None:
        """Stop all its threads; the kernel still accepts connections for it."""
        self._process.suspend()

    def resume(self) -> None:
        self._process.resume()

    def kill(self) -> None:
        """Send SIGKILL, and wait until it has ended."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)
