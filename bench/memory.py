"""The memory of worker processes, read from outside, so that they are not disturbed."""

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY_S = 0.02


def own_mib(pid: int) -> float:
    """Return the resident memory in MiB that belongs to the process alone, or 0 if it is unknown.

    Pages of mapped files do not count, since the kernel can take them back at any time."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Watch:
    """Records the greatest `own_mib` of each process within a `with` block."""

    def __init__(self, pids: list[int]) -> None:
        self.peak = dict.fromkeys(pids, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            for pid in self.peak:
                self.peak[pid] = max(self.peak[pid], own_mib(pid))
            if self._over.wait(_EVERY_S):
                return
