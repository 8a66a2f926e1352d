"""A node that is judged: a real process with sessions, a clock that may be wrong and a disk that may fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.harness.process import Dead, Process
from tests.integration.judges import disk
from tests.integration.judges.clock import WrongClock
from tests.integration.judges.session import Session


class Node(Process):
    """`faulty_disk`: whether the next start is one with a disk that can be made to fail."""

    module = "tests.integration.judges.child"

    def __init__(
        self,
        folder: Path,
        servers: list[str],
        *,
        clock: WrongClock | None = None,
        faulty_disk: bool = False,
        **config: Any,
    ) -> None:
        self.clock = clock
        self.faulty_disk = faulty_disk
        self._sessions_port: int | None = None
        super().__init__(folder, servers, **config)

    def start(self, **extra: Any) -> None:
        super().start(**extra)
        self._sessions_port = self.ask("sessions")["port"]

    def kill(self) -> None:
        self._sessions_port = None
        super().kill()

    def session(self) -> Session:
        """Open a session. Raises Dead when the node is down."""
        port = self._sessions_port
        if port is None:
            raise Dead
        return Session(port, self.folder.name)

    def suspend(self) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def _prefix(self) -> list[str]:
        return disk.PREFIX if self.faulty_disk else []

    def _environment(self) -> dict[str, str]:
        return self.clock.environment if self.clock else {}
