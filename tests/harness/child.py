"""A node for tests as a program: `python -m tests.harness.child FOLDER`. It writes a workload, and can kill itself.

The configuration may have `kill_at`: [name of a step of a write, how many of these steps to let pass first].
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plyvel

import level_replicator as lrep
from level_replicator.install import _wall_ms
from level_replicator.testing.node_program import NodeProgram, Operation
from tests.harness import patience
from tests.harness.workload import steps
from tests.integration.cluster.authors import author_steps

PACE_S = 0.002
"""Pause between two writes: five writers without a pause would leave two cores no time for anything else."""
WORKLOADS = {"steps": steps, "authors": author_steps}


class Child(NodeProgram):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._kill_at: str | None = None
        self._let_pass = 0
        self._pausing = threading.Event()
        self._writer: threading.Thread | None = None
        self._error: str | None = None  # of the workload

    def open_replica(self, config: dict[str, Any]) -> lrep.Replica:
        patience.defaults()["cap_s"] = patience.CAP_S
        self._kill_at, self._let_pass = config.pop("kill_at", (None, 0))
        db = plyvel.DB(str(self.folder / "db"), create_if_missing=True)
        rs = plyvel.DB(str(self.folder / "rs"), create_if_missing=True)
        return lrep.install(db, rs, config, _wall_ms=_wall_ms, _on_step=self._step)

    def do_run(self, seed: int, node: int, first: int, workload: str = "steps", pace_s: float = PACE_S) -> None:
        """Write a workload from its serial `first` on, and report each acknowledged serial, until `pause`."""
        self._pausing.clear()
        work = WORKLOADS[workload](seed, node, first)
        self._writer = threading.Thread(target=self._run, args=(work, pace_s))
        self._writer.start()

    def do_pause(self) -> str | None:
        """Stop writing, and return the error that ended the workload before, if one did."""
        self._pausing.set()
        if self._writer is not None:
            self._writer.join()
        return self._error

    def do_close(self) -> None:
        self.do_pause()
        super().do_close()

    def _run(self, work: Iterator[tuple[int, list[Operation]]], pace_s: float) -> None:
        for serial, operations in work:
            if self._pausing.is_set():
                return
            try:
                self.write(operations, atomic=len(operations) > 1)
            except lrep.ReplicationError as error:
                self._error = repr(error)
                return
            self.event("acked", serial=serial)
            self._pausing.wait(pace_s)

    def _step(self, name: str) -> None:
        if name != self._kill_at:
            return
        if self._let_pass == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._let_pass -= 1


if __name__ == "__main__":
    Child(Path(sys.argv[1])).run()
