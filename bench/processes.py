"""Worker processes: the parent's end. A worker runs functions of this package, and holds what they opened."""

import json
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

EXIT_TIMEOUT_S = 30.0


class WorkerError(Exception):
    """A worker failed; its traceback is on stderr."""


class Worker:
    """A process of its own, ended with the `with` block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Runs a module's function in the worker, with its Context first; waits for the result, which is plain data.

        Raises WorkerError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        call = {"module": function.__module__, "function": function.__name__, "arguments": arguments}
        try:
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{function.__name__}: the worker is gone") from error
        answer = self._process.stdout.readline()
        if not answer:
            raise WorkerError(f"{function.__name__} ended with its process")
        return json.loads(answer)

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
            self._process.stdin.close()
            self._process.wait(EXIT_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
