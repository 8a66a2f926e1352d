"""One node of the demo: a process that reports its status."""

from pathlib import Path
from typing import Any

import msgspec

from level_replicator.testing.node_process import NodeProcess
from level_replicator.testing.node_program import Operation

REPORT_INTERVAL_S = 0.15
START_TIMEOUT_S = 60.0


class PeerStatus(msgspec.Struct):
    """The part of `status()["peers"]` that the demo reads."""

    address: str
    origin: str | None
    state: str
    last_error: str | None
    behind: int | None
    bytes_in: int
    entries_in: int


class Status(msgspec.Struct):
    """The part of `status()` that the demo reads."""

    origin: str
    keys: int
    vector: dict[str, int]
    peers: list[PeerStatus]


class DemoNode(NodeProcess):
    """A node over all its runs. One thread at a time sends it work; any thread may read, kill and stop it.

    state   not started, starting, running, killed or stopped
    status  the last report; a new run keeps the one of the run before until it has reported
    """

    def __init__(self, name: str, folder: Path, servers: list[str]) -> None:
        super().__init__(folder, servers, name=name)
        self.state = "not started"
        self.status: Status | None = None
        self._reported = False
        self._past_entries = 0
        self._past_bytes = 0

    @property
    def database(self) -> Path:
        """The LevelDB that the user of the node sees."""
        return self.folder / "db"

    @property
    def received(self) -> tuple[int, int]:
        """Entries and bytes that came from peers, over all runs."""
        peers = self.status.peers if self.status is not None else []
        return (
            self._past_entries + sum(peer.entries_in for peer in peers),
            self._past_bytes + sum(peer.bytes_in for peer in peers),
        )

    def spawn(self, **extra: Any) -> None:
        self.state = "starting"
        self._reported = False
        super().spawn(**extra)

    def await_start(self) -> None:
        """Wait until the node listens and has reported its status. Raises ProcessError."""
        super().await_start()
        self.call("report", interval_s=REPORT_INTERVAL_S)
        self.process.wait_for(lambda: self._reported, "report", START_TIMEOUT_S)
        self.state = "running"

    def send(self, operations: list[Operation], *, atomic: bool) -> None:
        """Give the node work without waiting. Raises ProcessEnded."""
        self.process.send("write", operations=operations, atomic=atomic)

    def await_answers(self) -> None:
        """Wait until all work that was sent to this run is acknowledged. Raises ProcessError."""
        while self.process.unanswered:
            self.process.answer()

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process has ended. Idempotent; a node that was stopped stays so."""
        if self.state != "stopped":
            self.state = "killed"
            super().kill()

    def stop(self) -> None:
        super().stop()
        self.state = "stopped"

    def handle_event(self, event: dict[str, Any]) -> None:
        if not self._reported:
            # a new run counts from zero
            self._past_entries, self._past_bytes = self.received
            self._reported = True
        self.status = msgspec.convert(event["status"], Status)
