"""Wrong clocks of whole processes, by libfaketime (Debian: faketime). The monotonic clock stays as it is."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
MISSING = None if _LIBRARIES else "there is no libfaketime: `apt-get install faketime` (.ci/run does so as root)"
"""Why there can be no wrong clocks here, or None."""
_FILE = "FAKETIME_TIMESTAMP_FILE"


def repair_sleep() -> None:
    """In a process with a wrong clock let `time.sleep` sleep again.

    libfaketime 0.9.10 answers EINVAL to clock_nanosleep with a moment of the monotonic clock, when it is to leave that
    clock alone; and Python's `time.sleep` is nothing else."""
    if _FILE in os.environ:
        time.sleep = _sleep  # type: ignore[assignment]


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


class WrongClock:
    """The wall clock of the processes that are started with `environment`, moved by `offset_s` from the true one.

    `path`: a file that tells them the offset. They look at it each time they ask for the time."""

    def __init__(self, path: Path, offset_s: int = 0) -> None:
        self._path = path.absolute()
        self.offset_s = offset_s
        self.move(offset_s)

    def move(self, offset_s: int) -> None:
        self.offset_s = offset_s
        new = self._path.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        os.replace(new, self._path)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            _FILE: str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
