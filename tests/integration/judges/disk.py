"""Disk faults inside the real LevelDB, by libfiu (Debian: fiu-utils), which makes calls of the C library fail.

A process is started with `fiu-run -x` and makes its own calls fail with `fail`. All calls of the process are meant, not
only LevelDB's; so what has to work meanwhile goes through sockets.
"""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass

PREFIX = ["fiu-run", "-x", "-f", ""]
"""What a command starts with so that its calls can be made to fail. Without fiu-run's remote control by named pipes."""
MISSING = (
    None if shutil.which(PREFIX[0]) else "there is no fiu-run: `apt-get install fiu-utils` (.ci/run does so as root)"
)
"""Why there can be no disk faults here, or None."""
_FIU_ONETIME = 1


@dataclass(frozen=True)
class Fault:
    """`point`: libfiu's name of the calls that fail, such as "posix/io/rw/write"; `errno`: what they fail with.

    `once`: only the first one that fails does. `probability`: with which each call fails."""

    point: str
    errno: int
    once: bool = False
    probability: float = 1.0


def fail(fault: Fault) -> None:
    """Let calls of this process fail from now on. Raises OSError when it was not started with PREFIX."""
    fiu = ctypes.CDLL("libfiu.so.0")
    flags = _FIU_ONETIME if fault.once else 0
    enable = fiu.fiu_enable_random
    enable.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_float]
    # what a call fails with is "failinfo", a pointer that is taken for a number
    if enable(fault.point.encode(), 1, fault.errno, flags, fault.probability) != 0:
        raise OSError(f"libfiu refuses {fault}")
