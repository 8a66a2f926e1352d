"""Runs a node in a process of its own, which can be killed at any instant and started again on its data."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from level_replicator.testing.node_program import Operation
from level_replicator.testing.process import Process, ProcessEnded

LOG_NAME = "stderr.log"
ANSWER_TIMEOUT_S = 120.0


class NodeProcess:
    """One node over all its runs. Each run listens on a new port, `port`.

    folder    contains the data of the node, and the stderr of all runs
    servers   addresses that the node dials; a change takes effect at the next start
    config    further configuration of the node
    runs      number of runs so far
    """

    module = "level_replicator.testing.node_program"
    """The program that the process runs."""
    log_name = LOG_NAME

    def __init__(self, folder: Path, servers: Iterable[str] = (), *, name: str = "", **config: Any) -> None:
        self.folder = folder
        self.name = name or f"node {folder.name}"
        self.servers = list(servers)
        self.config = config
        self.port = 0
        self.runs = 0
        self._process: Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> Process:
        """The process of this run, or of the last one. Raises ProcessEnded before the first start."""
        if self._process is None:
            raise ProcessEnded(f"{self.name} was never started")
        return self._process

    def start(self, **extra: Any) -> None:
        """Start the node and wait until it listens; `extra` is configuration of this run only. Raises ProcessError."""
        self.spawn(**extra)
        self.await_start()

    def spawn(self, **extra: Any) -> None:
        """Start the process without waiting for it, so that several can start at once. Call `await_start` next."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs += 1
        self._process = Process(
            [*self.prefix(), sys.executable, "-m", self.module, str(self.folder)],
            name=self.name,
            log=self.folder / self.log_name,
            environment=self.environment(),
            on_event=self.handle_event,
            answer_timeout_s=ANSWER_TIMEOUT_S,
        )
        servers: dict[str, Any] = {address: {} for address in self.servers}
        self._process.send("open", config={"servers": servers, "port": 0, **self.config, **extra})

    def await_start(self) -> None:
        """Wait until a spawned node listens. Raises ProcessError."""
        self.port = self.process.answer()["address"][1]

    def call(self, do: str, **arguments: Any) -> Any:
        """Send a request and return its answer. Raises ProcessError."""
        return self.process.call(do, **arguments)

    def write(self, *operations: Operation) -> None:
        """Write one operation alone, or several as a batch. Raises ProcessError."""
        self.call("write", operations=operations, atomic=len(operations) > 1)

    def contents(self) -> dict[bytes, bytes]:
        return dict(msgspec.convert(self.call("contents"), list[tuple[bytes, bytes]]))

    @property
    def vector(self) -> dict[str, int]:
        """The version vector: origin → stamp."""
        return dict(self.call("status")["vector"])

    def suspend(self) -> None:
        self.process.suspend()

    def resume(self) -> None:
        self.process.resume()

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process has ended. Idempotent; does nothing before the first start."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """Close the node and wait for the end of its process. Raises ProcessEnded unless it ends with status 0."""
        self.call("close")
        if self.process.close() != 0:
            raise ProcessEnded(f"{self.name} did not end with status 0: {self.process.how_it_ended()}")

    def prefix(self) -> list[str]:
        """Return words to put before the command of the process, such as a wrapper. The default has none."""
        return []

    def environment(self) -> Mapping[str, str]:
        """Return environment variables that the process has in addition to those of the parent."""
        return {}

    def handle_event(self, event: dict[str, Any]) -> None:
        """Handle an event of the program, on the thread that reads it. The default does nothing."""
