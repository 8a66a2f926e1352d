"""A replica in a process of its own: `python -m tests.harness.child FOLDER CONFIG`, JSON lines on stdin and stdout.

CONFIG is JSON: the replica's, and `kill_at`: [name of a step, how many of it to let pass] at which the process kills
itself. In: {"do": status | contents | write | run | pause | truncate | close, ...}. Out: an answer each, and
{"acked": serial} while it runs.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.install import _wall_ms
from tests.harness import patience
from tests.harness.workload import Operation, steps
from tests.integration.cluster.authors import author_steps

PACE_S = 0.002
"""Between two writes: five writers without a pause would leave two cores no time for anything else."""
WORKLOADS = {"steps": steps, "authors": author_steps}


class Child:
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._kill_at, self._let_pass = config.pop("kill_at", (None, 0))
        self._say_lock = threading.Lock()
        self._pausing = threading.Event()
        self._writer: threading.Thread | None = None
        self._error: str | None = None  # what ended the writer
        db = plyvel.DB(str(folder / "db"), create_if_missing=True)
        rs = plyvel.DB(str(folder / "rs"), create_if_missing=True)
        self._replica = lrep.install(db, rs, config, _wall_ms=_wall_ms, _on_step=self._step)
        self.say({"address": self._replica.address})

    def say(self, what: dict[str, Any]) -> None:
        with self._say_lock:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()

    def obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "status":
                self.say(self._replica.status())
            case "contents":
                self.say({"contents": {key.hex(): value.hex() for key, value in self._replica}})
            case "write":
                self._write(
                    [(bytes.fromhex(k), None if v is None else bytes.fromhex(v)) for k, v in order["operations"]]
                )
                self.say({"written": True})
            case "run":
                self._pausing.clear()
                work = WORKLOADS[order.get("workload", "steps")](order["seed"], order["node"], order["first"])
                self._writer = threading.Thread(target=self._run, args=(work, order.get("pace_s", PACE_S)))
                self._writer.start()
                self.say({"runs": True})
            case "pause":
                self._pause()
                self.say({"paused": True, "error": self._error})
            case "truncate":
                self.say({"removed": self._replica.truncate()})
            case "close":
                self._pause()
                self._replica.close()
                self.say({"closed": True})

    def _pause(self) -> None:
        self._pausing.set()
        if self._writer is not None:
            self._writer.join()

    def _run(self, work: Iterator[tuple[int, list[Operation]]], pace_s: float) -> None:
        for serial, operations in work:
            if self._pausing.is_set():
                return
            try:
                self._write(operations)
            except lrep.ReplicationError as error:
                self._error = repr(error)
                return
            self.say({"acked": serial})
            self._pausing.wait(pace_s)

    def _write(self, operations: list[Operation]) -> None:
        if len(operations) > 1:
            with self._replica.write_batch() as batch:
                for key, value in operations:
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
            return
        for key, value in operations:
            if value is None:
                self._replica.delete(key)
            else:
                self._replica.put(key, value)

    def _step(self, name: str) -> None:
        if name != self._kill_at:
            return
        if self._let_pass == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._let_pass -= 1


def main() -> None:
    patience.defaults()["cap_s"] = patience.CAP_S
    child = Child(Path(sys.argv[1]), json.loads(sys.argv[2]))
    for line in sys.stdin:
        child.obey(json.loads(line))


if __name__ == "__main__":
    main()
