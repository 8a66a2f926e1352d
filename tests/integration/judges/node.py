"""A node that is judged: a real process with sessions, a clock that can be wrong and a disk that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from level_replicator.testing.process import ProcessEnded
from tests.harness.process import ClusterNode
from tests.integration.judges import disk
from tests.integration.judges.clock import WrongClock
from tests.integration.judges.session import Session


class Node(ClusterNode):
    """`faulty_disk`: whether the disk of the next run can be made to fail."""

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

    def await_start(self) -> None:
        super().await_start()
        self._sessions_port = self.call("sessions")

    def kill(self) -> None:
        self._sessions_port = None
        super().kill()

    def session(self) -> Session:
        """Open a session. Raises ProcessEnded when the node is down."""
        port = self._sessions_port
        if port is None:
            raise ProcessEnded(f"{self.name} is down")
        return Session(port, self.folder.name)

    def prefix(self) -> list[str]:
        return disk.PREFIX if self.faulty_disk else []

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), **(self.clock.environment if self.clock else {})}
