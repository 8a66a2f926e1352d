"""The program of a node (see program.py): `python -m level_replicator.testing.node_program FOLDER`."""

import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

import level_replicator as lrep
from level_replicator.testing.program import Program

Operation = tuple[bytes, bytes | None]
"""A key and its value, None to delete it."""


class NodeProgram(Program):
    """Handles the requests of a node. `do_open` opens the node in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._replica: lrep.Replica | None = None
        self._closing = threading.Event()
        self._reporter: threading.Thread | None = None

    @property
    def replica(self) -> lrep.Replica:
        assert self._replica is not None, "the node is not open"
        return self._replica

    def run(self) -> None:
        """Handle requests until stdin ends, then close the node."""
        try:
            self.handle_requests()
        finally:
            self.do_close()

    def open_replica(self, config: dict[str, Any]) -> lrep.Replica:
        return lrep.open(self.folder, config)

    def do_open(self, config: dict[str, Any]) -> dict[str, Any]:
        """Open the node and return the address where it listens."""
        self._replica = self.open_replica(config)
        return {"address": self._replica.address}

    def do_report(self, interval_s: float) -> None:
        """Report the status as an event now, and every `interval_s` seconds until the node is closed."""
        self._reporter = threading.Thread(target=self._report, args=(interval_s,), name="reporter")
        self._reporter.start()

    def do_status(self) -> Any:
        return self.replica.status()

    def do_contents(self) -> list[tuple[bytes, bytes]]:
        return list(self.replica)

    def do_write(self, operations: list[Any], atomic: bool) -> None:
        """Write `operations` in order; with `atomic` as one batch."""
        self.write(msgspec.convert(operations, list[Operation]), atomic=atomic)

    def write(self, operations: list[Operation], *, atomic: bool) -> None:
        """Write `operations` in order; with `atomic` as one batch. Raises ReplicationError."""
        if atomic:
            with self.replica.write_batch() as batch:
                _write_to(batch, operations)
        else:
            _write_to(self.replica, operations)

    def do_truncate(self) -> int:
        return self.replica.truncate()

    def do_close(self) -> None:
        """Close the node. Idempotent."""
        self._closing.set()
        if self._reporter is not None:
            self._reporter.join()
        if self._replica is not None:
            self._replica.close()

    def _report(self, interval_s: float) -> None:
        try:
            while not self._closing.is_set():
                self.event("status", status=self.replica.status())
                self._closing.wait(interval_s)
        except BrokenPipeError:
            return  # the parent is gone: stdin has ended as well, and so will the program


def _write_to(target: Any, operations: list[Operation]) -> None:
    for key, value in operations:
        if value is None:
            target.delete(key)
        else:
            target.put(key, value)


if __name__ == "__main__":
    NodeProgram(Path(sys.argv[1])).run()
