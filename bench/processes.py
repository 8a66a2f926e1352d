"""Worker processes: the parent's end. A worker runs functions of this package, and holds what they opened."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

EXIT_TIMEOUT_S = 30.0


class WorkerError(Exception):
    """A worker failed; its traceback is on stderr."""


class Worker:
    """A process of its own, ended with the `with` block."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "bench.worker")) -> None:
        self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As subprocess has it; None while it lives."""
        return self._process.returncode

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Runs a module's function in the worker, with its Context first; waits for the result, which is plain data.

        Raises WorkerError."""
        self.begin(function, **arguments)
        return self.result()

    def begin(self, function: Callable[..., Any], **arguments: Any) -> None:
        """The first half of `call`, for who has something to do meanwhile. Raises WorkerError."""
        self.send({"module": function.__module__, "function": function.__name__, "arguments": arguments})

    def send(self, call: dict[str, Any]) -> None:
        """A call as the worker reads it, for workers that are no Python. Raises WorkerError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{call['function']}: the worker is gone") from error

    def result(self) -> Any:
        """Of what was begun, or sent. Raises WorkerError."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise WorkerError("the worker ended in the middle of a call")
        return json.loads(answer)

    def pause(self) -> None:
        """It stands still, with all its threads; the kernel goes on taking connections for it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and waits for its end."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if kind is not None:
                self._process.kill()
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait(EXIT_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
