"""A worker process: it calls functions of this package, as its parent (processes.py) asks."""

import faulthandler
import importlib
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import level_replicator as lrep
from level_replicator.testing.program import Program


class Context:
    """The state that the functions called in one worker share. `closing` is closed when the worker ends."""

    def __init__(self, closing: ExitStack) -> None:
        self.closing = closing
        self.kept: dict[str, Any] = {}
        """Values that one call leaves for another one."""
        self._replica: lrep.Replica | None = None

    @property
    def replica(self) -> lrep.Replica:
        assert self._replica is not None
        return self._replica

    def close_replica(self) -> None:
        """Close the replica, after which another one may be opened."""
        self.replica.close()
        self._replica = None

    @replica.setter
    def replica(self, replica: lrep.Replica) -> None:
        self._replica = replica
        self.closing.callback(replica.close)


def usage(_context: Context) -> dict[str, float]:
    """Return the CPU seconds of this process so far, and the most memory that it ever had, in MiB."""
    return {"cpu_s": time.process_time(), "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Return the peak of the resident memory, which includes the mapped pages of LevelDB's files."""
    # getrusage would do, but on Linux its maximum survives exec: it may be the parent's
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Calls(Program):
    """Obeys the one request of a worker: call a function with the worker's Context."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def do_call(self, module: str, function: str, arguments: dict[str, Any]) -> Any:
        # a module that runs as __main__ would be imported a second time, with a second Context
        return getattr(importlib.import_module(module), function)(self._context, **arguments)


def main() -> None:
    faulthandler.register(signal.SIGUSR1)  # for a measurement that hangs: kill -USR1 shows where
    with ExitStack() as closing:
        Calls(Context(closing)).handle_requests()


if __name__ == "__main__":
    main()
