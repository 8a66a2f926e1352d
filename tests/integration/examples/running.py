"""Start programs, exchange lines with them, and end them."""

import json
import os
import queue
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.waiting import DEADLINE_S

EXAMPLES = Path(__file__).parents[3] / "examples"


class Program:
    """A program whose lines of standard output are read as they come; standard error goes to a file."""

    def __init__(self, command: list[str], folder: Path, errors: Path, **environment: str) -> None:
        self._errors = errors.open("w")
        self.errors = errors
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        line = self._lines.get(timeout=DEADLINE_S)
        assert line is not None, self.errors.read_text()
        return line

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        """End standard input, and wait until the program ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        for each in (self.process.stdin, self.process.stdout, self._errors):
            assert each is not None
            each.close()


@contextmanager
def running(command: list[str], folder: Path, errors: Path, **environment: str) -> Iterator[Program]:
    program = Program(command, folder, errors, **environment)
    try:
        yield program
    finally:
        program.end()


def ask(url: str, method: str = "GET", body: object = None) -> Any:
    """Return the JSON answer of a server; None while no server answers, or if it answers with an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            text = answer.read()
            return json.loads(text) if text else ""
    except (urllib.error.URLError, ConnectionError):
        return None
