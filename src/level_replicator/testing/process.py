"""Runs a program that handles requests (program.py) in a child process, and calls, suspends, resumes and kills it.

A thread reads answers and events as they arrive, so that the end of the program is noticed at once.
"""

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

CLOSE_TIMEOUT_S = 60.0
"""Longest time to wait for an orderly end."""
LOG_LINES_SHOWN = 15
_REAP_TIMEOUT_S = 1.0
"""The pipe of a killed process may be closed a moment before its exit status is available."""


class ProcessError(Exception):
    """A request to a program failed. The text names the program and the request."""


class ProcessEnded(ProcessError):
    """The program ended before it answered. The text says how it ended, and shows the end of its stderr."""


class RequestFailed(ProcessError):
    """The program answered a request with an error. The text contains the type and text of its exception."""


class ProcessTimeout(ProcessError):
    """The program is running but did not answer in time. The text shows the end of its stderr."""


class Process:
    """One run of a program. Several requests may wait for their answers, which come in the order of the requests.

    One thread at a time may send requests and read answers; any thread may use the other methods.

    command           the program and its arguments
    name              name of the process in messages
    log               file to which stderr is appended; None: stderr of the parent
    environment       variables in addition to the parent's environment
    on_event          called with each event, on the reading thread
    answer_timeout_s  longest time to wait for an answer, in seconds; None: no limit
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        answer_timeout_s: float | None = None,
    ) -> None:
        self.name = name
        self._log = log
        self._log_start = log.stat().st_size if log is not None and log.exists() else 0
        self._on_event = on_event
        self._answer_timeout_s = answer_timeout_s
        self._changed = threading.Condition()
        self._unanswered: collections.deque[str] = collections.deque()
        self._answers: collections.deque[dict[str, Any]] = collections.deque()
        self._ended = False
        with contextlib.ExitStack() as stack:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if log is None else stack.enter_context(log.open("ab")),
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its processes itself
            )
        self._reader = threading.Thread(target=self._read, name=f"{name} reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative after a signal; None while the process lives."""
        return self._child.returncode

    def call(self, do: str, **arguments: Any) -> Any:
        """Send a request and return its answer. Raises as `answer`."""
        self.send(do, **arguments)
        return self.answer()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request without waiting for its answer. Raises ProcessEnded."""
        assert self._child.stdin is not None
        with self._changed:
            self._unanswered.append(do)
        try:
            self._child.stdin.write(msgspec.json.encode({"do": do, **arguments}) + b"\n")
            self._child.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._ended_before(do) from error

    def answer(self) -> Any:
        """Return the answer to the oldest unanswered request. Raises ProcessError."""
        with self._changed:
            do = self._unanswered[0]
            self._changed.wait_for(lambda: self._answers or self._ended, self._answer_timeout_s)
            if self._answers:
                self._unanswered.popleft()
                answer = self._answers.popleft()
                if "error" in answer:
                    raise RequestFailed(f"{self.name} could not {do}: {answer['error']}")
                return answer.get("answer")
            ended = self._ended
        if ended:
            raise self._ended_before(do)
        raise ProcessTimeout(f"{self.name} has not answered {do!r} for {self._answer_timeout_s:g} s{self._stderr()}")

    @property
    def unanswered(self) -> int:
        """The number of requests whose answers `answer` has not returned yet."""
        return len(self._unanswered)

    def wait_for(self, holds: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until `holds()`, which is called after each event. `what` describes the condition in messages.

        Raises ProcessEnded if the program ends first, and ProcessTimeout."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds() or self._ended, timeout_s):
                raise ProcessTimeout(f"{self.name}: not within {timeout_s:g} s: {what}{self._stderr()}")
            if holds():
                return
        raise self._ended_before(what)

    def suspend(self) -> None:
        """Stop the process with SIGSTOP. Its sockets stay open, and the kernel still accepts connections for it."""
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process continue."""
        self._child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process has ended. Idempotent."""
        self._child.kill()
        self._finish()

    def wait(self, timeout_s: float = CLOSE_TIMEOUT_S) -> int:
        """Wait until the process ends without a request, and return its exit status. Raises ProcessTimeout."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessTimeout(f"{self.name} has not ended for {timeout_s:g} s{self._stderr()}") from None
        self._finish()
        return self._child.returncode

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> int:
        """End stdin, wait until the program has ended, and return its exit status. Raises ProcessTimeout."""
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        return self.wait(timeout_s)

    def how_it_ended(self) -> str:
        """Return the signal or the status with which the process ended, and the end of its stderr."""
        how = "it is still running"
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._child.wait(_REAP_TIMEOUT_S)
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return how + self._stderr()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.kill()

    def _read(self) -> None:
        assert self._child.stdout is not None
        try:
            for line in self._child.stdout:
                if not line.endswith(b"\n"):
                    break  # the program was killed while it wrote
                message = msgspec.json.decode(line, type=dict[str, Any])
                with self._changed:
                    if "event" not in message:
                        self._answers.append(message)
                    elif self._on_event is not None:
                        self._on_event(message)
                    self._changed.notify_all()
        finally:  # also after a line that is not a JSON object: no caller may wait for ever
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _finish(self) -> None:
        self._child.wait()
        self._reader.join()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _ended_before(self, what: str) -> ProcessEnded:
        return ProcessEnded(f"{self.name} ended before {what!r} was done, {self.how_it_ended()}")

    def _stderr(self) -> str:
        """Return the last lines that this run has written to its log, in a form to append to a message."""
        if self._log is None:
            return ""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = collections.deque(log, LOG_LINES_SHOWN)
        shown = [line.decode(errors="replace").rstrip() for line in lines]
        return "\n    ".join(["; its stderr ends with", *shown]) if shown else ""
