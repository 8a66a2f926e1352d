"""Worker processes: the worker's end. Calls come as lines of JSON on stdin, results go to stdout."""

import faulthandler
import importlib
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import level_replicator as lrep


class Context:
    """What the functions called in one worker share. `closing` is left when the worker ends."""

    def __init__(self, closing: ExitStack) -> None:
        self.closing = closing
        self.kept: dict[str, Any] = {}
        """What one call leaves for another one."""
        self._replica: lrep.Replica | None = None

    @property
    def replica(self) -> lrep.Replica:
        assert self._replica is not None
        return self._replica

    def close_replica(self) -> None:
        """The one that is there; another one may be opened then. Its times are the caller's to take."""
        self.replica.close()
        self._replica = None

    @replica.setter
    def replica(self, replica: lrep.Replica) -> None:
        self._replica = replica
        self.closing.callback(replica.close)


def usage(_context: Context) -> dict[str, float]:
    """CPU seconds of this process so far, and the most memory that it ever had, in MiB."""
    return {"cpu_s": time.process_time(), "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Resident, so with the pages of LevelDB's files that are mapped."""
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


def main() -> None:
    # a measurement that hangs tells where: kill -USR1
    faulthandler.register(signal.SIGUSR1)
    with ExitStack() as closing:
        context = Context(closing)
        for line in sys.stdin:
            call = json.loads(line)
            # a module that runs as __main__ would be imported a second time, with a second Context
            function = getattr(importlib.import_module(call["module"]), call["function"])
            result: Any = function(context, **call["arguments"])
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
