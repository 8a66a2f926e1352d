"""A node for tests in a real process, with a workload of its own (child.py)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from level_replicator.testing.node_process import NodeProcess
from tests.harness.local_node import HEARTBEAT_S
from tests.harness.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]


class ClusterNode(NodeProcess):
    """`acked`: the last serial of its workload that was acknowledged, over all runs; -1 before the first."""

    module = "tests.harness.child"

    def __init__(self, folder: Path, servers: Iterable[str] = (), **config: Any) -> None:
        super().__init__(folder, servers, **{"heartbeat": HEARTBEAT_S, **config})
        self.acked = -1

    def run(self, seed: int, number: int, **options: Any) -> None:
        """Let it write its workload from where it was. Raises ProcessError."""
        self.call("run", seed=seed, node=number, first=self.acked + 1, **options)

    def wait_acked(self, more: int) -> None:
        """Wait until the workload has come `more` serials further. Raises ProcessError."""
        goal = self.acked + more
        self.process.wait_for(lambda: self.acked >= goal, f"write {more} more", DEADLINE_S)

    def died(self) -> int:
        """Wait until the process has ended unasked, and return its exit status."""
        return self.process.wait(DEADLINE_S)

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}

    def handle_event(self, event: dict[str, Any]) -> None:
        self.acked = event["serial"]
