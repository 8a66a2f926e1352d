"""Base of programs that receive requests on stdin and answer on stdout, one JSON object a line. Runs in the child.

    request   {"do": NAME, ARGUMENT: VALUE, ...}
    answer    {"answer": VALUE} or {"error": TEXT}, one for each request, in the order of the requests
    event     {"event": NAME, FIELD: VALUE, ...}, at any time

Bytes are Base64 strings. The program ends when stdin ends, so no program outlives the process that started it.
"""

import contextlib
import sys
import threading
import traceback
from typing import Any

import msgspec


class Program:
    """The loop over the requests. A subclass has a method `do_NAME` for each request, and its result is the answer."""

    def __init__(self) -> None:
        self._out_lock = threading.Lock()

    def handle_requests(self) -> None:
        """Handle one request after another, until stdin ends or nobody reads the answers any more.

        A request that raises is answered with the type and the text of the exception; its traceback goes to stderr.
        """
        with contextlib.suppress(BrokenPipeError):
            for line in sys.stdin.buffer:
                self._say(self._do(msgspec.json.decode(line)))

    def event(self, name: str, **fields: Any) -> None:
        """Report something that no request asked for. Any thread may call this. Raises BrokenPipeError."""
        self._say({"event": name, **fields})

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": getattr(self, f"do_{request.pop('do')}")(**request)}
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}

    def _say(self, message: dict[str, Any]) -> None:
        line = msgspec.json.encode(message) + b"\n"
        with self._out_lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
