"""The id of the present boot of the machine, which distinguishes a kill from a power loss after an unclean stop."""

import subprocess
import sys
from pathlib import Path

UNKNOWN = b""
"""The id on a system without one. An unclean stop then counts as a power loss, which is always safe."""

_LINUX = Path("/proc/sys/kernel/random/boot_id")


def boot_identity() -> bytes:
    """Return an id that changes with each start of the operating system, or UNKNOWN."""
    try:
        if _LINUX.exists():
            return _LINUX.read_bytes().strip()
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return UNKNOWN
