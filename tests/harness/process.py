"""A replica in a real process, which may be killed at any instant and started again on its folder."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from tests.harness.master import HEARTBEAT_S
from tests.harness.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]


class Dead(Exception):
    """The process ended before it answered."""


class Process:
    """`acked`: the last serial of its workload that was acknowledged. `module`: what the process runs."""

    module = "tests.harness.child"

    def __init__(self, folder: Path, servers: list[str], **config: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.servers = servers
        self.acked = -1
        self.port = 0
        self._config = config
        self.start()

    def start(self, **extra: Any) -> None:
        """`extra`: configuration of this run only. Returns when it listens; raises Dead."""
        config = {
            "servers": {address: {} for address in self.servers},
            "port": 0,
            "heartbeat": HEARTBEAT_S,
            **self._config,
            **extra,
        }
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])} | self._environment()
        command = [*self._prefix(), sys.executable, "-m", self.module, str(self.folder), json.dumps(config)]
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, self._answers), daemon=True)
        self._reader.start()
        self.port = self._answer("its start")["address"][1]

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Raises Dead."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Dead from error
        return self._answer(repr(do))

    def write(self, *operations: tuple[bytes, bytes | None]) -> None:
        """One is a put or a delete, several are a batch. Raises Dead."""
        self.ask("write", operations=[(k.hex(), None if v is None else v.hex()) for k, v in operations])

    @property
    def vector(self) -> dict[str, int]:
        return dict(self.ask("status")["vector"])

    def contents(self) -> dict[bytes, bytes]:
        contents = self.ask("contents")["contents"]
        return {bytes.fromhex(key): bytes.fromhex(value) for key, value in contents.items()}

    def kill(self) -> None:
        """SIGKILL, now. Idempotent."""
        self._process.kill()
        self._end()

    def died(self) -> int:
        """Waits until it has ended by itself. Its exit status."""
        status = self._process.wait(DEADLINE_S)
        self._end()
        return status

    def stop(self) -> None:
        """An orderly stop."""
        self.ask("close")
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self.died() == 0

    def _prefix(self) -> list[str]:
        """What the command of the process starts with."""
        return []

    def _environment(self) -> dict[str, str]:
        """What is added to the environment of the process."""
        return {}

    def _end(self) -> None:
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _answer(self, to: str) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError(f"node {self.folder.name} gave no answer to {to} in {DEADLINE_S} s") from None
        if answer is None:
            raise Dead
        return answer

    def _read(self, lines: IO[bytes], answers: "queue.Queue[dict[str, Any] | None]") -> None:
        for line in lines:
            if not line.endswith(b"\n"):
                break  # killed while it wrote
            said = json.loads(line)
            if "acked" in said:
                self.acked = said["acked"]
            else:
                answers.put(said)
        answers.put(None)
